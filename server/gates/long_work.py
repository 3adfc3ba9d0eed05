"""A limit on how much of the event loop's time goes to reading long bodies and preparing new documents."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from server.gates.admission import Owner, overloaded
from server.gates.backlog import Backlog

T = TypeVar("T")

# Of the event loop's time, over a tenth of a second.
LONG_WORK_SHARE_MAX = 0.3
_PACE_SECONDS = 0.1


class LongWork(Backlog):
    """Does long work piece by piece, for one owner after the other, with pauses for everybody else's requests.

    A body of a megabyte takes 60 ms to read, and a document that is made for it takes as long to prepare. Without this,
    fifty clients that send one each would have all of them done in one iteration of the event loop, and a few clients
    that go on sending them would take all of its time.
    """

    def __init__(self, running_max: int) -> None:
        """At most half of ``running_max`` requests wait, and of one owner a quarter: others need slots, too."""
        super().__init__()
        self._room = max(1, running_max // 2)
        self._room_each = max(1, running_max // 4)
        self._paced = 0.0  # when the next piece would begin if all began at the pace of the share

    async def do(self, owner: Owner, work: Callable[[], T]) -> T:
        """Do the work, at once or in a turn of the owner; Refused if too much waits already."""
        loop = asyncio.get_running_loop()
        if self._timer is None and self._paced <= loop.time():
            return self._do(work)
        if len(self.waiting.get(owner, ())) >= self._room_each or sum(map(len, self.waiting.values())) >= self._room:
            raise overloaded()
        done: asyncio.Future[T] = loop.create_future()

        def go_on() -> None:
            try:
                done.set_result(self._do(work))
            except Exception as error:  # noqa: BLE001 - the owner's request gets it
                done.set_exception(error)

        self.add(owner, go_on)
        try:
            return await done
        finally:
            self.discard(owner, go_on)

    def _do(self, work: Callable[[], T]) -> T:
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            return work()
        finally:
            self._paced = max(self._paced, begun - _PACE_SECONDS) + (now() - begun) / LONG_WORK_SHARE_MAX

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(max(self._paced, loop.time()), self._take_turn)
