"""`/graphql`: GraphQL over HTTP by GET and POST, and GraphiQL for browsers."""

from collections.abc import Mapping
from functools import partial

from graphql import ExecutionResult, GraphQLError, GraphQLSyntaxError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.types import ExecutionResult as Result
from strawberry.types.graphql import OperationType

import server.pages.graphiql
from db.database import RetryLaterError
from db.deadline import Deadlines
from server.auth.tokens import InvalidToken, Proof, TokenVerifier
from server.operations.run import ALL, QUERIES, QUERIES_AND_MUTATIONS, Kinds, NotExecuted, Runner
from server.process.settings import Settings
from server.transports.event_stream import EventStream, whole_stream
from server.wire.answer import Answer, refusal
from server.wire.compression import compressed
from server.wire.errors import present
from server.wire.media_type import EVENT_STREAM, GRAPHQL_RESPONSE, HTML, JSON, Accepted, accepted, preferred
from server.wire.request import METHODS, GraphQLRequest, Refused, read_get, read_headers, read_post, read_url

RETRY = {"Retry-After": "1"}


class Endpoint:
    """Answers one operation for each request, at once or in a stream, or says in JSON why not."""

    def __init__(self, settings: Settings, verifier: TokenVerifier, operations: Runner) -> None:
        self._operations = operations
        self._verifier = verifier
        self._settings = settings
        self._deadlines = Deadlines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        request_id = scope["state"]["request_id"]
        accepts = accepted(headers.get(b"accept", b""))
        media_type = accepts.single or JSON
        response: ASGIApp
        try:
            response = await self._respond(scope, receive, headers, accepts)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = self.refusal(error, request_id, media_type)
        if isinstance(response, Response):
            response = compressed(response, headers)
        await response(scope, receive, send)

    def refusal(self, error: Exception, request_id: str, media_type: str) -> Response:
        """Answer a request that came to nothing."""
        match error:
            case Refused():
                return refusal(error, request_id, error.status, media_type, error.headers)
            case InvalidToken():
                challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
                return refusal(GraphQLError("", original_error=error), request_id, 401, media_type, challenge)
            case RetryLaterError() | TimeoutError():
                error = error if isinstance(error, RetryLaterError) else RetryLaterError()
                return refusal(GraphQLError("", original_error=error), request_id, 503, media_type, RETRY)
            case ClientDisconnect():
                return Response(status_code=499)  # For the log alone: whoever asked left before the request was whole.
            case _:
                return refusal(GraphQLError("", original_error=error), request_id, 500, media_type)

    async def _respond(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], accepts: Accepted
    ) -> Response | EventStream:
        bytes_max = self._settings.body_bytes_max
        operation = None
        match scope["method"]:
            case "POST":
                allowed = QUERIES_AND_MUTATIONS
            case "GET" | "HEAD":
                parameters = read_url(scope, bytes_max)
                if self._is_for_graphiql(parameters, _text(headers, b"accept")):
                    database = scope["app"].state.database
                    host = _text(headers, b"host") if b"host" in headers else None
                    return await server.pages.graphiql.page(database, self._settings, host)
                allowed = QUERIES
                operation = read_get(parameters, headers)
            case "OPTIONS":
                return Response(status_code=204, headers={"Allow": METHODS})
            case _:
                raise Refused(405, "GraphQL is spoken here by POST, and all but mutations also by GET.", allow=METHODS)
        deadline = scope["state"]["arrived"] + self._settings.request_timeout_seconds
        try:
            with self._deadlines.at(deadline):
                if operation is None:
                    operation = await read_post(receive, headers, bytes_max)
                return await self._perform(scope, headers, accepts, operation, allowed, deadline)
        except TimeoutError as error:
            if operation is None:
                message = "The body did not arrive in time: send the request again."
                raise Refused(408, message, code="RETRY", connection="close") from error
            raise RetryLaterError from error

    async def _perform(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        accepts: Accepted,
        operation: GraphQLRequest,
        allowed: Kinds,
        deadline: float,
    ) -> Response | EventStream:
        media_type, stream_type, subscription_type = accepts
        if media_type is None and subscription_type is None:
            raise Refused(406, f"Answers are {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}: name one in `Accept`.")
        proof: Proof | None = scope["state"].get("proof")
        if proof is None and b"authorization" in headers:
            proof = await self._verifier.prove(_text(headers, b"authorization"))
        identity = proof and proof.identity
        try:
            if subscription_type and self._operations.kind(operation) is OperationType.SUBSCRIPTION:
                results = self._operations.stream(operation, identity, ALL, deadline, scope["state"]["request_id"])
                prove = partial(self._verifier.prove, _text(headers, b"authorization"))
                return EventStream(subscription_type, results, scope["app"].state.streams, proof, prove)
            result: ExecutionResult | Result = await self._operations.execute(operation, identity, allowed)
        except NotExecuted as refused:
            result = ExecutionResult(None, refused.errors)
        answer = self.answer(result, media_type or JSON, scope["state"]["request_id"])
        return whole_stream(stream_type, answer) if stream_type else answer

    def _is_for_graphiql(self, parameters: Mapping[str, str], accept: str) -> bool:
        """Whether a browser asks for the page, which lives on introspection, rather than for an answer."""
        asks_nothing = parameters.keys().isdisjoint({"query", "documentId", "extensions"})
        return asks_nothing and self._settings.introspection == "on" and preferred(accept, html=True) == HTML

    def answer(self, result: ExecutionResult | Result, media_type: str, request_id: str) -> Answer:
        """Answer with what an operation came to, and the status that this has in this type."""
        if not result.errors:
            return Answer({"data": result.data}, 200, media_type)
        errors = [present(error, request_id) for error in result.errors]
        codes = {error["extensions"]["code"] for error in errors}
        draft = self._settings.draft_status_codes == "on" and media_type == GRAPHQL_RESPONSE
        if result.data is None and "RETRY" in codes:
            return Answer({"errors": errors}, 503, media_type, RETRY)
        if result.data is not None or any(error.path for error in result.errors):  # Only what was executed has a path.
            return Answer({"data": result.data, "errors": errors}, 294 if draft else 200, media_type)
        if "INTERNAL_SERVER_ERROR" in codes:
            return Answer({"errors": errors}, 500, media_type)
        if media_type == JSON:  # Where anybody on the way may answer JSON too, 200 says that the answer is GraphQL's.
            return Answer({"errors": errors}, 200, media_type)
        return Answer({"errors": errors}, 422 if draft and not _is_syntax(result.errors) else 400, media_type)


def _is_syntax(errors: list[GraphQLError]) -> bool:
    return isinstance(errors[0], GraphQLSyntaxError)


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
