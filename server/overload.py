"""A bound on the requests that are at work and on those that wait, so that too many are told so at once."""

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schema.error import RequestError
from server.answer import refusal

RETRY_SECONDS = 1
# What is read of a request that waits is kept. Beyond this, only its turn shows whether its client is still there.
WAITING_BODY_BYTES_MAX = 65_536


class Admission:
    """Lets so many requests work at once and so many more wait for their turn, in order; the rest is answered 503.

    Whoever waits gives up the place on leaving, or when the turn has not come within ``wait_seconds_max``.
    """

    def __init__(self, app: ASGIApp, *, at_once_max: int, waiting_max: int, wait_seconds_max: float) -> None:
        self._app = app
        self._turns = asyncio.Semaphore(at_once_max)
        self._places = at_once_max + waiting_max
        self._wait_seconds_max = wait_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._places == 0:
            await _overloaded(scope)(scope, receive, send)
            return
        self._places -= 1
        try:
            if self._turns.locked():
                await self._after_a_wait(scope, receive, send)
            else:
                async with self._turns:
                    await self._app(scope, receive, send)
        finally:
            self._places += 1

    async def _after_a_wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: list[Message] = []

        async def give_up_when_gone() -> None:
            await _gone(receive, heard)
            deadline.reschedule(0)

        async def replay() -> Message:
            return heard.pop(0) if heard else await receive()

        try:
            async with asyncio.timeout(self._wait_seconds_max) as deadline:
                watch = asyncio.create_task(give_up_when_gone())
                try:
                    await self._turns.acquire()
                finally:
                    watch.cancel()
        except TimeoutError:
            gone = heard and heard[-1]["type"] == "http.disconnect"
            # For whoever has left, the status stands in the log alone.
            await (Response(status_code=499) if gone else _overloaded(scope))(scope, receive, send)
            return
        try:
            await self._app(scope, replay, send)
        finally:
            self._turns.release()


async def _gone(receive: Receive, heard: list[Message]) -> None:
    """Return when the client has left, and note what it sent before."""
    room = WAITING_BODY_BYTES_MAX
    while room > 0:
        message = await receive()
        heard.append(message)
        if message["type"] == "http.disconnect":
            return
        room -= len(message.get("body", b""))
    await asyncio.get_running_loop().create_future()


def _overloaded(scope: Scope) -> Response:
    error = RequestError("RETRY", f"The server has too much to do: send the request again in {RETRY_SECONDS} second.")
    return refusal(error, scope["state"]["request_id"], 503, headers={"Retry-After": str(RETRY_SECONDS)})
