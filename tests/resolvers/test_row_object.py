"""Objects of rows: each field is the row's, or made of its columns when it is asked for."""

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
def test_a_field_is_made_when_it_is_asked_for(of: tuple[str, ...]) -> None:
    """Nothing is made before that, and then of its columns alone."""
    asked: list[tuple[object, ...]] = []

    def lives(*columns: object) -> int:
        asked.append(columns)
        return 8

    row = PetRow("tom", 9)
    pet = object_from_row(Pet, PetRow, lives=(lives, *of))(row)
    assert isinstance(pet, Pet)
    assert (pet.name, asked) == ("tom", [])
    assert (pet.lives, asked) == (8, [tuple(getattr(row, column) for column in of)])


def test_every_field_is_the_rows() -> None:
    """Of a type's fields, those are known that objects are made with."""
    pet = object_from_row(Pet, PetRow)(PetRow("tom", 9))
    assert {field.name: getattr(pet, field.name) for field in fields(Pet) if field.init} == {"name": "tom", "lives": 9}


@pytest.mark.parametrize(
    ("type_", "row", "made"),
    [(Pet, tuple, {}), (Pet, PetRow, {"age": (len, "name")}), (Pet, PetRow, {"name": (len, "age")})],
)
def test_what_does_not_fit_is_told_at_once(type_: type, row: type, made: dict[str, Any]) -> None:
    """A field that no row has, or no type, is a fault of whoever declares it; so is a column that no row has."""
    with pytest.raises(TypeError, match="Pet of"):
        object_from_row(type_, row, **made)
