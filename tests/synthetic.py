"""A synthetic backend that resolves anything, mostly correctly, and fails in every way that we know.

Its answers depend only on a seed and the place in the response, so that two executors see the same.
"""

import asyncio
import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any, cast

import strawberry
from graphql import (
    DocumentNode,
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationType,
    Undefined,
    get_named_type,
    get_nullable_type,
    get_operation_ast,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from strawberry.types.fields.resolver import StrawberryResolver

from schema.error import RequestError
from schema.video_status import VideoStatus
from tests.executor.core import Later, Several

DEFINITION = "strawberry-definition"
DEPTH_MAX = 12


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Strange:
    def __repr__(self) -> str:
        return "Strange"


ODD: list[Callable[[Random], Any]] = [
    lambda _: None,
    lambda _: None,
    lambda _: Undefined,
    lambda _: ValueError("returned"),
    lambda _: RequestError("FORBIDDEN", "returned, too"),
    lambda _: Strange(),
    lambda random: random.choice([2**31, -(2**31) - 1, 10**400, 1.5, float("nan"), float("inf"), 3.0, True]),
    lambda random: random.choice([Text("text"), Number(7), Decimal("1.5"), Decimal(7), b"bytes", "7", ""]),
    lambda random: random.choice([[], ["a"], {}, {"a": 1}, (), {"__typename": "User"}, range(3)]),
    lambda _: datetime.datetime(2026, 1, 1),  # noqa: DTZ001 - That is what is wrong with it.
    lambda _: VideoStatus.READY,
    lambda random: Later(random.randint(0, 2), random.choice([None, "late", 7, ValueError("late")])),
]


LISTS: list[Callable[[list[Any]], Any]] = [tuple, iter, Several]


class Backend:
    """Resolves all fields of a schema; records the order and the arguments."""

    def __init__(self, schema: GraphQLSchema, seed: int, oddity: float) -> None:
        self.schema = schema
        self.seed = seed
        self.oddity = oddity
        self.calls: list[str] = []

    def resolve(self, info: strawberry.Info[Any, Any], arguments: dict[str, Any]) -> tuple[int, Any]:
        """Decide how many iterations of the loop a field takes, and how it ends."""
        path = info.path.as_list()
        random = Random(f"{self.seed} {path}")
        kind = info._raw_info  # noqa: SLF001 - Strawberry shows graphql-core's type nowhere else.
        self.calls.append(f"{path} {info.field_name} {kind.parent_type} {arguments}")
        ticks = random.choice([0, 0, 1, 1, 2, 5])
        depth = len(path) - 1
        if random.random() < self.odds(depth):
            return ticks, random.choice([ValueError("raised"), RequestError("FORBIDDEN", "raised"), KeyError("key")])
        return ticks, self.value(kind.return_type, random, depth)

    def odds(self, depth: int) -> float:
        """Return lower odds near the root, where each failure hides everything below it."""
        return self.oddity * min(1, (depth + 1) / 4)

    def event(self, document: DocumentNode) -> Any:
        """Return an event of a subscription; None for other operations."""
        definition = get_operation_ast(document)
        if definition is None or definition.operation is not OperationType.SUBSCRIPTION:
            return None
        root = self.schema.subscription_type
        assert root is not None
        random = Random(self.seed)
        return self.value(random.choice(list(root.fields.values())).type, random, 0)

    def value(self, type_: GraphQLOutputType, random: Random, depth: int) -> Any:
        if random.random() < self.odds(depth):
            return random.choice(ODD)(random)
        if not is_non_null_type(type_) and random.random() < 0.05:
            return None
        nullable = get_nullable_type(type_)
        if is_list_type(nullable):
            values = [self.value(nullable.of_type, random, depth + 1) for _ in range(random.randint(0, 3))]
            return random.choice(LISTS)(values) if random.random() < self.oddity else values
        if is_leaf_type(nullable):
            return self.leaf(get_named_type(nullable), random)
        return self.object(nullable, random, depth)

    def object(self, type_: Any, random: Random, depth: int) -> Any:
        types = self.schema.get_possible_types(type_) if is_abstract_type(type_) else [type_]
        everything = [each for each in self.schema.type_map.values() if isinstance(each, GraphQLObjectType)]
        objects = [each for each in everything if DEFINITION in each.extensions]
        if random.random() < self.oddity / 3:
            types = objects
        made = self.instance(cast(GraphQLObjectType, random.choice(types)), random, depth)
        if random.random() < self.oddity / 3:
            return Later(random.randint(0, 2), made)
        if random.random() < self.oddity / 3:
            return strawberry.cast(random.choice(objects).extensions[DEFINITION].origin, made)
        return made

    def leaf(self, type_: Any, random: Random) -> Any:
        if isinstance(type_, GraphQLEnumType):
            return random.choice(list(type_.wrapped_cls))  # type: ignore[attr-defined]  # All enums are Strawberry's.
        values: dict[str, list[Any]] = {
            "Int": [0, 1, -5, 2**31 - 1, -(2**31)],
            "Float": [0.0, 0.5, -1e300, 1],
            "Boolean": [True, False],
            "DateTime": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)],
            "JSON": [{"a": [1, None]}, [], "text", 0],
        }
        return random.choice(values.get(type_.name, ["", "text", "https://example.com/"]))

    def instance(self, type_: GraphQLObjectType, random: Random, depth: int) -> Any:
        """Create an object with all its attributes, without calling its class's __init__."""
        definition = type_.extensions[DEFINITION]
        class_ = (definition.concrete_of or definition).origin
        if random.random() < self.oddity / 3:
            class_ = type(class_.__name__, (class_,), {})
        made = object.__new__(class_)
        for field in type_.fields.values():
            own = field.extensions[DEFINITION]
            if own.base_resolver is None and not (depth > DEPTH_MAX or random.random() < self.oddity / 10):
                object.__setattr__(made, own.python_name, self.value(field.type, random, depth + 1))
        return made


@contextmanager
def synthetic(schema: GraphQLSchema) -> Iterator[None]:
    """Resolve all fields of a schema by the context, which is a Backend; subscriptions yield two events."""
    with_resolver: dict[int, StrawberryResolver[Any]] = {}
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for field in type_.fields.values():
                own = field.extensions[DEFINITION]
                if own.base_resolver is not None:
                    with_resolver[id(own.base_resolver)] = own.base_resolver
    before = [(each, each.wrapped_func) for each in with_resolver.values()]
    for each in with_resolver.values():
        each.wrapped_func = _resolver(each)
    try:
        yield
    finally:
        for each, function in before:
            each.wrapped_func = function


def _resolver(real: StrawberryResolver[Any]) -> Callable[..., Any]:
    async def answer(info: strawberry.Info[Backend, Any], arguments: dict[str, Any]) -> Any:
        ticks, value = info.context.resolve(info, arguments)
        for _ in range(ticks):
            await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value

    if real.self_parameter:

        async def method(self: Any, info: strawberry.Info[Backend, Any], **arguments: Any) -> Any:
            return await answer(info, {"self": type(self).__name__, **arguments})

        return method

    async def function(info: strawberry.Info[Backend, Any], **arguments: Any) -> Any:
        return await answer(info, arguments)

    return function
