"""Prints the API's reference in Markdown, out of `schema.graphql`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    NullValueNode,
    build_schema,
    get_named_type,
    is_introspection_type,
    is_specified_scalar_type,
    print_ast,
)

SCHEMA = Path(__file__).parents[1] / "schema.graphql"
ROOTS = ("Query", "Mutation", "Subscription")

Typed = GraphQLField | GraphQLInputField | GraphQLArgument


def reference(schema: GraphQLSchema) -> str:
    """Describe a schema: first what can be asked, then all types by name."""
    own = [each for each in schema.type_map.values() if not is_introspection_type(each)]
    types = sorted(
        (each for each in own if not is_specified_scalar_type(each)),
        key=lambda each: (ROOTS.index(each.name) if each.name in ROOTS else len(ROOTS), each.name),
    )
    head = ["# Reference", "", "Printed by `make schema` out of `schema.graphql`; do not edit.", ""]
    return "\n".join([*head, *(line for each in types for line in _type(each))])


def _type(type_: GraphQLNamedType) -> Iterator[str]:
    yield from (f"## {type_.name}", "", f"*{_kind(type_)}.* {_text(type_.description)}", "")
    match type_:
        case GraphQLObjectType() | GraphQLInterfaceType() | GraphQLInputObjectType():
            if not isinstance(type_, GraphQLInputObjectType) and type_.interfaces:
                yield from (f"Implements {', '.join(map(_link, type_.interfaces))}.", "")
            yield from ("| field | type | |", "|---|---|---|")
            for name, field in type_.fields.items():
                yield f"| `{name}` | {_typed(field)} | {_text(field.description)} |"
                for argument_name, argument in getattr(field, "args", {}).items():
                    yield f"| · `{argument_name}` | {_typed(argument)} | {_text(argument.description)} |"
            yield ""
        case GraphQLUnionType():
            yield from (f"One of {', '.join(map(_link, type_.types))}.", "")
        case GraphQLEnumType():
            yield from ("| value | |", "|---|---|")
            yield from (f"| `{name}` | {_text(value.description)} |" for name, value in type_.values.items())
            yield ""


def _kind(type_: GraphQLNamedType) -> str:
    return type_.ast_node.kind.removesuffix("_definition").removesuffix("_type").replace("_", " ").capitalize()  # type: ignore[union-attr] # A schema that was read has all nodes.


def _typed(field: Typed) -> str:
    """Show a type as in SDL, with a link, and its default."""
    named = get_named_type(field.type)
    before, _, after = str(field.type).partition(named.name)
    default = getattr(field.ast_node, "default_value", None)
    shown = "" if default is None or isinstance(default, NullValueNode) else f" = `{print_ast(default)}`"
    return f"{before}{_link(named)}{after}{shown}".replace("[[", "\\[[")


def _link(type_: GraphQLNamedType) -> str:
    return type_.name if is_specified_scalar_type(type_) else f"[{type_.name}](#{type_.name.lower()})"


def _text(description: str | None) -> str:
    return (description or "").replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference(build_schema(SCHEMA.read_text(encoding="utf-8"))))
