"""Objects of rows: each field is the row's, read when it is asked for."""

from dataclasses import fields
from typing import NamedTuple

import pytest
import strawberry

from resolvers.lazy import lazily


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


def test_a_field_is_read_when_it_is_asked_for() -> None:
    """Nothing is read of the row before that, and then no more than is asked for."""
    asked: list[PetRow] = []

    def lives(row: PetRow) -> int:
        asked.append(row)
        return row.lives - 1

    pet = lazily(Pet, PetRow, lives=lives)(PetRow("tom", 9))
    assert isinstance(pet, Pet)
    assert (pet.name, asked) == ("tom", [])
    assert (pet.lives, asked) == (8, [PetRow("tom", 9)])


def test_every_field_is_the_rows() -> None:
    """Of a type's fields, those are known that objects are made with."""
    pet = lazily(Pet, PetRow)(PetRow("tom", 9))
    assert {field.name: getattr(pet, field.name) for field in fields(Pet) if field.init} == {"name": "tom", "lives": 9}


@pytest.mark.parametrize(("type_", "row", "read"), [(Pet, tuple, {}), (Pet, PetRow, {"age": len})])
def test_what_does_not_fit_is_told_at_once(type_: type, row: type, read: dict[str, object]) -> None:
    """A field that no row has, or no type, is a fault of whoever declares it."""
    with pytest.raises(TypeError, match="Pet of"):
        lazily(type_, row, **read)  # type: ignore[arg-type]  # on purpose
