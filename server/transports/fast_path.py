"""The fast path to an answer, for what is usual: a POSTed operation that has come whole, with nothing odd about it.

There is no ASGI in between, whose layers and messages take as long as all else of a small query. What those do (see
`server/app.py`) is done here in one function, by what they are made of; tests hold both ways to the same answers.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.deadline import Deadlines
from server.auth.tokens import TokenVerifier
from server.gates.admission import Turn, Turns
from server.gates.rate_limit import Quotas
from server.operations.run import QUERIES_AND_MUTATIONS, Runner
from server.process.logging import request_id as id_in_log
from server.process.settings import Settings
from server.transports.endpoint import Endpoint
from server.transports.front import LogRequest
from server.wire.compression import compressed
from server.wire.headers import Header, cors, forwarded, lines, with_security
from server.wire.media_type import accepted
from server.wire.request import read_body
from server.wire.request_id import new_request_id

PATH = "/graphql"

# What a body holds one of, if it asks for a subscription, in its own words or by name.
_OF_A_SUBSCRIPTION = (b"subscription", b"documentId", b"extensions", b"\\u")

# An answer's status, the lines of its headers, and its body.
Written = tuple[int, bytes, bytes]


class Head(NamedTuple):
    """What a request's headers say to all bodies that may follow them."""

    headers: list[Header]  # The length among them is that of the first body.
    given: Mapping[bytes, bytes]
    authorization: str | None
    media_type: str  # of the answer
    is_streamed: bool  # if it is a subscription


class FastPath:
    """Answers what is usual, and leaves all else to ASGI before anything has been done for it."""

    def __init__(
        self,
        settings: Settings,
        verifier: TokenVerifier,
        operations: Runner,
        quotas: Quotas,
        turns: Turns,
        endpoint: Endpoint,
        log_request: LogRequest,
    ) -> None:
        self._body_bytes_max = settings.body_bytes_max
        self._timeout_seconds = settings.request_timeout_seconds
        self._verifier = verifier
        self._operations = operations
        self._quotas = quotas
        self._turns = turns
        self._endpoint = endpoint
        self._log_request = log_request
        self._deadlines = Deadlines()
        self._cors = cors(_answer, settings.cors_origins)
        self._forwarded = forwarded(_nothing, settings.trusted_proxies)

    def head(self, headers: list[Header]) -> Head | None:
        """Read a request's headers; None where they are for ASGI to read, whatever the body."""
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
        return Head(headers, given, authorization, accepts.single, accepts.subscription is not None)

    def begin(
        self, head: Head, body: bytes, client: tuple[str, int] | None, scheme: str | None, now: float
    ) -> tuple[Turn, Coroutine[Any, Any, Written]] | None:
        """Return what answers a request that came ``now``, by the event loop's clock; None where ASGI is to do it.

        With it comes the request's turn, which is to be left when its client leaves.
        """
        if (
            (head.is_streamed and any(sign in body for sign in _OF_A_SUBSCRIPTION))
            or len(body) > self._body_bytes_max
            or not self._quotas.at_once
            or not self._turns.places
            or self._verifier.may_fetch_keys(head.authorization)
        ):
            return None
        turn = Turn(self._turns)
        turn.begin()
        return turn, self._write(turn, head, body, client, scheme, now + self._timeout_seconds)

    async def _write(
        self, turn: Turn, head: Head, body: bytes, client: tuple[str, int] | None, scheme: str | None, deadline: float
    ) -> Written:
        headers, given, authorization, media_type, _ = head
        started = time.perf_counter()
        request_id = new_request_id()
        id_in_log.set(request_id)
        scope: Scope = {"type": "http", "method": "POST", "headers": headers, "client": client, "scheme": scheme}
        try:
            if self._forwarded is not _nothing:
                await self._forwarded(scope, _hear_nothing, _say_nothing)
            self._quotas.spend_of_address_at_once(scope)
            if turn.at_work or await turn.come(deadline):
                with self._deadlines.at(deadline):
                    identity = None
                    if authorization is not None:
                        proof = self._verifier.recall(authorization) or await self._verifier.prove(authorization)
                        identity = proof.identity
                    self._quotas.spend_of_user_at_once(identity)
                    result = await self._operations.execute(read_body(body), identity, QUERIES_AND_MUTATIONS)
                response: Response = self._endpoint.answer(result, media_type, request_id)
            else:
                response = Response(status_code=499)  # For the log alone.
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = self._endpoint.refusal(error, request_id, media_type)
        except asyncio.CancelledError:  # The server has stopped and waits no longer.
            self._log(None, started, request_id)
            raise
        finally:
            turn.close()
        headers, content = response.raw_headers, bytes(response.body)
        answer = compressed(response, given)
        crosses = self._cors is not _answer and b"origin" in given
        if answer is not response or crosses:
            scope["state"] = {"answer": answer}
            headers, content = await _sent(self._cors if crosses else answer, scope)
        (_, length), *others = headers  # as `Answer` begins
        own = b"x-request-id: %b\r\ncontent-length: %b\r\n" % (request_id.encode(), length)
        self._log(response.status_code, started, request_id)
        return response.status_code, own + _lines(scope["scheme"], tuple(others)), content

    def _log(self, status: int | None, started: float, request_id: str) -> None:
        self._log_request("POST", PATH, status, round(1000 * (time.perf_counter() - started), 1), request_id)


@lru_cache(256)
def _lines(scheme: str, headers: tuple[Header, ...]) -> bytes:
    """Write these headers and those that every answer has."""
    return lines(tuple(with_security(scheme, headers)))


async def _sent(app: ASGIApp, scope: Scope) -> tuple[list[Header], bytes]:
    """Return the headers and the body that an application sends whole."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, _hear_nothing, send)
    start, body = sent
    return start["headers"], body["body"]


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await scope["state"]["answer"](scope, receive, send)


async def _nothing(_: Scope, __: Receive, ___: Send) -> None:
    pass


async def _hear_nothing() -> Message:
    return {"type": "http.disconnect"}


async def _say_nothing(_: Message) -> None:
    pass
