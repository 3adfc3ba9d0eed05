"""Kinds of fields, types and arguments that the project does not use: compiled alike, or left to graphql-core."""

import asyncio
import datetime
import math
from collections.abc import AsyncGenerator, Generator
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import pytest
import strawberry
from graphql import Undefined, parse, validate
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.relay import GlobalID
from strawberry.scalars import JSON
from strawberry.utils.await_maybe import await_maybe

from executor.operation import CompiledOperation
from executor.program import NotCovered
from tests.executor.core import Later, Several, by_core, shown

Item = TypeVar("Item")


@strawberry.enum
class Size(Enum):
    SMALL = 1
    LARGE = strawberry.enum_value(2)


@strawberry.interface
class Animal:
    name: str

    @strawberry.field
    def shouted(self) -> str:
        return self.name.upper()


@strawberry.type
class Cat(Animal):
    lives: int | None = 9


class Kitten(Cat):
    """A cat, since it declares no type of its own."""

    name = property(lambda _: "kitty")

    def __init__(self) -> None:
        self.lives = 1


class Tiger(Cat):
    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return "tamed"


@strawberry.type
class Lion(Cat):
    mane: bool = True


@strawberry.type
class Dog(Animal):
    size: Size = Size.LARGE

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, Dog) or value == "a dog"


@strawberry.type
class Box(Generic[Item]):
    item: Item
    items: list[Item | None] | None = None


@strawberry.input
class Nested:
    name: str = "nested"
    sizes: list[Size] | None = None
    tags: list[str] = strawberry.field(default_factory=list)


@strawberry.input
class Tree:
    value: int
    below: list["Tree"] | None = None


@strawberry.input(one_of=True)
class Either:
    number: int | None = strawberry.UNSET
    text: str | None = strawberry.UNSET


@strawberry.input
class Everything:
    nested: Nested
    many: list[list[Nested | None]] | None = strawberry.UNSET
    maybe: strawberry.Maybe[str]
    at: datetime.datetime | None = None
    any: JSON | None = None


Pet = Annotated[Cat | Dog, strawberry.union("Pet")]
Boxed = Annotated[Box[int] | Box[str], strawberry.union("Boxed")]


class OddError(Exception):
    def __init__(self) -> None:
        super().__init__("odd")
        self.message = "oddly said"


@strawberry.type
class Failure(Exception):  # noqa: N818 - It is a type of the schema, too.
    text: str = "failed"


@strawberry.type
class Eventual:
    text: str = "later"

    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        return "sooner"


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
    number: int
    real: float
    at: datetime.datetime


Ended = Annotated[Failure | Eventual | Cat, strawberry.union("Ended")]
LEAVES: list[Any] = [
    *(None, "", "7", "x", 0, -(2**31), 2**31 - 1, 2**31, -(2**31) - 1, 2**70, 0.5, 3.0, 1e300, math.inf, math.nan),
    *(True, False, b"x", [], {}, (), Size.SMALL, Size.LARGE, Enum("Other", "SMALL").SMALL, Undefined, OddError()),  # type: ignore[attr-defined] # mypy knows no such enum
    *(datetime.datetime(2026, 1, 1), datetime.date(2026, 1, 1), Decimal("1.5"), UUID(int=7), Later(1, 7), object),  # noqa: DTZ001 - odd
]


class Never(BasePermission):
    def has_permission(self, source: Any, info: strawberry.Info[Any, Any], **kwargs: Any) -> bool:  # noqa: ARG002 - as Strawberry calls it
        return False


class Loud(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: strawberry.Info[Any, Any], **kwargs: Any) -> Any:
        return next_(source, info, **kwargs)


def info_attributes(info: strawberry.Info[Any, Any]) -> list[str]:
    """Tell all that an Info may be asked."""
    selected = [each.name for field in info.selected_fields for each in field.selections]  # type: ignore[union-attr] # Only fields are selected.
    definition = info.get_argument_definition("prefix")
    known: list[Any] = [
        info.field_name,
        info.python_name,
        info.path.as_list(),
        selected,
        info.variable_values,
        info.return_type,
    ]
    known += [info.context, info.root_value, info.operation.operation.value, info.query, info.input_extensions]
    return [str(each) for each in [*known, definition and definition.python_name, info.schema is SCHEMA]]


