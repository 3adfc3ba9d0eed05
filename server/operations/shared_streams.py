"""Streams of states: one execution for all subscribers who follow the same."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from typing import NamedTuple


class States(NamedTuple):
    """A running subscription."""

    texts: AsyncGenerator[str, None]
    refreshed: Callable[[], Awaitable[None]]  # returns when a state that was read after this call has been yielded


class _Stream:
    __slots__ = ("changed", "ended", "failure", "followers", "last", "number", "refreshed", "task")

    def __init__(self, states: States) -> None:
        self.followers = 0
        self.number = 0  # of the last state
        self.last = ""
        self.ended = False
        self.failure: Exception | None = None
        self.changed = asyncio.Event()
        self.refreshed = states.refreshed
        self.task = asyncio.create_task(self._run(states.texts))

    async def _run(self, texts: AsyncGenerator[str, None]) -> None:
        try:
            async for self.last in texts:
                self.number += 1
                self._notify()
        except Exception as failure:  # noqa: BLE001 - it is raised to each follower
            self.failure = failure
        finally:
            self.ended = True
            self._notify()
            await texts.aclose()

    def _notify(self) -> None:
        self.changed.set()
        self.changed.clear()


class SharedStreams:
    """The running streams, each under the key of all that makes two subscriptions the same."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, _Stream] = {}

    async def follow(self, key: Hashable, start: Callable[[], States]) -> AsyncGenerator[str, None]:
        """Yield the present state of the stream under this key, then each different one; ``start`` it if there is none.

        The first state is read after this call, also in a stream that others follow already: it is never older than a
        mutation that was acknowledged before. Subscribers do not wait for each other; a slow one gets the newest state
        only. A failure of the stream is raised to all its followers; it is closed when the last one leaves.
        """
        stream = self._streams.get(key)
        is_new = stream is None
        if stream is None:
            stream = self._streams[key] = _Stream(start())
        stream.followers += 1
        try:
            if not is_new:
                await stream.refreshed()
            seen = 0
            while True:
                if stream.number != seen:
                    seen = stream.number
                    yield stream.last
                elif stream.failure is not None:
                    raise stream.failure
                elif stream.ended:
                    return
                else:
                    await stream.changed.wait()
        finally:
            stream.followers -= 1
            if stream.followers == 0 or stream.ended:
                if self._streams.get(key) is stream:
                    del self._streams[key]
                stream.task.cancel()
