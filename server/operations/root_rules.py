"""The rules of an operation's root fields, checked before its variables are coerced and before any field runs."""

from typing import NamedTuple

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationType,
    get_operation_ast,
    is_non_null_type,
    located_error,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields
from graphql.execution.values import VariableValues

from resolvers.identity import Identity, Role
from resolvers.rules import RULES, allows, refusal


class RootField(NamedTuple):
    """A root field that is selected for all values of the variables."""

    key: str
    name: str
    nodes: list[FieldNode]
    non_null: bool


class RootFields(NamedTuple):
    """All root fields of an operation."""

    type_name: str
    fields: list[RootField]
    is_mutation: bool
    allowed: frozenset[Role]  # the roles that may use them all

    def refuse(self, identity: Identity | None) -> ExecutionResult | None:
        """Answer an operation of which nothing is for the caller, or a mutation of which something is not."""
        if identity is not None and identity.role in self.allowed:
            return None
        errors = {
            field.key: located_error(refusal(field.name, identity), field.nodes, [field.key])
            for field in self.fields
            if field.name != "__typename" and not allows(field.name, identity)
        }
        if not errors:
            return None
        rest = [field for field in self.fields if field.key not in errors]
        if not self.is_mutation and any(field.name != "__typename" for field in rest):
            return None  # The others' data is answered beside the errors.
        if any(field.non_null for field in self.fields if field.key in errors):
            return ExecutionResult(None, list(errors.values()))
        data = {field.key: None if field.key in errors else self.type_name for field in self.fields}
        return ExecutionResult(data, list(errors.values()))


def root_fields(schema: GraphQLSchema, document: DocumentNode, name: str | None) -> RootFields | None:
    """Find the root fields of an operation; None if its variables decide which there are, or for introspection."""
    definition = get_operation_ast(document, name)
    assert definition is not None, name  # noqa: S101 - It is an operation of this document.
    root = schema.get_root_type(definition.operation)
    assert root is not None  # noqa: S101 - The document is valid.
    fragments = {
        each.name.value: FragmentDetails(each)
        for each in document.definitions
        if isinstance(each, FragmentDefinitionNode)
    }
    try:
        collected = collect_fields(schema, fragments, VariableValues({}, {}), root, definition).grouped_field_set
    except GraphQLError:  # @skip or @include has a variable.
        return None
    found = []
    for key, details in collected.items():
        nodes = [each.node for each in details]
        field_name = nodes[0].name.value
        field = schema.get_field(root, field_name)
        if field is None or field_name in {"__schema", "__type"}:
            return None
        found.append(RootField(key, field_name, nodes, is_non_null_type(field.type)))
    ruled = [RULES[field.name].keys() for field in found if field.name != "__typename"]
    allowed = frozenset(role for role in Role if all(role in roles for roles in ruled))
    return RootFields(root.name, found, definition.operation is OperationType.MUTATION, allowed)
