"""Objects of rows: each field is a column of the row, or computed from columns on access."""

from dataclasses import fields
from types import NoneType
from typing import Any, NamedTuple, NewType, get_args, get_type_hints

import pytest
import strawberry
from strawberry.scalars import JSON
from strawberry.types.base import StrawberryOptional

from resolvers.row_object import object_from_row
from schema.credit_entry import CreditEntry
from schema.user import User
from schema.video_data import VideoData
from schema.video_event import VideoEvent


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


def python_types(type_: Any) -> set[Any]:
    """Return what values of a field or a column are in Python; a JSON column may be null, too."""
    if isinstance(type_, StrawberryOptional):
        return python_types(type_.of_type) | {NoneType}
    if type_ is JSON:
        return {Any}
    if type_ is Any:
        return {Any, NoneType}
    return {type_.__supertype__} if isinstance(type_, NewType) else set(get_args(type_)) or {type_}


@pytest.mark.parametrize("type_", [CreditEntry, User, VideoData, VideoEvent])
def test_columns_are_what_their_fields_promise(type_: Any) -> None:
    """A column that is a field as it is has the field's Python type, and is None only where the field may be null.

    The executor does not look. That the tables hold what row types say is tested with the statements.
    """
    promised = 0
    for wrapper in type_.__subclasses__():
        row = wrapper.__mro__[1]
        for field in type_.__strawberry_definition__.fields:
            compute, *indexes = wrapper.__columns__.get(field.python_name, (len,))
            if compute is None:
                assert [row._fields[index] for index in indexes] == [field.python_name]
                assert python_types(get_type_hints(row)[field.python_name]) <= python_types(field.type)
                promised += 1
    assert promised > 3
