"""A document's way to its operation: parsed, held to the limits and validated once, then remembered by its text."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    KnownFragmentNamesRule,
    NoFragmentCyclesRule,
    NoSchemaIntrospectionCustomRule,
    NoUnusedFragmentsRule,
    UniqueFragmentNamesRule,
    UniqueOperationNamesRule,
    parse,
    specified_rules,
    validate,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from executor.operation import CompiledOperation
from schema.error import RequestError
from server.bounded_cache import BoundedCache
from server.operations.document_limits import LIMITS, OperationCost, hold, hold_to_limits
from server.operations.root_rules import RootFields, root_fields

# An app sends a few dozen documents of a kilobyte. A character takes up to 250 bytes when it is parsed: 128 MB at most.
DOCUMENTS_REMEMBERED = 1_000
CHARACTERS_REMEMBERED = 524_288
# What is compiled of it counts, too: 2 KB for a field.
CHARACTERS_PER_FIELD = 8
# Those in error are remembered apart, so that no flood of them drives out the others.
FAULTY_REMEMBERED = 100
FAULTY_CHARACTERS_REMEMBERED = 65_536

# More errors help nobody, and each may quote a large part of the document.
ERRORS_MAX = 10

# What the limits take for granted: with these, each fragment can be written out wherever it is spread.
_STRUCTURE = (
    UniqueOperationNamesRule,
    UniqueFragmentNamesRule,
    KnownFragmentNamesRule,
    NoFragmentCyclesRule,
    NoUnusedFragmentsRule,
)


class Prepared(NamedTuple):
    """A document that can be executed, if there are no errors, with the cost of each of its operations."""

    text: str
    document: DocumentNode | None
    errors: list[GraphQLError]
    costs: Mapping[str | None, OperationCost]
    compiled: dict[str | None, tuple[CompiledOperation, RootFields | None]]  # the operations that have been requested


class Documents:
    """Prepares documents for one schema, and remembers them, those in error too."""

    def __init__(self, *, introspection: bool) -> None:
        self._introspection = introspection
        self._rules = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
        if not introspection:
            self._rules = (*self._rules, NoSchemaIntrospectionCustomRule)
        self._sound = BoundedCache[Prepared](DOCUMENTS_REMEMBERED, CHARACTERS_REMEMBERED)
        self._faulty = BoundedCache[Prepared](FAULTY_REMEMBERED, FAULTY_CHARACTERS_REMEMBERED)

    def prepare(self, schema: GraphQLSchema, text: str) -> Prepared:
        """Prepare a document, at less than 100 ms of CPU, or recall the result of an earlier call."""
        prepared = self.recall(text)
        if prepared is None:
            prepared = self._prepared(schema, text)
            (self._faulty if prepared.errors else self._sound).put(text, prepared, len(text))
        return prepared

    def recall(self, text: str) -> Prepared | None:
        """Recall the result of an earlier call of `prepare`; None if there is none."""
        return self._sound.get(text) or self._faulty.get(text)

    def compiled(
        self, schema: GraphQLSchema, prepared: Prepared, name: str | None
    ) -> tuple[CompiledOperation, RootFields | None]:
        """Compile an operation of a document without errors, or recall it; it is remembered as long as the document."""
        found = prepared.compiled.get(name)
        if found is None:
            assert prepared.document is not None  # noqa: S101 - there are no errors
            operation = CompiledOperation(schema, prepared.document, name, partial(self._weigh, prepared))
            found = prepared.compiled[name] = (operation, root_fields(schema, prepared.document, name))
        return found

    def _weigh(self, prepared: Prepared, fields: int) -> None:
        self._sound.grow(prepared.text, fields * CHARACTERS_PER_FIELD)

    def _prepared(self, schema: GraphQLSchema, text: str) -> Prepared:
        try:
            hold("length", len(text))
            document = _parsed(text)
        except GraphQLError as error:
            return Prepared(text, None, [error], {}, {})
        errors = self._validate(schema, document, _STRUCTURE)
        costs: Mapping[str | None, OperationCost] = {}
        if not errors:
            try:
                costs = hold_to_limits(schema, document)
            except RequestError as error:
                errors = [error]
            else:
                errors = self._validate(schema, document, self._rules)
        return Prepared(text, document, errors, costs, {})

    def _validate(self, schema: GraphQLSchema, document: DocumentNode, rules: Any) -> list[GraphQLError]:
        return validate(schema, document, rules, ERRORS_MAX, hide_suggestions=not self._introspection)


def _parsed(text: str) -> DocumentNode:
    maximum = LIMITS["tokens"].maximum
    try:
        return parse(text, max_tokens=maximum)
    except GraphQLSyntaxError as error:
        if f"more than {maximum} tokens" not in error.message:
            raise
        hold("tokens", maximum + 1)  # Where the parser stopped: to count the rest would take as long as to read it.
        raise


class DocumentExtension(SchemaExtension):
    """Has Strawberry take documents from ``Documents``, and holds each operation to the limit on its cost."""

    def __init__(self, documents: Documents) -> None:
        super().__init__()
        self._documents = documents
        self._prepared: Prepared | None = None

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        if context.query:
            schema = context.schema._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
            self._prepared = self._documents.prepare(schema, context.query)
            context.graphql_document = self._prepared.document
            if self._prepared.document is None:
                raise self._prepared.errors[0].with_traceback(None)  # A traceback grows each time that it is raised.
        yield

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if self._prepared:
            context.pre_execution_errors = self._prepared.errors
            if not self._prepared.errors:
                try:
                    self._prepared.costs[context.operation_name].hold(context.variables or {})
                except RequestError as error:
                    context.pre_execution_errors = [error.with_traceback(None)]  # Its frames refer to the context.
        yield
