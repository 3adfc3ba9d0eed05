"""The contract: schema.graphql matches the code, and everything in it is described."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    build_schema,
    is_specified_scalar_type,
)

import server.operations.root_fields
from server.cli import commands

PRINTED = Path(__file__).parents[2] / "schema.graphql"
SCHEMA = build_schema(PRINTED.read_text(encoding="utf-8"))
assert SCHEMA.query_type is not None
assert SCHEMA.mutation_type is not None
TYPES = {
    name: type_
    for name, type_ in SCHEMA.type_map.items()
    if not name.startswith("__") and not is_specified_scalar_type(type_)
}
RESULTS = {name: field.type for name, field in SCHEMA.mutation_type.fields.items()}


def test_the_printed_schema_is_current() -> None:
    """schema.graphql equals the output of `videocredits schema`: run `make schema` when this fails."""
    printed = CliRunner().invoke(commands, ["schema"])
    assert printed.exit_code == 0
    assert printed.output == PRINTED.read_text(encoding="utf-8")


def test_development_has_the_same_schema() -> None:
    """Development mode accepts more URLs, but has the same schema."""
    assert server.operations.root_fields.build_schema(development=True).as_str() + "\n" == PRINTED.read_text(
        encoding="utf-8"
    )


def descriptions(type_: GraphQLNamedType) -> dict[str, str | None]:
    """Collect the descriptions of a type and of all that it holds."""
    found = {type_.name: type_.description}
    if isinstance(type_, GraphQLEnumType):
        found |= {f"{type_.name}.{name}": value.description for name, value in type_.values.items()}
    if isinstance(type_, GraphQLInputObjectType):
        found |= {f"{type_.name}.{name}": field.description for name, field in type_.fields.items()}
    if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
        for name, field in type_.fields.items():
            found[f"{type_.name}.{name}"] = field.description
            found |= {f"{type_.name}.{name}({each})": argument.description for each, argument in field.args.items()}
    return found


@pytest.mark.parametrize("name", TYPES)
def test_everything_is_described(name: str) -> None:
    """Every type, field, argument, input field and enum value is described, in whole sentences."""
    undescribed = [
        place
        for place, description in descriptions(TYPES[name]).items()
        if not description or description[0].islower() or not description.endswith((".", ")"))
    ]
    assert undescribed == []


def test_every_scalar_is_specified() -> None:
    """Every scalar of our own says where it is specified."""
    scalars = {name: type_ for name, type_ in TYPES.items() if isinstance(type_, GraphQLScalarType)}
    assert set(scalars) == {"DateTime", "JSON", "URL"}
    for scalar in scalars.values():
        assert (scalar.specified_by_url or "").startswith("https://")


@pytest.mark.parametrize("name", RESULTS)
def test_a_mutation_takes_one_input_and_returns_a_union(name: str) -> None:
    """A mutation takes one `input` and returns a union of its success and its refusals, OperationRefused last."""
    assert SCHEMA.mutation_type is not None
    kind = name[0].upper() + name[1:]
    field = SCHEMA.mutation_type.fields[name]
    assert {argument: str(each.type) for argument, each in field.args.items()} == {"input": f"{kind}Input!"}
    assert str(field.type) == f"{kind}Result!"
    result = SCHEMA.type_map[f"{kind}Result"]
    assert isinstance(result, GraphQLUnionType)
    success, *refusals = result.types
    assert success.name == f"{kind}Success"
    assert success.interfaces == ()
    assert refusals
    assert refusals[-1].name == "OperationRefused"
    for refusal in refusals:
        assert [interface.name for interface in refusal.interfaces] == ["Error"]


# Each mutation's refusals in their order of precedence, as its statement's header states it.
REFUSALS = {
    "registerUser": [],
    "createVideoData": ["IdempotencyKeyReused", "UserNotFound", "QuotaExceeded", "InsufficientCredits"],
    "updateVideoRecordStatus": ["VideoDataNotFound", "StaleAttempt", "IllegalTransition", "ContradictoryReport"],
    "updateVideoData": ["VideoDataNotFound", "VersionConflict", "QuotaExceeded"],
    "cancelVideoData": ["VideoDataNotFound", "IllegalTransition"],
    "retryVideoData": [
        "IdempotencyKeyReused",
        "VideoDataNotFound",
        "IllegalTransition",
        "QuotaExceeded",
        "InsufficientCredits",
    ],
    "trashVideoData": ["VideoDataNotFound"],
    "restoreVideoData": ["VideoDataNotFound"],
    "adjustUserCredits": ["IdempotencyKeyReused", "UserNotFound", "InsufficientCredits", "CreditsOutOfRange"],
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_union_lists_refusals_by_precedence(name: str) -> None:
    """A result lists its refusals in their order of precedence, as its description says."""
    result = SCHEMA.type_map[name[0].upper() + name[1:] + "Result"]
    assert isinstance(result, GraphQLUnionType)
    assert [member.name for member in result.types][1:-1] == REFUSALS[name]


def test_every_refusal_is_part_of_a_result() -> None:
    """Every type that implements Error is a member of some result."""
    unions = [type_ for type_ in TYPES.values() if isinstance(type_, GraphQLUnionType)]
    members = {member.name for union in unions for member in union.types}
    refusals = {
        type_.name
        for type_ in TYPES.values()
        if isinstance(type_, GraphQLObjectType) and type_.interfaces and type_.interfaces[0].name == "Error"
    }
    assert refusals <= members


def test_every_object_with_an_id_is_a_node() -> None:
    """Every type that has an `id` implements Node, so that `node(id:)` finds it."""
    for type_ in TYPES.values():
        if isinstance(type_, GraphQLObjectType) and "id" in type_.fields:
            assert [interface.name for interface in type_.interfaces] == ["Node"]
            assert str(type_.fields["id"].type) == "ID!"


def test_every_list_is_a_connection_or_small() -> None:
    """Every list that can grow is a connection; all other lists have a limited length."""
    lists = [
        f"{type_.name}.{name}"
        for type_ in TYPES.values()
        if isinstance(type_, GraphQLObjectType) and not type_.name.endswith("Connection")
        for name, field in type_.fields.items()
        if "[" in str(field.type)
    ]
    assert lists == ["Query.nodes", "VideoData.images"]


def test_every_connection_is_relays() -> None:
    """Every connection has edges, nodes and pageInfo, and its field takes first, after, last and before.

    A subscription has the first page alone.
    """
    connections = [type_ for type_ in TYPES.values() if type_.name.endswith("Connection")]
    assert connections
    for connection in connections:
        assert isinstance(connection, GraphQLObjectType)
        assert set(connection.fields) == {"edges", "nodes", "pageInfo"}
        assert all(isinstance(field.type, GraphQLNonNull) for field in connection.fields.values())
    for type_ in TYPES.values():
        for name, field in type_.fields.items() if isinstance(type_, GraphQLObjectType) else ():
            if str(field.type).endswith("Connection!"):
                arguments = ["first"] if type_.name == "Subscription" else ["first", "after", "last", "before"]
                assert list(field.args)[: len(arguments)] == arguments, name
