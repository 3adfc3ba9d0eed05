"""Rows that are asked for by key while others are being read: one statement reads them for all who ask."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")

READERS = 2  # While one waits for its rows, the other goes on.
CALLERS_MAX = 64


class GatheredReads(Generic[Key, Row]):
    """Reads rows by key for many callers, with at most two statements at a time.

    Who finds one of the two idle reads at once and alone; there is no timer. All who ask meanwhile are read for
    together, by a statement that begins after they asked: nobody misses what was committed before.
    """

    def __init__(self, fetch: Callable[[Sequence[Key]], Awaitable[dict[Key, Row]]]) -> None:
        self._fetch = fetch
        self._idle = READERS
        self._waiting: list[tuple[Sequence[Key], asyncio.Future[dict[Key, Row]]]] = []
        self._working: set[asyncio.Task[None]] = set()

    async def rows(self, keys: Sequence[Key]) -> dict[Key, Row]:
        """Return rows by key, among them those of these keys that exist; what the statement raises is raised to all."""
        if not self._idle:
            found: asyncio.Future[dict[Key, Row]] = asyncio.get_running_loop().create_future()
            self._waiting.append((keys, found))
            return await found
        self._idle -= 1
        try:
            return await self._fetch(keys)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """Have those read for who wait, or be idle."""
        waiting = [each for each in self._waiting if not each[1].done()]  # Some may have been cancelled.
        batch, self._waiting = waiting[:CALLERS_MAX], waiting[CALLERS_MAX:]
        if not batch:
            self._idle += 1
            return
        task = asyncio.create_task(self._read(batch))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _read(self, batch: "list[tuple[Sequence[Key], asyncio.Future[dict[Key, Row]]]]") -> None:
        failure: Exception | None = None
        found: dict[Key, Row] = {}
        try:
            found = await self._fetch(list(dict.fromkeys(key for keys, _ in batch for key in keys)))
        except Exception as error:  # noqa: BLE001 - it is raised to those who asked
            failure = error
        finally:
            self._go_on()
        for _, answered in batch:
            if not answered.done():
                if failure is None:
                    answered.set_result(found)
                else:
                    answered.set_exception(failure)
