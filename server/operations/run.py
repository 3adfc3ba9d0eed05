"""Running GraphQL operations, for all transports."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
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
from resolvers.context import Context, Quotas, Terms
from resolvers.identity import Identity
from resolvers.live import Live
from resolvers.objects import required
from schema.error import RequestError
from server.operations.document import Prepared
from server.operations.followed_costs import FollowedCosts
from server.operations.persisted import persisted_documents
from server.operations.root_fields import build_schema
from server.operations.shared_streams import SharedStreams, States
from server.process.settings import Settings
from server.wire.answer import encode_result
from server.wire.request import GraphQLRequest, Refused

T = TypeVar("T")

Kinds = tuple[OperationType, ...]  # No set: hashing a member calls a Python function.
QUERIES: Kinds = (OperationType.QUERY,)
QUERIES_AND_MUTATIONS: Kinds = (OperationType.QUERY, OperationType.MUTATION)

# The one subscription to events, each of which matters. The others show a state: all subscribers to the same one share
# a stream, and slow clients get only the latest state.
EVENTS = "creditEntryAdded"


class NotExecuted(Exception):  # noqa: N818 - It is what happened, and reads so where it is caught.
    """An operation that was not executed, with the errors that kept it from that."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = errors


class Runner:
    """Runs operations on the schema, and on the database once the application has connected to it."""

    database: Database
    live: Live

    def __init__(self, settings: Settings) -> None:
        self._schema = build_schema(
            development=settings.development_keys,
            url_hosts=settings.url_hosts,
            introspection=settings.introspection == "on",
        )
        self.persisted = persisted_documents(settings, self._schema)
        self._terms = Terms(
            settings.signup_credits,
            settings.video_cost,
            Quotas(settings.creations_per_day_max, settings.storage_bytes_per_user_max),
        )
        self._response_bytes_max = settings.response_bytes_max
        self._shared = SharedStreams()
        self._followed = FollowedCosts()

    def recall(self, asked: GraphQLRequest) -> Prepared | None:
        """Return the document of a request if it has been prepared, or if there is none, the error that says so."""
        try:
            return self._schema.documents.recall(self.persisted.text_of(asked))
        except RequestError as error:
            return Prepared("", None, [error], {}, {})

    def prepare(self, asked: GraphQLRequest) -> Prepared:
        """Prepare the document of a request, which may take 100 ms, or recall it."""
        return self.recall(asked) or self._schema.prepare(self.persisted.text_of(asked))

    async def execute(
        self, asked: GraphQLRequest, document: Prepared, identity: Identity | None, allowed: Kinds
    ) -> ExecutionResult | Result:
        """Execute a query or mutation, for as long as it takes.

        Refused where it is not of a kind ``allowed``, or the document does not hold it.
        """
        if document.document is None:
            return ExecutionResult(None, document.errors)
        try:
            context = Context(self.database, self.live, self._terms, identity, self._response_bytes_max)
            running = self._schema.run(document, asked.variables, context, asked.name, allowed)
            result = running if isinstance(running, ExecutionResult) else await running
            return _whole(result) if result.errors else result
        except CannotGetOperationTypeError as error:
            raise _unknown_operation() from error
        except InvalidOperationTypeError as error:
            if error.operation_type is OperationType.MUTATION:
                raise Refused(405, "Mutations are sent by POST.", allow="POST") from error
            message = (
                "Subscriptions are not answered by a single response: follow them with `Accept: text/event-stream`, "
                "`Accept: multipart/mixed;subscriptionSpec=1.0`, or over WebSocket (graphql-transport-ws)."
            )
            raise Refused(400, message) from error

    def kind(self, asked: GraphQLRequest, document: Prepared) -> OperationType:
        """Return an operation's kind; NotExecuted if it cannot be executed."""
        return OperationType(_definition(asked, document).operation.value)

    async def subscribe(
        self, asked: GraphQLRequest, document: Prepared, identity: Identity | None
    ) -> AsyncGenerator[str, None]:
        """Yield the results of a subscription as JSON, as they come; NotExecuted, before the first, where none do."""
        definition = _definition(asked, document)
        name = definition.name.value if definition.name else None
        given = asked.variables or {}
        # A stream may last for hours: nothing is kept of a request but what its subscription uses.
        declared = [each.variable.name.value for each in definition.variable_definitions or ()]
        variables = {each: given[each] for each in declared if each in given}
        del asked, given
        try:
            cost = document.costs[name].hold(variables)
        except RequestError as error:
            raise NotExecuted([error]) from error

        def start() -> States:
            context = Context(self.database, self.live, self._terms, identity, self._response_bytes_max)
            return States(self._follow(document, name, variables, context, cost), context.refreshed)

        if _root_field(document, definition) == EVENTS:
            results = start().texts
        else:
            digest = sha256(json.dumps(variables, sort_keys=True).encode()).digest()
            results = self._shared.follow((identity, document.text, name, digest), start)
        async with aclosing(results):
            async for result in results:
                yield result

    async def _follow(
        self, prepared: Prepared, name: str | None, variables: dict[str, Any], context: Context, cost: int
    ) -> AsyncGenerator[str, None]:
        """Yield the results of a subscription as JSON; the last one has the error that ended it, if any."""
        error_id = uuid4().hex
        server.process.logging.request_id.set(error_id)
        events = await self._schema.follow(prepared, name, variables, context)
        if isinstance(events, ExecutionResult):
            raise NotExecuted(events.errors or [])
        identity = required(context.identity)  # The rules admit no anonymous subscriber.
        try:
            self._followed.add(identity, cost)
        except RequestError as error:
            raise NotExecuted([error]) from error
        try:
            async with aclosing(events):
                async for event in events:
                    whole = _whole(event)
                    errors = whole.errors or []
                    context.incomplete = any(_is_passing(error) for error in errors)
                    context.rest_seconds = self._followed.rest_seconds(identity)
                    yield encode_result(whole, error_id, self._response_bytes_max)
        except GraphQLError as error:
            yield encode_result(ExecutionResult(None, [error]), error_id, self._response_bytes_max)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            fault = ExecutionResult(None, [GraphQLError("", original_error=error)])
            yield encode_result(fault, error_id, self._response_bytes_max)
        finally:
            self._followed.remove(identity, cost)


def _definition(asked: GraphQLRequest, document: Prepared) -> OperationDefinitionNode:
    if document.errors or document.document is None:
        raise NotExecuted(document.errors)
    definition = get_operation_ast(document.document, asked.name)
    if definition is None:
        raise NotExecuted([_unknown_operation()])
    return definition


def _unknown_operation() -> Refused:
    return Refused(400, "Say in `operationName` which operation of the document is to run.")


def _whole(result: ExecutionResult | Result) -> ExecutionResult | Result:
    """Return a result as it is, or the one error that its response would be too large."""
    for error in result.errors or ():
        cause = error.original_error
        if isinstance(cause, RequestError) and (cause.extensions or {}).get("limit") == "responseBytes":
            return ExecutionResult(None, [cause])
    return result


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
