"""Running GraphQL operations, whatever transport they came by."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar
from uuid import uuid4

from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    get_operation_ast,
)
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult as Result
from strawberry.types.graphql import OperationType

import server.process.logging
from db.database import Database, RetryLaterError
from resolvers.context import Context, Terms
from resolvers.identity import Identity
from resolvers.live import Live
from resolvers.objects import required
from schema.error import RequestError
from server.operations.document import Prepared
from server.operations.followed_costs import FollowedCosts
from server.operations.persisted import persisted_documents
from server.operations.root_fields import build_schema
from server.operations.shared_streams import SharedStreams
from server.process.settings import Settings
from server.wire.answer import encode
from server.wire.errors import present
from server.wire.request import GraphQLRequest, Refused

T = TypeVar("T")

Kinds = tuple[OperationType, ...]  # No set, in which each look would hash a member by a function in Python.
ALL: Kinds = tuple(OperationType)
QUERIES: Kinds = (OperationType.QUERY,)
QUERIES_AND_MUTATIONS: Kinds = (OperationType.QUERY, OperationType.MUTATION)

# The one subscription that tells events, each of which matters. The others tell a state: whoever follows the same one
# is told by the same stream, and whoever is slow only the last.
EVENTS = "creditEntryAdded"


class NotExecuted(Exception):  # noqa: N818 - It is what happened, and reads so where it is caught.
    """An operation that came to nothing before it was executed, with what is wrong with it."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = errors


class Runner:
    """Runs operations on the one schema, and on the database that it is given when there is one."""

    database: Database
    live: Live

    def __init__(self, settings: Settings) -> None:
        self._schema = build_schema(
            development=settings.development_keys,
            url_hosts=settings.url_hosts,
            introspection=settings.introspection == "on",
        )
        self._persisted = persisted_documents(settings, self._schema)
        self._terms = Terms(settings.signup_credits, settings.video_cost)
        self._shared = SharedStreams()
        self._followed = FollowedCosts()

    async def execute(
        self, operation: GraphQLRequest, identity: Identity | None, allowed: Kinds
    ) -> ExecutionResult | Result:
        """Execute a query or mutation, for as long as it takes.

        One that is not of a kind ``allowed``, or that the document does not hold, is Refused.
        """
        try:
            context = Context(self.database, self.live, self._terms, identity)
            return await self._schema.run(self._text(operation), operation.variables, context, operation.name, allowed)
        except RequestError as error:
            return ExecutionResult(None, [error])
        except CannotGetOperationTypeError as error:
            raise Refused(400, "Say in `operationName` which operation of the document is to run.") from error
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.MUTATION:
                raise Refused(405, "Mutations are sent by POST.", allow="POST") from error
            message = (
                "Subscriptions are not answered by a single response: follow them with `Accept: text/event-stream`, "
                "`Accept: multipart/mixed;subscriptionSpec=1.0`, or over WebSocket (graphql-transport-ws)."
            )
            raise Refused(400, message) from error

    def kind(self, operation: GraphQLRequest) -> OperationType:
        """Tell of which kind an operation is; raise NotExecuted where it is none that can be executed."""
        _, definition = self._prepare(operation)
        return OperationType(definition.operation.value)

    async def stream(
        self,
        operation: GraphQLRequest,
        identity: Identity | None,
        allowed: Kinds,
        deadline: float,
        error_id: str,
    ) -> AsyncGenerator[str, None]:
        """Yield an operation's results as JSON: one of a query or mutation, of a subscription as they come.

        Raises NotExecuted, before the first. The ``deadline`` is for queries and mutations.
        """
        prepared, definition = self._prepare(operation)
        if OperationType(definition.operation.value) is not OperationType.SUBSCRIPTION:
            try:
                result = await _in_time(self.execute(operation, identity, allowed), deadline)
            except (RetryLaterError, Refused) as error:
                raise NotExecuted([GraphQLError("", original_error=error)]) from error
            errors = result.errors or []
            if result.data is None and not any(error.path for error in errors):  # Only what was executed has a path.
                raise NotExecuted(errors)
            yield _text_of(result.data, errors, error_id)
            return
        name = definition.name.value if definition.name else None
        try:
            cost = prepared.costs[name].hold(operation.variables or {})
        except RequestError as error:
            raise NotExecuted([error]) from error

        def start() -> AsyncGenerator[str, None]:
            context = Context(self.database, self.live, self._terms, identity)
            return self._follow(prepared, name, operation.variables, context, cost)

        if _root_field(prepared, definition) == EVENTS:
            results = start()
        else:
            variables = json.dumps(operation.variables, sort_keys=True)
            results = self._shared.follow((identity, self._text(operation), name, variables), start)
        async with aclosing(results):
            async for text in results:
                yield text

    async def _follow(
        self, prepared: Prepared, name: str | None, variables: dict[str, Any] | None, context: Context, cost: int
    ) -> AsyncGenerator[str, None]:
        """Yield what a subscription tells, as JSON; what breaks it off is told too."""
        error_id = uuid4().hex
        server.process.logging.request_id.set(error_id)
        events = await self._schema.follow(prepared, name, variables, context)
        if isinstance(events, ExecutionResult):
            raise NotExecuted(events.errors or [])
        identity = required(context.identity)  # Nobody else is admitted to any subscription.
        try:
            self._followed.add(identity, cost)
        except RequestError as error:
            raise NotExecuted([error]) from error
        try:
            async with aclosing(events):
                async for event in events:
                    errors = event.errors or []
                    context.incomplete = any(_is_passing(error) for error in errors)
                    context.rest_seconds = self._followed.rest_seconds(identity)
                    yield _text_of(event.data, errors, error_id)
        except GraphQLError as error:
            yield _text_of(None, [error], error_id)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            yield _text_of(None, [GraphQLError("", original_error=error)], error_id)
        finally:
            self._followed.remove(identity, cost)

    def _prepare(self, operation: GraphQLRequest) -> tuple[Prepared, OperationDefinitionNode]:
        try:
            prepared = self._schema.prepare(self._text(operation))
        except RequestError as error:
            raise NotExecuted([error]) from error
        if prepared.errors or prepared.document is None:
            raise NotExecuted(prepared.errors)
        definition = get_operation_ast(prepared.document, operation.name)
        if definition is None:
            message = "Say in `operationName` which operation of the document is to run."
            raise NotExecuted([RequestError("BAD_USER_INPUT", message)])
        return prepared, definition

    def _text(self, operation: GraphQLRequest) -> str:
        return self._persisted.text_of(operation.query, operation.document_id, operation.extensions)


async def _in_time(execution: Awaitable[T], deadline: float) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await execution
    except TimeoutError as error:
        raise RetryLaterError from error


def _text_of(data: Any, errors: list[GraphQLError], error_id: str) -> str:
    if not errors:
        return encode({"data": data})
    return encode({"data": data, "errors": [present(error, error_id) for error in errors]})


def _is_passing(error: GraphQLError) -> bool:
    return isinstance(error.original_error, RetryLaterError)


def _root_field(prepared: Prepared, definition: OperationDefinitionNode) -> str:
    """Name a subscription's one root field, which may stand in a fragment."""
    assert prepared.document is not None  # noqa: S101 - there are no errors
    fragments = {
        each.name.value: each for each in prepared.document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    within = definition.selection_set
    while True:
        match within.selections[0]:
            case FieldNode(name=name):
                return name.value
            case FragmentSpreadNode(name=name):
                within = fragments[name.value].selection_set
            case InlineFragmentNode(selection_set=inner):
                within = inner
