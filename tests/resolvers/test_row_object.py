"""Objects of rows: each field is a column of the row, or computed from columns on access."""

from dataclasses import fields
from typing import Any, NamedTuple

import pytest
import strawberry

from resolvers.row_object import object_from_row


class PetRow(NamedTuple):
    """A row."""

    name: str
    lives: int


@strawberry.type
class Pet:
    name: str
    lives: int

    @strawberry.field
    def shouted(self) -> str:
        return self.name.upper()


@pytest.mark.parametrize("of", [("lives",), ("lives", "name"), ("name", "lives", "lives")])
def test_a_field_is_computed_on_access(of: tuple[str, ...]) -> None:
    """Nothing is computed before the access, and then only from the field's columns."""
    asked: list[tuple[object, ...]] = []

    def lives(*columns: object) -> int:
        asked.append(columns)
        return 8

    row = PetRow("tom", 9)
    pet = object_from_row(Pet, PetRow, lives=(lives, *of))(row)
    assert isinstance(pet, Pet)
    assert (pet.name, asked) == ("tom", [])
    assert (pet.lives, asked) == (8, [tuple(getattr(row, column) for column in of)])


def test_other_fields_are_columns() -> None:
    """Without a computed field, every field of the type is the column of the same name."""
    pet = object_from_row(Pet, PetRow)(PetRow("tom", 9))
    assert {field.name: getattr(pet, field.name) for field in fields(Pet) if field.init} == {"name": "tom", "lives": 9}


@pytest.mark.parametrize(
    ("type_", "row", "computed"),
    [(Pet, tuple, {}), (Pet, PetRow, {"age": (len, "name")}), (Pet, PetRow, {"name": (len, "age")})],
)
def test_invalid_fields(type_: type, row: type, computed: dict[str, Any]) -> None:
    """A field without a column, and a computed field of an unknown name or column, is a TypeError at declaration."""
    with pytest.raises(TypeError, match="Pet of"):
        object_from_row(type_, row, **computed)
