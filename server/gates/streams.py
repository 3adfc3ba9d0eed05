"""Limits on open sockets and event streams: in all, and of one user. Excess is rejected immediately."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from resolvers.identity import Identity, Role
from server.wire.request import Refused

STREAM_RETRY_SECONDS = 10  # Streams last: one ends less often than a request.


class Streams:
    """Counts the open sockets and event streams; Refused where one more is too many, or the server is stopping.

    The roles WORKER and ADMIN have no limit of their own: no stranger can have them.
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
        """Count one more while the block lasts; ``stop`` is called once, when the server begins to stop."""
        if self.stopping:
            message = "The server is being stopped: connect again, another one takes over."
            raise Refused(503, message, code="RETRY")
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
        """Count one more of this user while the block lasts; without a user, of the ``network``, if that is given."""
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
        """End all that are open, refuse new ones, and return when the last one has ended."""
        self.stopping = True
        for stop in list(self._stops.values()):
            stop()
        if self._stops:
            self._all_left.clear()
            await self._all_left.wait()
