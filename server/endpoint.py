"""`/graphql`: GraphQL over HTTP by GET and POST, and GraphiQL for browsers."""

import asyncio
from collections.abc import Mapping

from graphql import GraphQLError, GraphQLSyntaxError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

import server.graphiql
from db.database import RetryLaterError
from server.answer import Answer, refusal
from server.errors import present
from server.identity import InvalidToken, TokenVerifier
from server.media_type import GRAPHQL_RESPONSE, HTML, JSON, preferred
from server.operations import QUERIES, QUERIES_AND_MUTATIONS, Operations
from server.request import METHODS, Operation, Refused, read_get, read_headers, read_post, read_url
from server.settings import Settings

RETRY = {"Retry-After": "1"}


class Endpoint:
    """Answers one operation for each request, or says in JSON why not."""

    def __init__(self, settings: Settings, verifier: TokenVerifier, operations: Operations) -> None:
        self._operations = operations
        self._verifier = verifier
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        request_id = scope["state"]["request_id"]
        media_type = preferred(_text(headers, b"accept"), html=False) or JSON
        response: Response
        try:
            response = await self._respond(scope, receive, headers)
        except Refused as error:
            response = refusal(error, request_id, error.status, media_type, error.headers)
        except InvalidToken as error:
            shown = GraphQLError(error.message, original_error=error)
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            response = refusal(shown, request_id, 401, media_type, challenge)
        except RetryLaterError as error:
            response = refusal(GraphQLError("", original_error=error), request_id, 503, media_type, RETRY)
        except ClientDisconnect:
            response = Response(status_code=499)  # For the log alone: whoever asked left before the request was whole.
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = refusal(GraphQLError("", original_error=error), request_id, 500, media_type)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Response:
        deadline = scope["state"]["arrived"] + self._settings.request_timeout_seconds
        bytes_max = self._settings.body_bytes_max
        accept = _text(headers, b"accept")
        media_type = preferred(accept, html=False)
        match scope["method"]:
            case "POST":
                allowed = QUERIES_AND_MUTATIONS
                operation = await read_post(receive, headers, bytes_max, deadline)
            case "GET" | "HEAD":
                parameters = read_url(scope, bytes_max)
                if self._is_for_graphiql(parameters, accept):
                    database = scope["app"].state.database
                    host = _text(headers, b"host") if b"host" in headers else None
                    return await server.graphiql.page(database, self._settings, host)
                allowed = QUERIES
                operation = read_get(parameters, headers)
            case "OPTIONS":
                return Response(status_code=204, headers={"Allow": METHODS})
            case _:
                raise Refused(405, "GraphQL is spoken here by POST, and queries also by GET.", allow=METHODS)
        if media_type is None:
            raise Refused(406, f"Answers are {GRAPHQL_RESPONSE} or {JSON}: name one in `Accept`.")
        return self._answer(
            await self._execute(scope, headers, operation, allowed, deadline), media_type, scope["state"]["request_id"]
        )

    def _is_for_graphiql(self, parameters: Mapping[str, str], accept: str) -> bool:
        """Whether a browser asks for the page, which lives on introspection, rather than for an answer."""
        asks_nothing = parameters.keys().isdisjoint({"query", "documentId", "extensions"})
        return asks_nothing and self._settings.introspection == "on" and preferred(accept, html=True) == HTML

    async def _execute(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        operation: Operation,
        allowed: frozenset[OperationType],
        deadline: float,
    ) -> ExecutionResult:
        """Run an operation as whoever sent it, token and all by the deadline; else raise RetryLaterError."""
        try:
            async with asyncio.timeout_at(deadline):
                authorization = _text(headers, b"authorization") if b"authorization" in headers else None
                identity = await self._verifier.identify(authorization)
        except TimeoutError as error:
            raise RetryLaterError from error
        return await self._operations.execute(scope["app"].state, operation, identity, allowed, deadline)

    def _answer(self, result: ExecutionResult, media_type: str, request_id: str) -> Answer:
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