@strawberry.type
class Query:
    @strawberry.field
    def plain(self) -> str:
        return "plain"

    @strawberry.field
    def of_root(self, root: Any) -> str:
        return str(root)

    @strawberry.field
    def of_parent(parent: strawberry.Parent[Any], prefix: str = "a") -> str:  # noqa: N805 - as Strawberry has it
        return f"{prefix} {parent}"

    @strawberry.field
    @staticmethod
    def static(number: int = 3) -> int:
        return number

    @strawberry.field
    def about(self, info: strawberry.Info[Any, Any], prefix: str | None = None) -> Box[str]:
        return Box(item="".join(info_attributes(info)), items=[prefix, None])

    @strawberry.field
    async def waiting(self, ticks: int = 1, fails: bool = False) -> int | None:
        for _ in range(ticks):
            await asyncio.sleep(0)
        if fails:
            raise OddError
        return ticks

    @strawberry.field
    def pets(self) -> list[Pet]:
        return [Cat(name="tom"), Dog(name="rex"), Cat(name="kit", lives=None)]

    @strawberry.field
    def animals(self) -> list[Animal | None]:
        return [Cat(name="tom"), None, Dog(name="rex"), "a dog"]  # type: ignore[list-item]  # That is the test.

    @strawberry.field
    def cats(self) -> list[Cat | None]:
        return [Cat(name="tom"), Kitten(), Lion(name="leo"), Kitten()]

    @strawberry.field
    def wild(self) -> list[Animal | None]:
        return [Kitten(), Tiger(name="shere"), Lion(name="leo"), Kitten()]

    @strawberry.field
    def tame(self) -> list[Pet | None]:
        return [Kitten(), Lion(name="leo"), Kitten()]

    @strawberry.field
    def kitten(self) -> Cat:
        return Kitten()

    @strawberry.field
    def cast(self) -> Pet:
        return strawberry.cast(Cat, Box(item="not a cat"))  # type: ignore[return-value] # on purpose

    @strawberry.field
    def boxes(self) -> list[Boxed]:
        return [Box(item=1, items=[1, None]), Box(item="text"), Box(item=2)]

    @strawberry.field
    def numbers(self) -> list[list[int | None] | None] | None:
        return [[1, None], None, [], [2**40]]

    @strawberry.field
    def streamed(self) -> list[int | None]:
        return Several([1, Later(1, 2), "x"])  # type: ignore[return-value] # on purpose

    @strawberry.field
    def breaking(self) -> list[int] | None:
        return Several([1, ValueError("broken")])  # type: ignore[return-value] # on purpose

    @strawberry.field
    def later(self) -> list[Cat | None]:
        return [Later(2, Cat(name="late")), Later(1, OddError()), Later(0, OddError()), Cat(name="now")]  # type: ignore[list-item] # on purpose

    @strawberry.field
    def once(self) -> list[int]:
        return (each for each in (1, 2))  # type: ignore[return-value] # on purpose

    @strawberry.field
    def told(self, given: Everything, tree: Tree | None = None) -> str:
        return repr((given, tree))

    @strawberry.field
    def either(self, given: Either) -> str:
        return repr(given)

    @strawberry.field
    def identified(self, id: GlobalID) -> str:
        return str(id)

    @strawberry.field
    def changed(self, tags: list[str] = ["a"]) -> int:  # noqa: B006 - Strawberry copies it.
        tags.append("b")
        return len(tags)

    @strawberry.field
    def sizes(self, sizes: list[Size] | None = None, size: Size = Size.SMALL) -> list[Size]:
        return [*(sizes or []), size]

    @strawberry.field
    def at(self, at: datetime.datetime | None = None) -> datetime.datetime | None:
        return at

    @strawberry.field
    def leaves(self) -> list[Leaf | None]:
        return [Leaf(**dict.fromkeys(["text", "id", "number", "real", "yes", "size", "at", "any"], x)) for x in LEAVES]

    @strawberry.field
    def required(self) -> list[Required | None]:
        return [Required(number=each, real=each, at=each) for each in LEAVES]

    @strawberry.field
    def ended(self) -> list[Ended | None]:
        return [Failure(), Eventual(), Cat(name="tom")]

    @strawberry.field
    async def generated(self) -> AsyncGenerator[int, None]:
        yield 1

    @strawberry.field
    def confused(self, info: int = 1) -> str:
        return str(info)

    forbidden: str = strawberry.field(resolver=lambda: "never", permission_classes=[Never])
    extended: str = strawberry.field(resolver=lambda: "loud", extensions=[Loud()])


@strawberry.type
class Mutation:
    @strawberry.mutation
    def now(self, root: Any) -> int:
        root.append(len(root))
        return len(root)

    @strawberry.mutation
    async def soon(self, root: Any, ticks: int = 2) -> int:
        for _ in range(ticks):
            await asyncio.sleep(0)
        root.append(ticks)
        return len(root)

    @strawberry.mutation
    def awaitable(self) -> int:
        return Later(1, 5)  # type: ignore[return-value] # on purpose

    @strawberry.mutation
    def broken(self) -> int:
        raise OddError


