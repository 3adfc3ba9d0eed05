"""Variables are coerced as in graphql-core, in a bounded number of steps."""

import asyncio
import datetime
import sys
from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import parse, validate
from strawberry.scalars import JSON
from strawberry.utils.await_maybe import await_maybe

import executor.inputs
from executor.inputs import VARIABLE_ERRORS_MAX, VARIABLE_ITEMS_MAX
from executor.operation import CompiledOperation
from tests.executor.core import by_core, shown

# Python calls and returns, including some thousands for the errors.
CALLS_MAX = 250_000


@strawberry.enum
class Color(Enum):
    RED = "RED"
    GREEN = "GREEN"
    BLUE = "BLUE"


@strawberry.input
class Flat:
    text: str
    number: int = 1
    colors: list[Color] | None = None


@strawberry.input
class Nested:
    flat: Flat | None = None
    many: list[Flat] | None = None
    lists: list[list[int]] | None = None
    any: JSON | None = None
    at: datetime.datetime | None = None
    id: strawberry.ID | None = None


@strawberry.input
class Tree:
    below: list["Tree"] | None = None
    above: "Tree | None" = None


@strawberry.input(one_of=True)
class Either:
    numbers: list[int] | None = strawberry.UNSET
    texts: list[str] | None = strawberry.UNSET


@strawberry.type
class Query:
    @strawberry.field
    def nested(self, value: Nested | None = None) -> str:
        return repr(value)

    @strawberry.field
    def tree(self, value: Tree | None = None) -> str:
        return "tree" if value else "none"

    @strawberry.field
    def either(self, value: Either | None = None) -> str:
        return repr(value)

    @strawberry.field
    def colors(self, value: list[Color]) -> int:
        return len(value)


CORE = strawberry.Schema(Query)._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
TYPES = {"nested": "Nested", "tree": "Tree", "either": "Either", "colors": "[Color!]!"}
MANY = 50_000
# For each field, values with very many errors, or very many valid items.
HOSTILE: list[tuple[str, Any]] = [
    ("colors", [f"NONE{number}" for number in range(MANY)]),
    ("colors", ["RED"] * MANY),
    ("colors", [1] * MANY),
    ("colors", [[]] * MANY),
    ("colors", [{}] * MANY),
    ("colors", [None] * MANY),
    ("colors", ["R" * MANY] * 100),
    ("nested", {f"unknown{number}": 1 for number in range(MANY)}),
    ("nested", {"n" * MANY + str(number): 1 for number in range(20)}),
    ("nested", {"many": [{}] * MANY}),
    ("nested", {"many": [{"text": "a"}] * MANY}),
    ("nested", {"many": [{"text": 1, "number": "x"}] * MANY}),
    ("nested", {"many": [{"text": "a", "colors": ["RED"] * 100}] * 1_000}),
    ("nested", {"many": [{"text": "a", "none": 1}] * MANY}),
    ("nested", {"lists": [[1] * 500] * 500}),
    ("nested", {"lists": [["x"] * 500] * 500}),
    ("nested", {"lists": [1] * MANY}),
    ("nested", {"lists": [["x"], *[[1] * 500] * 500]}),
    ("nested", {"none": 1, "many": [{"text": "a"}] * MANY}),
    ("nested", {"none": 1, "lists": [[1] * 500] * 500}),
    ("nested", {"flat": {"text": ["a"] * MANY}}),
    ("nested", {"flat": {"text": "a", "number": 10**4000}}),
    ("nested", {"at": ["2026"] * MANY}),
    ("nested", {"id": [1] * MANY}),
    ("tree", {"below": [{}] * MANY}),
    ("tree", {"below": [{"below": [{"below": []}] * 100}] * 1_000}),
    ("tree", {"below": [{"none": 1}] * MANY}),
    ("tree", {"above": {f"unknown{number}": 1 for number in range(MANY)}}),
    ("either", {"numbers": [1] * MANY}),
    ("either", {"numbers": ["x"] * MANY}),
    ("either", {"numbers": [1], "texts": ["a"] * MANY}),
    ("either", {f"unknown{number}": 1 for number in range(MANY)}),
]


