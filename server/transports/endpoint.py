"""`/graphql` over ASGI: GraphQL over HTTP by GET and POST, event streams, and GraphiQL for browsers."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import partial

from graphql import ExecutionResult
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult as Result

import server.pages.graphiql
from server.auth.tokens import TokenVerifier
from server.gates.admission import Slot
from server.gates.body_memory import BodyBytes, BodyMemory
from server.gates.streams import Streams
from server.operations.run import QUERIES, QUERIES_AND_MUTATIONS
from server.pipeline import Pipeline, Request
from server.process.settings import Settings
from server.transports.event_stream import EventStream, whole_stream
from server.wire.answer import answer, refusal
from server.wire.compression import compressed
from server.wire.media_type import EVENT_STREAM, GRAPHQL_RESPONSE, JSON, Accepted, accepted, is_page_preferred
from server.wire.request import (
    METHODS,
    SHORT_BODY_BYTES,
    ClientGone,
    GraphQLRequest,
    Refused,
    check_body,
    read_body,
    read_get,
    read_headers,
    read_url,
    too_long,
)


class Endpoint:
    """Answers one request: with a result, with a stream of results, or with the reason in JSON why not."""

    def __init__(self, settings: Settings, verifier: TokenVerifier, pipeline: Pipeline, streams: Streams) -> None:
        self.settings = settings
        self.verifier = verifier
        self.streams = streams
        self.body_memory = BodyMemory(settings.body_bytes_max)
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        request_id = scope["state"]["request_id"]
        accepts = accepted(headers.get(b"accept", b""))
        media_type = accepts.single or JSON
        response: Response | EventStream
        try:
            response = await self._respond(scope, receive, headers, accepts)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = refusal(error, request_id, media_type)
        if isinstance(response, EventStream):
            try:
                await response(scope, receive, send)
            except Refused as error:  # It is one stream too many.
                response = refusal(error, request_id, media_type)
            else:
                return
        await compressed(response, headers)(scope, receive, send)

    async def _respond(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], accepts: Accepted
    ) -> Response | EventStream:
        match scope["method"]:
            case "POST":
                with BodyBytes(self.body_memory) as taken:
                    return await self._pipeline.answer(_Post(self, scope, receive, headers, accepts, taken))
            case "GET" | "HEAD":
                return await self._get(scope, receive, headers, accepts)
            case "OPTIONS":
                return Response(status_code=204, headers={"Allow": METHODS})
            case _:
                raise Refused(405, "GraphQL is spoken here by POST, and all but mutations also by GET.", allow=METHODS)

    async def _get(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], accepts: Accepted
    ) -> Response | EventStream:
        parameters = read_url(scope, self.settings.body_bytes_max)
        if self._is_for_graphiql(parameters, _text(headers, b"accept")):
            client = scope.get("client")
            await self._pipeline.admit_address(client)
            host = _text(headers, b"host") if b"host" in headers else None
            return await server.pages.graphiql.page(scope["app"].state.database, self.settings, host, client)
        return await self._pipeline.answer(_Get(self, scope, receive, headers, accepts, parameters))

    def _is_for_graphiql(self, parameters: Mapping[str, str], accept: str) -> bool:
        """Return whether a browser asks for GraphiQL's page, which needs introspection."""
        asks_nothing = parameters.keys().isdisjoint({"query", "documentId", "extensions"})
        return asks_nothing and self.settings.introspection == "on" and is_page_preferred(accept)


class _Http(Request[Response | EventStream]):
    """A request over ASGI."""

    __slots__ = ("_accepts", "_endpoint", "_headers", "_receive", "_scope", "streams")

    has_body = False

    def __init__(
        self, endpoint: Endpoint, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], accepts: Accepted
    ) -> None:
        deadline = scope["state"]["arrived"] + endpoint.settings.request_timeout_seconds
        super().__init__(scope.get("client"), _authorization(headers), deadline)
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive
        self._headers = headers
        self._accepts = accepts
        self.streams = accepts.subscription is not None

    async def receive(self) -> None:
        if self._accepts.single is None and not self.streams:
            raise Refused(406, f"Answers are {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}: name one in `Accept`.")

    async def wait(self, slot: Slot) -> None:
        watch = asyncio.create_task(self._leave_with_client(slot))
        try:
            await slot.wait()
        finally:
            watch.cancel()

    async def _leave_with_client(self, slot: Slot) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        slot.leave()

    def respond(self, result: ExecutionResult | Result) -> Response:
        settings = self._endpoint.settings
        answered = answer(
            result,
            self._scope["state"]["request_id"],
            self._accepts.single or JSON,
            draft=settings.draft_status_codes == "on",
            bytes_max=settings.response_bytes_max,
        )
        return whole_stream(self._accepts.stream, answered) if self._accepts.stream else answered

    def follow(self, results: AsyncGenerator[str, None]) -> EventStream:
        assert self._accepts.subscription is not None  # noqa: S101 - else `streams` is false
        prove = partial(self._endpoint.verifier.prove, self.authorization or "")
        return EventStream(self._accepts.subscription, results, self._endpoint.streams, self.proof, prove)


class _Get(_Http):
    __slots__ = ("_parameters", "is_long")

    allowed = QUERIES

    def __init__(
        self,
        endpoint: Endpoint,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        accepts: Accepted,
        parameters: Mapping[str, str],
    ) -> None:
        super().__init__(endpoint, scope, receive, headers, accepts)
        self._parameters = parameters
        self.is_long = len(scope["query_string"]) > SHORT_BODY_BYTES

    def read(self) -> GraphQLRequest:
        return read_get(self._parameters, self._headers)


class _Post(_Http):
    __slots__ = ("_body", "_taken", "is_long")

    allowed = QUERIES_AND_MUTATIONS

    def __init__(
        self,
        endpoint: Endpoint,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        accepts: Accepted,
        taken: BodyBytes,
    ) -> None:
        super().__init__(endpoint, scope, receive, headers, accepts)
        self._taken = taken
        self._body = b""

    async def receive(self) -> None:
        await super().receive()
        bytes_max = self._endpoint.settings.request_bytes_max(self.authorization)
        check_body(self._headers, bytes_max)
        chunks: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            self._taken.add(len(chunks[-1]))
            if self._taken.received > bytes_max:
                raise too_long(bytes_max, connection="close")  # Without a length, it may go on for ever.
            if not message.get("more_body", False):
                break
        self._body = b"".join(chunks)
        self.is_long = len(self._body) > SHORT_BODY_BYTES

    def read(self) -> GraphQLRequest:
        asked, self._body = read_body(self._body), b""
        self._taken.release()
        return asked


def _authorization(headers: Mapping[bytes, bytes]) -> str | None:
    return _text(headers, b"authorization") if b"authorization" in headers else None


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")
