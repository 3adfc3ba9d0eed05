"""Results as they come, over HTTP: as server-sent events, and in the parts that Apollo's clients read."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from time import time
from typing import Any, NamedTuple, Never

from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.auth.tokens import TOKEN_SECONDS_MAX, InvalidToken, Proof
from server.gates.streams import Streams
from server.operations.run import NotExecuted
from server.wire.answer import Answer, encode
from server.wire.errors import present
from server.wire.media_type import EVENT_STREAM, MULTIPART

KEEP_ALIVE_SECONDS = 12  # Proxies close connections that are silent for 15 seconds or more.
FAREWELL_SECONDS_MAX = 1  # How long the last message waits for a client that does not read.


class _Around(NamedTuple):
    before: str
    after: str


class _Form(NamedTuple):
    """The framing of a stream: around a result, and around the errors of an operation that was not executed."""

    content_type: str
    beginning: str
    result: _Around
    errors: _Around
    sign_of_life: str
    end: str


_PART = "\r\nContent-Type: application/json\r\n\r\n"
_BOUNDARY = "\r\n--graphql"
_FORMS = {
    # graphql-sse's, with a connection for each operation. JSON has no line breaks, so it is one line of data. To some
    # browsers a response has begun when its first byte has come.
    EVENT_STREAM: _Form(
        f"{EVENT_STREAM}; charset=utf-8",
        beginning=":\n\n",
        result=_Around("event: next\ndata: ", "\n\n"),
        errors=_Around('event: next\ndata: {"errors":', "}\n\n"),
        sign_of_life=":\n\n",
        end="event: complete\ndata:\n\n",
    ),
    # Apollo's. A client reads a part when it sees the boundary after it, which so may not wait for the next part.
    MULTIPART: _Form(
        "multipart/mixed;boundary=graphql;subscriptionSpec=1.0",
        beginning=_BOUNDARY,
        result=_Around(f'{_PART}{{"payload":', f"}}{_BOUNDARY}"),
        errors=_Around(f'{_PART}{{"payload":null,"errors":', f"}}{_BOUNDARY}"),
        sign_of_life=f"{_PART}{{}}{_BOUNDARY}",
        end="--\r\n",
    ),
}

# No cache keeps it, and no proxy buffers it (X-Accel-Buffering is nginx's).
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}


def whole_stream(media_type: str, answer: Answer) -> Response:
    """Answer with a stream of one result: that of a query or mutation."""
    form = _FORMS[media_type]
    content = form.result.before.encode() + answer.body + (form.result.after + form.end).encode()
    return Response(form.beginning.encode() + content, headers={**_HEADERS, "Content-Type": form.content_type})


class EventStream:
    """Sends the results of a subscription, each once the client has taken the one before.

    A keep-alive breaks each silence. The stream ends, and says so, when there are no more results, when nothing could
    be executed, or when the token is no longer valid. When the server stops, the response ends without the stream's
    own end, so that the client takes it for lost and reconnects. When the client leaves, nothing is left.
    """

    def __init__(
        self,
        media_type: str,
        results: AsyncGenerator[str, None],
        streams: Streams,
        proof: Proof | None,
        prove: Callable[[], Awaitable[Proof]],
    ) -> None:
        """Send ``results`` for as long as the token that made the ``proof`` can ``prove`` it again."""
        self._form = _FORMS[media_type]
        self._results = results
        self._streams = streams
        self._proof = proof
        self._prove = prove

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond; Refused, before anything is sent, where it is one stream too many."""
        stopped = asyncio.Event()
        with self._streams.place(stopped.set), self._streams.place_of(self._proof and self._proof.identity):
            headers = {**_HEADERS, "Content-Type": self._form.content_type}
            raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body"})
                return
            stream = _OpenStream(self._form, send, scope["state"]["request_id"])
            await stream.write(self._form.beginning)
            last_words = await _first(
                stream.deliver(self._results),
                stream.keep_alive(),
                stream.watch_token(self._proof, self._prove),
                _stop(stopped),
                _gone(receive),
            )
            if last_words is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL_SECONDS_MAX):
                        await send({"type": "http.response.body", "body": _bytes(last_words)})


class _OpenStream:
    """An open stream; what one of its coroutines returns, if it ever does, is the last message."""

    def __init__(self, form: _Form, send: Send, error_id: str) -> None:
        self._form = form
        self._send = send
        self._error_id = error_id
        self._written_at = 0.0

    async def write(self, *parts: str) -> None:
        await self._send({"type": "http.response.body", "body": _bytes(*parts), "more_body": True})
        self._written_at = asyncio.get_running_loop().time()

    async def deliver(self, results: AsyncGenerator[str, None]) -> str:
        before, after = self._form.result
        try:
            async with aclosing(results):
                async for result in results:
                    await self.write(before, result, after)
        except NotExecuted as refused:
            return self._refusal(*refused.errors)
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            return self._refusal(GraphQLError("", original_error=error))
        return self._form.end

    async def keep_alive(self) -> Never:
        while True:
            silent_seconds = asyncio.get_running_loop().time() - self._written_at
            if silent_seconds >= KEEP_ALIVE_SECONDS:
                await self.write(self._form.sign_of_life)
            else:
                await asyncio.sleep(KEEP_ALIVE_SECONDS - silent_seconds)

    async def watch_token(self, proof: Proof | None, prove: Callable[[], Awaitable[Proof]]) -> str:
        try:
            while proof is not None:
                await asyncio.sleep(min(proof.good_until - time(), TOKEN_SECONDS_MAX))
                proof = await prove()
        except InvalidToken as error:
            return self._refusal(GraphQLError("", original_error=error))
        await asyncio.get_running_loop().create_future()  # Without a token, nothing expires.
        raise AssertionError

    def _refusal(self, *errors: GraphQLError) -> str:
        before, after = self._form.errors
        shown = encode([present(error, self._error_id) for error in errors])
        return f"{before}{shown}{after}{self._form.end}"


async def _stop(stopped: asyncio.Event) -> str:
    await stopped.wait()
    return ""


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(*coroutines: Coroutine[Any, Any, str | None]) -> str | None:
    """Return what the first of them returns, when nothing goes on any more of the others."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return next(task for task in tasks if task in done).result()


def _bytes(*parts: str) -> bytes:
    # Half a character, which a message may quote, has no UTF-8: it becomes a question mark.
    return "".join(parts).encode(errors="replace")