@pytest.mark.parametrize("hide_suggestions", [True, False])
@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_no_variables_take_long(field: str, value: Any, hide_suggestions: bool) -> None:
    """However many values are invalid or valid, coercion takes few steps and reports few errors."""
    document = parse(f"query($value: {TYPES[field]}) {{ {field}(value: $value) }}")
    assert not validate(CORE, document)
    operation = CompiledOperation(CORE, document)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        result = asyncio.run(await_maybe(operation(None, {"value": value}, hide_suggestions=hide_suggestions)))
    finally:
        sys.setprofile(None)
    assert calls <= CALLS_MAX
    assert 1 <= len(result.errors or ()) <= VARIABLE_ERRORS_MAX + 1
    assert sum(len(error.message) for error in result.errors or ()) < 1_000_000


@pytest.mark.parametrize("field", ["nested", "tree", "either"])
def test_items_are_counted_exactly(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """The items of all lists in all variables are counted together; those inside JSON are not."""
    monkeypatch.setattr(executor.inputs, "VARIABLE_ITEMS_MAX", 10)
    document = parse(
        f"query($value: {TYPES[field]}, $more: [Color!]!) {{ {field}(value: $value) colors(value: $more) }}"
    )
    values: dict[str, Any] = {
        "nested": {"many": [{"text": "a", "colors": ["RED"] * 2}] * 2, "any": [1] * 100, "lists": 1},
        "tree": {"below": [{"below": [{}] * 2}] * 2},
        "either": {"numbers": [1] * 6},
    }
    value = values[field]
    for more, refused in ((4, False), (5, True)):
        operation = CompiledOperation(CORE, document)
        for _ in range(2):  # Each execution has the same limit.
            result = asyncio.run(await_maybe(operation(None, {"value": value, "more": ["RED"] * more})))
            assert bool(result.errors) is refused, result.errors
    assert result.errors
    assert result.errors[0].message == "The lists in the variables have more than 10 items together."


WRONG: list[tuple[str, Any]] = [
    ("colors", ["NONE", "REDD", 1]),
    ("colors", None),
    ("colors", "RED"),
    ("nested", {"flat": {}, "many": [{"text": 1}], "lists": [["x"]], "none": 1}),
    ("nested", {"at": "yesterday", "id": 1.5}),
    ("nested", 7),
    ("nested", {"many": {"text": "a", "none": 1}}),
    ("tree", {"below": [{"none": 1}], "above": 1}),
    ("either", {"numbers": [1], "texts": None}),
    ("either", {}),
    ("either", {"numbers": ["x"]}),
]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("field", "value"), WRONG)
def test_errors_equal_graphql_cores(field: str, value: Any, given: bool) -> None:
    """Errors about invalid or missing variables equal graphql-core's, in order, with suggestions."""
    document = parse(
        f"query($value: {TYPES[field]}, $more: [Color!]!) {{ {field}(value: $value) more: colors(value: $more) }}"
    )
    variables = {"value": value, "more": ["GREN"]} if given else {"value": value}
    result = asyncio.run(await_maybe(CompiledOperation(CORE, document)(None, variables)))
    expected = asyncio.run(by_core(CORE, document, None, variables, None))
    assert shown(result) == shown(expected)
    assert result.errors


def test_suggestions_are_for_short_inputs() -> None:
    """Only short inputs get suggestions, since computing them for long ones takes long."""
    document = parse("query($value: Nested) { nested(value: $value) }")
    for length, suggested in ((10, True), (executor.inputs.CHARACTERS_WITH_SUGGESTIONS, False)):
        variables = {"value": {"mani": [], "id": "a" * length}}
        result = asyncio.run(await_maybe(CompiledOperation(CORE, document)(None, variables)))
        assert result.errors
        assert ("Did you mean" in result.errors[0].message) is suggested


def test_everything_at_the_bound_is_coerced() -> None:
    """Input at the bound is coerced in full."""
    document = parse("query($value: [Color!]!) { colors(value: $value) }")
    result = asyncio.run(await_maybe(CompiledOperation(CORE, document)(None, {"value": ["RED"] * VARIABLE_ITEMS_MAX})))
    assert result.data == {"colors": VARIABLE_ITEMS_MAX}
