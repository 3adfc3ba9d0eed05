"""Objects of classes that promise their columns: answered like by graphql-core, and without a look at each field."""

import datetime
import math
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import parse, validate
from strawberry.scalars import JSON
from strawberry.utils.await_maybe import await_maybe

from executor.operation import CompiledOperation
from tests.executor.core import Later, by_core, shown


@strawberry.enum
class Size(Enum):
    SMALL = 1
    LARGE = strawberry.enum_value(2, name="BIG")


@strawberry.type
class Leaf:
    text: str | None
    id: strawberry.ID | None
    number: int | None
    real: float | None
    yes: bool | None
    size: Size | None
    at: datetime.datetime | None
    any: JSON | None


@strawberry.type
class Required:
    text: str
    id: strawberry.ID
    number: int
    real: float
    yes: bool
    size: Size
    at: datetime.datetime
    any: JSON
    other: str

    @strawberry.field
    def shouted(self) -> str:
        return self.text.upper()


READ: Counter[str] = Counter()  # the fields that were read as attributes
FIELDS = ("text", "id", "number", "real", "yes", "size", "at", "any")
VALUES = ("text", "7", 7, 0.5, True, Size.LARGE, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), {"a": [1]})


def promising(type_: type, compute: Callable[[Any], Any] | None) -> Callable[[tuple[Any, ...]], Any]:
    """Make a class of tuples whose columns are the fields, or from whose columns the fields are computed."""

    def member(index: int, name: str) -> property:
        def read(row: tuple[Any, ...]) -> Any:
            READ[name] += 1
            return row[index] if compute is None else compute(row[index])

        return property(read)

    members: dict[str, Any] = {name: member(index, name) for index, name in enumerate(FIELDS)}
    members["other"] = "other"
    members["__columns__"] = {name: (compute, index) for index, name in enumerate(FIELDS)}
    class_ = type(type_.__name__, (tuple, type_), members)
    return lambda row: tuple.__new__(class_, row)


def raising(value: Any) -> Any:
    """Compute a field, which may fail."""
    if isinstance(value, Exception):
        raise value
    return value


NULLABLE, REQUIRED = promising(Leaf, None), promising(Required, None)
COMPUTED, COMPUTED_REQUIRED = promising(Leaf, raising), promising(Required, raising)


@strawberry.type
class Query:
    @strawberry.field
    def one(self, root: Any) -> Leaf | None:
        leaf: Leaf = NULLABLE(root)
        return leaf

    @strawberry.field
    def all(self, root: Any) -> list[Leaf | None]:
        return [NULLABLE(root), NULLABLE(VALUES), NULLABLE(root)]

    @strawberry.field
    def required(self, root: Any) -> list[Required | None]:
        return [REQUIRED(root), REQUIRED(VALUES)]

    @strawberry.field
    def computed(self, root: Any) -> list[Leaf | None]:
        return [COMPUTED(root), COMPUTED(VALUES)]

    @strawberry.field
    def computed_required(self, root: Any) -> list[Required | None]:
        return [COMPUTED_REQUIRED(VALUES), COMPUTED_REQUIRED(root)]

    @strawberry.field
    def mixed(self, root: Any) -> list[Leaf | None]:
        return [NULLABLE(root), None, Leaf(**dict(zip(FIELDS, root, strict=True))), COMPUTED(root)]

    @strawberry.field
    def none(self) -> list[Leaf]:
        return []


SCHEMA = strawberry.Schema(Query)
CORE = SCHEMA._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
ALL = " ".join(FIELDS)


async def compared(text: str, root: tuple[Any, ...]) -> Any:
    """Return the data, which graphql-core answers with the same errors."""
    document = parse(text)
    assert not validate(CORE, document)
    expected = shown(await by_core(CORE, document, None, {}, root))
    operation = CompiledOperation(CORE, document)
    for _ in range(2):
        READ.clear()
        result = await await_maybe(operation(None, {}, root))
        assert shown(result) == expected
    return result


@pytest.mark.parametrize("root", [VALUES, (None,) * 8, (*VALUES[:5], Size.SMALL, None, [])])
async def test_what_is_promised_is_not_looked_at(root: tuple[Any, ...]) -> None:
    """Objects that are as promised are answered like by graphql-core, and no field is read as an attribute."""
    result = await compared(f"{{ one {{ {ALL} a: text __typename }} all {{ {ALL} }} none {{ id }} }}", root)
    assert (result.errors, READ) == (None, {})


async def test_required_fields() -> None:
    """So are objects none of whose fields may be null."""
    result = await compared(f"{{ required {{ {ALL} }} computedRequired {{ {ALL} }} }}", VALUES)
    assert (result.errors, READ) == (None, {})


# For each field, what its column's type admits and its own does not; and what no column holds, but a function may make.
ADMITTED: dict[str, list[Any]] = {"number": [2**31, -(2**31) - 1], "real": [math.inf, math.nan]}
WRONG: dict[str, list[Any]] = {
    "text": [7, ["a"]],
    "id": [7, {}],
    "number": ["x", 7.5, True],
    "real": ["x", 7],
    "yes": ["x", 1],
    "size": ["SMALL", Enum("Other", "SMALL").SMALL, 9],  # type: ignore[attr-defined] # mypy knows no such enum
    "at": [OSError("late")],
    "any": [OSError("any")],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in ADMITTED for value in ADMITTED[name]])
async def test_what_a_column_admits_and_its_field_does_not(name: str, value: Any) -> None:
    """A number that the field's type does not have is graphql-core's error, at its place."""
    root = tuple(value if each == name else VALUES[index] for index, each in enumerate(FIELDS))
    result = await compared(f"{{ one {{ {ALL} }} all {{ {ALL} }} required {{ {ALL} }} }}", root)
    assert len(result.errors) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in FIELDS
        for value in [*WRONG[name], *ADMITTED.get(name, []), None, OSError(), Later(1, 7)]
    ],
)
async def test_what_is_computed_is_looked_at(name: str, value: Any) -> None:
    """Whatever a function makes of a column is serialized, awaited, or an error, like by graphql-core."""
    root = tuple(value if each == name else VALUES[index] for index, each in enumerate(FIELDS))
    await compared(f"{{ computed {{ {ALL} }} computedRequired {{ {ALL} }} }}", root)


async def test_other_fields_and_other_objects() -> None:
    """A field with a resolver, or without a promise, and objects of several classes are answered one by one."""
    await compared("{ required { text shouted } }", VALUES)
    assert READ
    await compared("{ required { text other } }", VALUES)
    assert READ
    await compared(f"{{ mixed {{ {ALL} }} }}", VALUES)
