"""Rows asked for by key: one statement reads them for all who ask at the same time, or while others are read."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")

READERS = 2  # While one waits for its rows, the other goes on.
KEYS_MAX = 100
LATE_SECONDS = 0.05  # A statement that takes longer, on one connection or for one caller, holds up nobody else.


class SharedDataLoader(Generic[Key, Row]):
    """Reads rows by key for many callers, with at most two statements at a time, but for those that are late.

    There is no timer: what is asked for is read at the end of the event loop's turn if neither of the two is at work,
    or one for no more keys. All who ask meanwhile are read for together, by a statement that begins after they asked:
    nobody misses what was committed before.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fetch: Callable[[list[Key]], Awaitable[Mapping[Key, Row]]],
        ended: Callable[[], object] | None,
    ) -> None:
        """Read by ``fetch``; ``ended`` is called when nobody waits any more."""
        self._loop = loop
        self._fetch = fetch
        self._ended = ended
        self._waiting: list[tuple[Key, asyncio.Future[Row | None]]] = []
        self._beginning = False
        self._working: set[asyncio.Task[None]] = set()
        self._in_time: dict[asyncio.Task[None], int] = {}  # with the number of those whom each reads for

    def row(self, key: Key) -> "asyncio.Future[Row | None]":
        """Tell what is found by a key, None if there is nothing; what the statement raises is raised to all."""
        found: asyncio.Future[Row | None] = self._loop.create_future()
        self._waiting.append((key, found))
        self._begin()
        return found

    def cancel(self) -> None:
        """Break off what is being read: nobody is left who waits for it."""
        for task in self._working:
            task.cancel()
        self._beginning = False

    def _begin(self) -> None:
        """Have what waits read, at the end of the event loop's turn, unless both are at it, or one for more."""
        if (
            self._waiting
            and not self._beginning
            and len(self._in_time) < READERS
            and len(self._waiting) >= max(self._in_time.values(), default=0)
        ):
            self._beginning = True
            task = self._loop.create_task(self._work())
            self._working.add(task)
            self._in_time[task] = 0
            task.add_done_callback(self._end)

    async def _work(self) -> None:
        """Read until nothing waits, or for as long as it takes where that is too long."""
        self._beginning = False
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - only a task runs this
        while task in self._in_time and (batch := self._next()):
            self._in_time[task] = len(batch)
            self._begin()
            late = self._loop.call_later(LATE_SECONDS, self._let_others, task)
            await self._read(batch)
            late.cancel()

    def _next(self) -> "list[tuple[Key, asyncio.Future[Row | None]]]":
        if not self._waiting:
            return []
        waiting = [each for each in self._waiting if not each[1].done()]  # Some may have been cancelled.
        batch, self._waiting = waiting[:KEYS_MAX], waiting[KEYS_MAX:]
        return batch

    def _let_others(self, task: "asyncio.Task[None]") -> None:
        self._in_time.pop(task, None)
        self._begin()

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        self._let_others(task)
        if not self._working and self._ended is not None:
            self._ended()

    async def _read(self, batch: "list[tuple[Key, asyncio.Future[Row | None]]]") -> None:
        try:
            found = await self._fetch(list(dict.fromkeys(key for key, _ in batch)))
        except Exception as error:  # noqa: BLE001 - it is raised to those who asked
            for _, answered in batch:
                if not answered.done():
                    answered.set_exception(error)
        else:
            for key, answered in batch:
                if not answered.done():
                    answered.set_result(found.get(key))
