"""The fast path: common POSTs, received whole, answered without ASGI.

ASGI's layers and messages would take as long as everything else that a small query needs. The order of checks is the
pipeline's; what is left to this module is what ASGI middleware does for other requests: the id, the log, headers,
compression. Tests hold both paths to the same answers.
"""

import time
from asyncio import CancelledError
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from graphql import ExecutionResult
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.types import ExecutionResult as Result

from server.operations.run import QUERIES_AND_MUTATIONS
from server.pipeline import Pipeline, Request
from server.process.logging import request_id as id_in_log
from server.process.settings import Settings
from server.transports.middleware import LogRequest
from server.wire.answer import answer, refusal
from server.wire.compression import compressed
from server.wire.headers import Header, cors, forwarded, lines, with_security
from server.wire.media_type import accepted
from server.wire.request import SHORT_BODY_BYTES, GraphQLRequest, read_body
from server.wire.request_id import new_request_id

PATH = "/graphql"

# A body that may ask for a subscription holds one of these: in its own words, or in a document's name.
_SIGNS_OF_A_SUBSCRIPTION = (b"subscription", b"documentId", b"extensions", b"\\u")

# A response's status, header lines and body.
Written = tuple[int, bytes, bytes]


class Head(NamedTuple):
    """A request's headers, as they apply to every body that may follow them."""

    headers: list[Header]  # The content length among them is that of the first body.
    given: Mapping[bytes, bytes]
    authorization: str | None
    media_type: str  # of the response
    may_stream: bool  # A subscription would be answered by a stream.
    body_bytes_max: int


class FastPath:
    """Answers common requests, and leaves all others to ASGI before anything is done for them."""

    def __init__(self, settings: Settings, pipeline: Pipeline, log_request: LogRequest) -> None:
        self._settings = settings
        self._timeout_seconds = settings.request_timeout_seconds
        self.response_bytes_max = settings.response_bytes_max
        self.draft = settings.draft_status_codes == "on"
        self.pipeline = pipeline
        self.log_request = log_request
        self.cors = None if settings.cors_origins is None else cors(_send_response, settings.cors_origins)
        self.forwarded = forwarded(_nothing, settings.trusted_proxies) if settings.trusted_proxies else None

    def head(self, headers: list[Header]) -> Head | None:
        """Read a request's headers; None where ASGI has to answer it."""
        given = dict(headers)
        accepts = accepted(given.get(b"accept", b""))
        if (
            accepts.single is None
            or accepts.stream
            or given.get(b"content-type") != b"application/json"
            or b"content-encoding" in given
            or len(given) != len(headers)  # One is on several lines.
        ):
            return None
        authorization = given[b"authorization"].decode("latin-1") if b"authorization" in given else None
        bytes_max = self._settings.request_bytes_max(authorization)
        return Head(headers, given, authorization, accepts.single, accepts.subscription is not None, bytes_max)

    def begin(
        self, head: Head, body: bytes, client: tuple[str, int] | None, scheme: str | None, now: float
    ) -> "FastRequest | None":
        """Return a request that arrived ``now``, by the event loop's clock; None where ASGI has to answer it."""
        if (head.may_stream and any(sign in body for sign in _SIGNS_OF_A_SUBSCRIPTION)) or (
            len(body) > head.body_bytes_max
        ):
            return None
        return FastRequest(self, head, body, client, scheme, now + self._timeout_seconds)


class FastRequest(Request[Response]):
    """One request on the fast path."""

    __slots__ = ("_body", "_head", "_path", "_request_id", "_scheme", "is_long", "keep_alive")

    allowed = QUERIES_AND_MUTATIONS

    def __init__(
        self,
        path: FastPath,
        head: Head,
        body: bytes,
        client: tuple[str, int] | None,
        scheme: str | None,
        deadline: float,
    ) -> None:
        # As `Request.__init__`, without the call.
        self.client = client
        self.authorization = head.authorization
        self.deadline = deadline
        self.slot = None
        self.gone = False
        self.is_long = len(body) > SHORT_BODY_BYTES
        self.keep_alive = True  # whether the connection stays open after the response
        self._path = path
        self._head = head
        self._body = body
        self._scheme = scheme
        self._request_id = new_request_id()

    def leave(self) -> None:
        """Note that the client has left: a request that has not begun to run is dropped."""
        self.gone = True
        if self.slot is not None:
            self.slot.leave()

    def read(self) -> GraphQLRequest:
        return read_body(self._body)

    def respond(self, result: ExecutionResult | Result) -> Response:
        path, media_type = self._path, self._head.media_type
        return answer(result, self._request_id, media_type, draft=path.draft, bytes_max=path.response_bytes_max)

    async def write(self) -> Written:
        """Answer the request, and write the response."""
        path = self._path
        started = time.perf_counter()
        id_in_log.set(self._request_id)
        try:
            if path.forwarded is not None:
                scope = self._scope()
                await path.forwarded(scope, _receive_nothing, _send_nothing)
                self.client, self._scheme = scope["client"], scope["scheme"]
            response = await path.pipeline.answer(self)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = refusal(error, self._request_id, self._head.media_type)
        except CancelledError:  # The server stops, and has waited long enough.
            path.log_request("POST", PATH, None, started, self._request_id)
            raise
        sender = compressed(response, self._head.given)
        if sender is response and path.cors is None:
            headers, content = response.raw_headers, bytes(response.body)
        else:
            headers, content = await _sent(path.cors or sender, {**self._scope(), "state": {"response": sender}})
        (_, length), *others = headers  # The length comes first in an `Answer`.
        own = b"x-request-id: %b\r\ncontent-length: %b\r\n" % (self._request_id.encode(), length)
        path.log_request("POST", PATH, response.status_code, started, self._request_id)
        return response.status_code, own + _lines(self._scheme, tuple(others)), content

    def _scope(self) -> Scope:
        """Make what ASGI middleware reads of a request."""
        return {
            "type": "http",
            "method": "POST",
            "headers": self._head.headers,
            "scheme": self._scheme,
            "client": self.client,
        }


@lru_cache(256)
def _lines(scheme: str | None, headers: tuple[Header, ...]) -> bytes:
    """Write these headers and those that every response has."""
    return lines(tuple(with_security(scheme, headers)))


async def _sent(app: ASGIApp, scope: Scope) -> tuple[list[Header], bytes]:
    """Return the headers and the body that an application sends whole."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, _receive_nothing, send)
    start, body = sent
    return start["headers"], body["body"]


async def _send_response(scope: Scope, receive: Receive, send: Send) -> None:
    await scope["state"]["response"](scope, receive, send)


async def _nothing(_: Scope, __: Receive, ___: Send) -> None:
    pass


async def _receive_nothing() -> Message:
    return {"type": "http.disconnect"}


async def _send_nothing(_: Message) -> None:
    pass
