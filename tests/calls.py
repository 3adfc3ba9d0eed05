"""Calls of every root field, generated from the schema, so that new fields and arguments are tested automatically."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from server.operations.root_fields import build_schema

SCHEMA = build_schema()._schema  # noqa: SLF001 - Strawberry shows graphql-core's own nowhere else.
OPERATIONS = {"query": SCHEMA.query_type, "mutation": SCHEMA.mutation_type, "subscription": SCHEMA.subscription_type}
VALUES = {
    "String": "text",
    "Int": 1,
    "Float": 1.0,
    "Boolean": True,
    "JSON": {},
    "URL": "https://example.com/",
    "DateTime": "2026-11-24T09:30:00Z",
}
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Call:
    """A root field with all of its arguments, or with the required ones; ``ids`` are the places of its IDs."""

    operation: str
    field: str
    document: str
    variables: dict[str, Any]
    ids: list[Path]

    def __str__(self) -> str:
        return self.field

    def with_id(self, path: Path, id: str) -> dict[str, Any]:
        """Return the variables with this id at this path."""
        variables = deepcopy(self.variables)
        part: Any = variables
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = id
        return variables


def calls(unknown_id: str, *, whole: bool) -> Iterator[Call]:
    """Generate a call of each root field with all or only the required arguments, using the unknown id for every ID."""
    for operation, root in OPERATIONS.items():
        for name, field in root.fields.items() if root else ():
            given = {each: arg for each, arg in field.args.items() if whole or is_required_argument(arg)}
            # One end of a list, not both.
            given = {each: arg for each, arg in given.items() if each not in {"last", "before", "after"}}
            declared = ", ".join(f"${each}: {arg.type}" for each, arg in given.items())
            passed = ", ".join(f"{each}: ${each}" for each in given)
            document = (
                f"{operation}{f'({declared})' if declared else ''} "
                f"{{ {name}{f'({passed})' if passed else ''}{_fields(field.type, 2)} }}"
            )
            variables = {each: _value(arg.type, unknown_id, whole) for each, arg in given.items()}
            yield Call(operation, name, document, variables, list(_paths(variables, unknown_id)))


def _value(type_: GraphQLInputType, unknown_id: str, whole: bool) -> Any:
    match type_:
        case GraphQLNonNull():
            return _value(type_.of_type, unknown_id, whole)
        case GraphQLList():
            return [_value(type_.of_type, unknown_id, whole)]
        case GraphQLInputObjectType():
            return {
                name: _value(field.type, unknown_id, whole)
                for name, field in type_.fields.items()
                if whole or isinstance(field.type, GraphQLNonNull)
            }
        case GraphQLEnumType():
            return next(iter(type_.values))
        case _:
            return unknown_id if type_.name == "ID" else VALUES[type_.name]


def _paths(value: Any, unknown_id: str, path: Path = ()) -> Iterator[Path]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _paths(part, unknown_id, (*path, name))
    if value == unknown_id:
        yield path


def _fields(type_: GraphQLOutputType, depth: int) -> str:
    """Select everything that a type has, to this depth; conflicting fields of a union's types get aliases."""
    named = get_named_type(type_)
    if is_leaf_type(named):
        return ""
    if isinstance(named, GraphQLObjectType):
        return _object_fields(named, depth, [named])
    assert isinstance(named, GraphQLInterfaceType | GraphQLUnionType)
    types = [*SCHEMA.get_possible_types(named)]
    return f" {{ __typename {' '.join(f'... on {each.name}{_object_fields(each, depth, types)}' for each in types)} }}"


def _object_fields(type_: GraphQLObjectType, depth: int, types: list[GraphQLObjectType]) -> str:
    fields = ["__typename"]
    for name, field in type_.fields.items():
        if depth or is_leaf_type(get_named_type(field.type)):
            differs = len({str(each.fields[name].type) for each in types if name in each.fields}) > 1
            alias = f"{name}_of_{type_.name}: " if differs else ""
            fields.append(f"{alias}{name}{_fields(field.type, depth - 1)}")
    return f" {{ {' '.join(fields)} }}"
