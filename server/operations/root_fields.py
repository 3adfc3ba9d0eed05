"""The API's table of contents: each root field bound to its resolver."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Collection, Iterator
from functools import partial
from typing import Any

import strawberry
import structlog
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    create_source_event_stream,
    execute_subscription_event,
    map_source_to_response_event,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types import ExecutionContext
from strawberry.types import ExecutionResult as Result
from strawberry.types.graphql import OperationType
from strawberry.utils.await_maybe import await_maybe

import resolvers.credit_entry
import resolvers.node
import resolvers.user
import resolvers.video_data
from executor.program import NotCovered
from resolvers.context import Context
from schema.error import RequestError
from schema.scalar import scalar_map
from server.operations.document import DocumentExtension, Documents, Prepared

log = structlog.get_logger()


@strawberry.type(description="What can be read.")
class Query:
    viewer = strawberry.field(
        resolver=resolvers.user.viewer, description="You; null until you are registered (see `registerUser`)."
    )
    node = strawberry.field(
        resolver=resolvers.node.node,
        description="Any object by its id; null if there is none, or it is not yours to see.",
    )
    nodes = strawberry.field(
        resolver=resolvers.node.nodes, description="Objects by their ids, in the same order; null for those not found."
    )
    user = strawberry.field(
        resolver=resolvers.user.user,
        description="A user by id: yourself, or any for a WORKER or ADMIN; null if not found.",
    )
    users = strawberry.field(resolver=resolvers.user.users, description="All users, newest first. For an ADMIN.")
    video_data = strawberry.field(
        resolver=resolvers.video_data.video_data, description="A video by id: your own, or any for a WORKER or ADMIN."
    )
    videos = strawberry.field(
        resolver=resolvers.video_data.videos, description="All users' videos, newest first. For an ADMIN."
    )
    render_queue = strawberry.field(
        resolver=resolvers.video_data.render_queue,
        description="The videos that wait to be rendered, the longest waiting first. For a WORKER: move one to "
        "RENDERING with `updateVideoRecordStatus`, and start the render if the answer is not `replayed`.",
    )
    video_data_stats = strawberry.field(
        resolver=resolvers.video_data.video_data_stats, description="How many videos there are. For an ADMIN."
    )


@strawberry.type(
    description="What can be changed. Each field is one transaction: it happens whole or not at all. "
    "Each answers with the changed objects, or with a refusal."
)
class Mutation:
    register_user = strawberry.field(
        resolver=resolvers.user.register_user,
        description="Registers you, with the sign-up credits, or brings your profile up to date. Call it after each "
        "sign-in: the credits are granted once.",
    )
    create_video_data = strawberry.field(
        resolver=resolvers.video_data.create_video_data,
        description="Creates a video and charges for it, once per idempotency key.",
    )
    update_video_record_status = strawberry.field(
        resolver=resolvers.video_data.update_video_record_status,
        description="Takes a report about a video: status, progress, comments, download URL. A video that ends in "
        "FAILED or CANCELED gives back what its attempt was charged, once. For a WORKER.",
    )
    update_video_data = strawberry.field(
        resolver=resolvers.video_data.update_video_data,
        description="Stores what the generation job or the editor page has made. Only the fields given change.",
    )
    cancel_video_data = strawberry.field(
        resolver=resolvers.video_data.cancel_video_data, description="Calls a video off and gives its credits back."
    )
    retry_video_data = strawberry.field(
        resolver=resolvers.video_data.retry_video_data,
        description="Begins a new attempt at a FAILED or CANCELED video and charges for it, once per idempotency key.",
    )
    trash_video_data = strawberry.field(
        resolver=resolvers.video_data.trash_video_data,
        description="Puts a video into the trash. It goes on if it was under way.",
    )
    restore_video_data = strawberry.field(
        resolver=resolvers.video_data.restore_video_data, description="Takes a video out of the trash."
    )
    adjust_user_credits = strawberry.field(
        resolver=resolvers.user.adjust_user_credits,
        description="Adds credits to a user's balance, or takes them, once per idempotency key. For an ADMIN, and for "
        "payment webhooks, which act as one.",
    )


@strawberry.type(
    description="What can be followed live: over WebSocket (graphql-transport-ws), as server-sent events, or as "
    "Apollo's multipart stream. All but `creditEntryAdded` send the present state at once, and again whenever it has "
    "changed; changes that follow each other fast are joined, and the last state always arrives."
)
class Subscription:
    viewer_updated = strawberry.subscription(
        resolver=resolvers.user.viewer_updated, description="You and your balance, with the entry that made it."
    )
    video_data_updated = strawberry.subscription(
        resolver=resolvers.video_data.video_data_updated,
        description="A video: its status, progress and position in the queue. Your own, or any for a WORKER or ADMIN.",
    )
    videos_updated = strawberry.subscription(
        resolver=resolvers.video_data.videos_updated, description="The first page of your videos, newest first."
    )
    credit_entry_added = strawberry.subscription(
        resolver=resolvers.credit_entry.credit_entry_added,
        description="Each entry that is added to your ledger, once and in order. To miss none while your connection "
        "was lost, come back with the cursor of the last one that you have.",
    )


class OneOperation(SchemaExtension):
    """Refuses a document of several operations of which none is named: Strawberry would run the first."""

    def on_parse(self) -> Iterator[None]:
        yield
        context = self.execution_context
        document = context.graphql_document
        named = context._provided_operation_name is not None  # noqa: SLF001 - What is public falls back on the first.
        if document and not named and sum(each.kind == "operation_definition" for each in document.definitions) > 1:
            raise CannotGetOperationTypeError(None)


class Schema(strawberry.Schema):
    """The schema, with the documents that are prepared for it."""

    documents: Documents
    suggestions = True
    not_compiled: Counter[str]  # how often Strawberry executed instead of compiled functions, by the reason

    def prepare(self, text: str) -> Prepared:
        """Prepare a document, or recall it."""
        return self.documents.prepare(self._schema, text)

    def run(
        self,
        document: Prepared,
        variables: dict[str, Any] | None,
        context: Any,
        name: str | None,
        allowed: Collection[OperationType],
    ) -> ExecutionResult | Awaitable[ExecutionResult | Result]:
        """Execute a query or mutation, by functions compiled for it where that can be, and else by Strawberry.

        Strawberry also reports errors: by then, nothing has been resolved.
        """
        answer = self._answer(document, variables or {}, context, name, allowed)
        return self.execute(document.text, variables, context, None, name, allowed) if answer is None else answer

    def _answer(
        self,
        document: Prepared,
        variables: dict[str, Any],
        context: Any,
        name: str | None,
        allowed: Collection[OperationType],
    ) -> ExecutionResult | Awaitable[ExecutionResult] | None:
        """Begin to execute by compiled functions, or do nothing."""
        costs = document.costs
        if name is None and len(costs) == 1:
            (name,) = costs
        if document.errors or name not in costs:
            return None
        operation, roots = self.documents.compiled(self._schema, document, name)
        if operation.kind not in allowed:
            return None
        try:
            costs[name].hold(variables)
            if roots is not None and (refused := roots.refuse(context.identity)):
                return refused
            return operation(context, variables, hide_suggestions=not self.suggestions)
        except RequestError:
            return None
        except NotCovered as reason:
            self._note_not_compiled(reason, name)
            return None

    async def follow(
        self, prepared: Prepared, name: str | None, variables: dict[str, Any] | None, context: Context
    ) -> AsyncGenerator[ExecutionResult, None] | ExecutionResult:
        """Start a subscription: a result for each of its events, or one that says why there are none.

        Not by Strawberry's `subscribe`, which would parse and run extensions again, for each event too.
        """
        assert prepared.document is not None  # noqa: S101 - there are no errors
        hide_suggestions = not self.suggestions
        operation, roots = self.documents.compiled(self._schema, prepared, name)
        if roots is not None and (refused := roots.refuse(context.identity)):
            return ExecutionResult(None, refused.errors)
        if errors := operation.variable_errors(variables or {}, hide_suggestions=hide_suggestions):
            return ExecutionResult(None, errors)
        executor = StrawberryGraphQLCoreExecutionContext.build(
            self._schema,
            prepared.document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=name,
            hide_suggestions=hide_suggestions,
        )
        if isinstance(executor, list):
            return ExecutionResult(None, executor)
        events: Any = await await_maybe(create_source_event_stream(executor))
        if isinstance(events, ExecutionResult):
            return events

        def answer(event: Executor[Any]) -> Any:
            try:
                return operation.answer(
                    context, event.variable_values, event.root_value, hide_suggestions=hide_suggestions
                )
            except NotCovered as reason:
                self._note_not_compiled(reason, name)
                return execute_subscription_event(event)

        return map_source_to_response_event(executor, events, answer)

    def _note_not_compiled(self, reason: NotCovered, name: str | None) -> None:
        """Count it, and log the 1st, 10th, 100th … time of each reason: the operator sees it, and how often it is."""
        times = self.not_compiled[str(reason)] = self.not_compiled[str(reason)] + 1
        if str(times).rstrip("0") == "1":
            log.info("operation_not_compiled", reason=str(reason), operation=name, times=times)

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Leave the log to `server.wire.errors`, which knows refusals and bad input from faults."""

    def _get_custom_context_kwargs(
        self, operation_extensions: dict[str, Any] | None = None, *, sync: bool = False
    ) -> dict[str, Any]:
        """Suppress suggestions during execution too, which reports invalid variables."""
        return {
            **super()._get_custom_context_kwargs(operation_extensions, sync=sync),
            "hide_suggestions": not self.suggestions,
        }


def build_schema(
    *, development: bool = False, url_hosts: Collection[str] | None = None, introspection: bool = True
) -> Schema:
    """Build the GraphQL schema; in ``development``, URLs of this machine may be plain http.

    ``url_hosts`` are the hosts that URLs may name, as `schema.host` has them; None means any.
    Without ``introspection``, clients can neither read the schema nor guess it from suggestions in errors.
    """
    documents = Documents(introspection=introspection)
    schema = Schema(
        Query,
        Mutation,
        Subscription,
        config=StrawberryConfig(scalar_map=scalar_map(loopback_http=development, url_hosts=url_hosts)),
        extensions=[OneOperation, partial(DocumentExtension, documents)],
    )
    schema.documents = documents
    schema.not_compiled = Counter()
    schema.suggestions = introspection
    return schema
