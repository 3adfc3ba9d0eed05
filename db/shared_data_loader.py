"""A process-wide DataLoader: batches reads by key across requests."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")

READERS = 2  # While one statement runs, the next can be sent.
KEYS_MAX = 100
SLOW_SECONDS = 0.05  # A slower statement no longer counts as one of the READERS, so that it delays no other read.


class SharedDataLoader(Generic[Key, Row]):
    """Loads rows by key for all requests of the process, with one statement for many keys.

    The usual DataLoader batches the reads of one operation. This one batches those of all operations, and caches
    nothing: each key is read by a statement that begins after the request for it, so it sees all that was committed
    before. There is no timer. Requested keys are read at the end of the event loop's iteration if fewer than READERS
    statements run, none of them for more keys; otherwise they are read together when a statement ends.

    A reader is a task that runs one statement after the other, in one of two states: COUNTED, while it is one of the
    READERS (`_counted`), or SLOW, from SLOW_SECONDS into a statement until its end, after which it stops.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fetch: Callable[[list[Key]], Awaitable[Mapping[Key, Row]]],
        on_idle: Callable[[], object] | None,
    ) -> None:
        """Read with ``fetch``; ``on_idle`` is called when the last reader stops."""
        self._loop = loop
        self._fetch = fetch
        self._on_idle = on_idle
        self._requested: list[tuple[Key, asyncio.Future[Row | None]]] = []
        self._is_starting = False  # whether a reader has been started that has not run yet
        self._readers: set[asyncio.Task[None]] = set()
        self._counted: dict[asyncio.Task[None], int] = {}  # with the number of requests that each reads for

    def row(self, key: Key) -> "asyncio.Future[Row | None]":
        """Load the row of a key, None if there is none. An error of the statement is raised for all its keys."""
        found: asyncio.Future[Row | None] = self._loop.create_future()
        self._requested.append((key, found))
        self._start()
        return found

    def _start(self) -> None:
        """Start a reader if there are requests, and a further statement may run."""
        if (
            self._requested
            and not self._is_starting
            and len(self._counted) < READERS
            and len(self._requested) >= max(self._counted.values(), default=0)
        ):
            self._is_starting = True
            reader = self._loop.create_task(self._read_all())
            self._readers.add(reader)
            self._counted[reader] = 0
            reader.add_done_callback(self._stop)

    async def _read_all(self) -> None:
        """Read until there are no more requests, or until one statement was slow."""
        self._is_starting = False
        reader = asyncio.current_task(self._loop)
        assert reader is not None  # noqa: S101 - only a task runs this
        while reader in self._counted and (batch := self._next_batch()):
            self._counted[reader] = len(batch)
            self._start()
            timer = self._loop.call_later(SLOW_SECONDS, self._discount, reader)
            try:
                found = await self._fetch(list(dict.fromkeys([key for key, _ in batch])))
            except Exception as error:  # noqa: BLE001 - it is raised for each key
                for _, requested in batch:
                    if not requested.done():
                        requested.set_exception(error)
            else:
                for key, requested in batch:
                    if not requested.done():
                        requested.set_result(found.get(key))
            timer.cancel()

    def _next_batch(self) -> "list[tuple[Key, asyncio.Future[Row | None]]]":
        if not self._requested:
            return []
        requested = [each for each in self._requested if not each[1].done()]  # Some may have been cancelled.
        batch, self._requested = requested[:KEYS_MAX], requested[KEYS_MAX:]
        return batch

    def _discount(self, reader: "asyncio.Task[None]") -> None:
        self._counted.pop(reader, None)
        self._start()

    def _stop(self, reader: "asyncio.Task[None]") -> None:
        self._readers.discard(reader)
        self._discount(reader)
        if not self._readers and self._on_idle is not None:
            self._on_idle()