SCHEMA = strawberry.Schema(Query, Mutation, types=[Cat, Dog, Lion])
CORE = SCHEMA._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
DECLARED = ", ".join(f"${name}: Boolean" for name in "abcde")
SWITCHED = " ".join(f"{name}: plain @skip(if: ${name})" for name in "abcde")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("{ plain ofRoot ofParent b: ofParent(prefix: $p) static c: static(number: 4) }", {"p": "x"}),
        ("{ about(prefix: $p) { item items } a: about { item } }", {"p": "x"}),
        ("{ about(prefix: $p) { ...f } } fragment f on StrBox { item items }", {}),
        ("{ a: waiting b: waiting(ticks: 3, fails: true) c: waiting(ticks: 2, fails: true) d: waiting(ticks: 0) }", {}),
        ("{ pets { __typename ... on Cat { name lives shouted } ... on Dog { size } ... on Animal { name } } }", {}),
        ("{ animals { __typename name ... on Dog { size } ... on Cat { shouted } } }", {}),
        ("{ cats { __typename name lives shouted } kitten { name lives } }", {}),
        ("{ wild { __typename name shouted ... on Lion { mane } } }", {}),
        ("{ tame { __typename ... on Cat { name lives } } }", {}),
        ("{ cast { __typename ... on Cat { name } } }", {}),
        ("{ boxes { __typename ... on IntBox { number: item items } ... on StrBox { text: item } } }", {}),
        ("{ numbers streamed breaking once }", {}),
        ("{ later { name lives shouted } }", {}),
        ('{ told(given: {nested: {}}) a: told(given: {nested: {name: $p}, maybe: "m"}) }', {"p": "x"}),
        ('{ told(given: {nested: {sizes: [SMALL], tags: "a"}, many: [[{}, null], []], any: {a: $p}}) }', {"p": "x"}),
        ("{ told(given: {nested: {}, maybe: null}) }", {}),
        ("{ told(given: {nested: {}}, tree: {value: 1, below: [{value: 2}, {value: 3, below: []}]}) }", {}),
        ("{ either(given: {number: 1}) b: either(given: {text: $p}) }", {"p": "x"}),
        ("{ either(given: {text: $p}) }", {"p": None}),
        ('{ identified(id: "VXNlcjox") b: identified(id: "no") }', {}),
        ('{ changed b: changed c: changed(tags: []) d: changed(tags: ["c"]) }', {}),
        ("{ sizes b: sizes(sizes: [LARGE, SMALL], size: LARGE) c: sizes(sizes: SMALL) }", {}),
        ('{ at b: at(at: "2026-01-01T00:00:00Z") c: at(at: null) d: at(at: $p) }', {"p": "2026-01-01T00:00:00+00:00"}),
        ("{ at(at: $p) static }", {"p": "never"}),
        ("query($p: Int = 2) { static(number: $p) }", {"p": None}),
        ("query($p: Int = 2) { static(number: $p) }", {}),
        ("query($p: Int!) { static(number: $p) plain }", {"p": 2**31}),
        ("query($p: Everything!) { told(given: $p) }", {"p": {"nested": {"unknown": 1}}}),
        ("query($p: Everything!) { told(given: $p) }", {"p": {"nested": {"sizes": "SMALL"}, "many": {"name": "a"}}}),
        ("query($p: [Size!]) { sizes(sizes: $p) }", {"p": ["SMALL", "HUGE"]}),
        ("query($p: [Size!] = [LARGE]) { sizes(sizes: $p) b: sizes(sizes: [SMALL]) }", {}),
        ("{ leaves { text id number real yes size at any } }", {}),
        ("{ required { number } b: required { real } c: required { at } }", {}),
        ("{ ended { ... on Failure { text } ... on Eventual { text } ... on Cat { name } } }", {}),
        ("mutation { now soon a: now b: soon(ticks: 0) awaitable c: now }", {}),
        ("mutation { now soon broken c: now }", {}),
    ],
)
async def test_every_kind_of_field(text: str, variables: dict[str, Any]) -> None:
    """Every kind of resolver argument and result is handled as by graphql-core and Strawberry."""
    declared = "($p: DateTime)" if "at(at" in text else "($p: String)"
    if "$p" in text and not text.startswith("query"):
        text = f"query{declared} {text}"
    document = parse(text)
    assert not validate(CORE, document)
    expected = shown(await by_core(CORE, document, "context", variables, [0]))
    operation = CompiledOperation(CORE, document)
    for _ in range(2):
        assert shown(await await_maybe(operation("context", variables, [0]))) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{ forbidden }", "field"),
        ("{ plain extended }", "field"),
        ("{ generated }", "resolver"),
        ("{ confused(info: 2) }", "resolver"),
        ("query @include(if: true) { plain }", "operation"),
        (f"query({DECLARED}) {{ {SWITCHED} }}", "switches"),
        ("{ " + " ".join(f"a{n}: plain" for n in range(301)) + " }", "size"),
        ("{ __schema { queryType { name } } }", "introspection"),
        ("query($a: Boolean = true) { plain @include(if: $a) }", "a switch without a value"),
    ],
)
async def test_uncompilable_operations(text: str, reason: str) -> None:
    """An operation that cannot be compiled is refused before any resolver runs, each time."""
    operation = CompiledOperation(CORE, parse(text))
    for _ in range(2):
        with pytest.raises(NotCovered, match=reason):
            operation(None, {"a": None})
