"""Bounds on requests that are at work or wait, and on open streams: one too many is told so at once."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from uuid import UUID

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from resolvers.identity import Identity, Role
from server.wire.answer import refusal
from server.wire.request import Refused

RETRY_SECONDS = 1
STREAM_RETRY_SECONDS = 10  # Streams last: a place is not free again as soon as a turn.
# What is read of a request that waits is kept. Beyond this, only its turn shows whether its client is still there.
WAITING_BODY_BYTES_MAX = 65_536


class Turns:
    """So many requests that work at once, and so many more that wait for their turn, in order."""

    def __init__(self, at_once_max: int, waiting_max: int) -> None:
        self.free = at_once_max  # none, as long as anybody waits
        self.waiting: deque[asyncio.Future[bool]] = deque()
        self.places = at_once_max + waiting_max

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a turn, and have it; Refused where too many wait already, or none has come by the deadline."""
        with closing(Turn(self)) as turn:
            await turn.come(deadline)
            yield

    def give(self) -> None:
        """Hand a turn over to whoever has waited longest."""
        while self.waiting:
            handed = self.waiting.popleft()
            if not handed.done():
                handed.set_result(True)
                return
        self.free += 1


class Turn:
    """One of those that work or wait, until it is closed; Refused where they are too many already."""

    __slots__ = ("_closed", "_handed", "_left", "_turns", "at_work")

    def __init__(self, turns: Turns) -> None:
        if turns.places == 0:
            raise _overloaded()
        turns.places -= 1
        self._turns = turns
        self._handed: asyncio.Future[bool] | None = None
        self._left = False
        self._closed = False
        self.at_work = False

    def begin(self) -> bool:
        """Begin to work, and tell whether it may without waiting."""
        if self._turns.free:
            self._turns.free -= 1
            self.at_work = True
        return self.at_work

    async def come(self, deadline: float) -> bool:
        """Wait until it may work, and tell whether it may: not if it was left. Refused where it may not in time."""
        if self._left or self.begin():
            return self.at_work
        self._handed = handed = asyncio.get_running_loop().create_future()
        self._turns.waiting.append(handed)
        try:
            async with asyncio.timeout_at(deadline):
                await handed
        except TimeoutError:
            raise _overloaded() from None
        finally:  # It may be handed over to somebody who has just been cancelled: then it is handed on when closed.
            if handed.cancelled():
                with suppress(ValueError):  # Whoever handed turns over may have passed over this one.
                    self._turns.waiting.remove(handed)
            else:
                self.at_work = handed.result()
        return self.at_work

    def leave(self) -> None:
        """Wait no more, nor begin to: whoever asked has gone."""
        self._left = True
        if self._handed is not None and not self._handed.done():
            self._turns.waiting.remove(self._handed)
            self._handed.set_result(False)

    def close(self) -> None:
        """Make room for another; may be called again."""
        if not self._closed:
            self._closed = True
            self._turns.places += 1
            if self.at_work:
                self._turns.give()


class Admission:
    """Lets HTTP requests work when it is their turn; what cannot even wait is answered 503.

    Whoever waits gives up the place on leaving, or when the turn has not come within ``wait_seconds_max`` of the
    request. Whoever works may close its ``turn``, which is in the scope's state, before its response is over.
    """

    def __init__(self, app: ASGIApp, *, turns: Turns, wait_seconds_max: float) -> None:
        self._app = app
        self._turns = turns
        self._wait_seconds_max = wait_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            turn = scope["state"]["turn"] = Turn(self._turns)
            try:
                if turn.begin():
                    await self._app(scope, receive, send)
                else:
                    await self._after_a_wait(scope, receive, send, turn)
            finally:
                turn.close()
        except Refused as error:
            answer = refusal(error, scope["state"]["request_id"], error.status, headers=error.headers)
            await answer(scope, receive, send)

    async def _after_a_wait(self, scope: Scope, receive: Receive, send: Send, turn: Turn) -> None:
        heard: list[Message] = []

        async def replay() -> Message:
            return heard.pop(0) if heard else await receive()

        watch = asyncio.create_task(_leave_when_gone(turn, receive, heard))
        try:
            came = await turn.come(scope["state"]["arrived"] + self._wait_seconds_max)
        finally:
            watch.cancel()
        if came:
            await self._app(scope, replay, send)
        else:
            await Response(status_code=499)(scope, receive, send)  # For the log alone.


async def _leave_when_gone(turn: Turn, receive: Receive, heard: list[Message]) -> None:
    """Leave the turn when the client does, and note what it sends before."""
    room = WAITING_BODY_BYTES_MAX
    while room > 0:
        message = await receive()
        heard.append(message)
        if message["type"] == "http.disconnect":
            turn.leave()
            return
        room -= len(message.get("body", b""))


def _overloaded() -> Refused:
    message = f"The server has too much to do: send the request again in {RETRY_SECONDS} second."
    return Refused(503, message, code="RETRY", retry_after=str(RETRY_SECONDS))


class Streams:
    """The sockets and the streams of events that are open: so many in all, so many of one user, until all are stopped.

    Whoever is one too many is Refused. How many WORKER and ADMIN may have is no stranger's to decide.
    """

    def __init__(self, at_once_max: int, per_identity_max: int) -> None:
        self.stopping = False
        self._at_once_max = at_once_max
        self._per_identity_max = per_identity_max
        self._stops: dict[object, Callable[[], object]] = {}
        self._of_users: Counter[UUID | str] = Counter()
        self._all_left = asyncio.Event()

    def __len__(self) -> int:
        return len(self._stops)

    @contextmanager
    def place(self, stop: Callable[[], object]) -> Iterator[None]:
        """Take one of the places there are; ``stop`` is called once, when the server is about to stop."""
        if self.stopping:
            message = "The server is being stopped: connect again, another one takes over."
            raise Refused(503, message, code="RETRY", retry_after=str(RETRY_SECONDS))
        if len(self._stops) >= self._at_once_max:
            message = "The server has as many streams open as it can: try again in a while, or poll."
            raise Refused(503, message, code="LIMIT_EXCEEDED", retry_after=str(STREAM_RETRY_SECONDS))
        me = object()
        self._stops[me] = stop
        try:
            yield
        finally:
            del self._stops[me]
            if not self._stops:
                self._all_left.set()

    @contextmanager
    def place_of(self, identity: Identity | None, network: str | None = None) -> Iterator[None]:
        """Take one of the places that this user has; nobody has those of its ``network``, if that is given."""
        whose = identity.user_id if identity else network
        if whose is None or (identity and identity.role is not Role.USER):
            yield
            return
        if self._of_users[whose] >= self._per_identity_max:
            message = f"You have {self._per_identity_max} streams open already: close one first."
            raise Refused(429, message, code="LIMIT_EXCEEDED", retry_after=str(STREAM_RETRY_SECONDS))
        self._of_users[whose] += 1
        try:
            yield
        finally:
            self._of_users[whose] -= 1
            if not self._of_users[whose]:
                del self._of_users[whose]

    async def stop(self) -> None:
        """Tell all that are open to end, let nobody in any more, and return when all have left."""
        self.stopping = True
        for stop in list(self._stops.values()):
            stop()
        if self._stops:
            self._all_left.clear()
            await self._all_left.wait()
