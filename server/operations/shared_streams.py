"""Streams of states, each run once for all who follow the same."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable


class _Stream:
    __slots__ = ("ended", "failure", "followers", "last", "moved", "number", "task")

    def __init__(self) -> None:
        self.followers = 0
        self.number = 0  # of the last state
        self.last = ""
        self.ended = False
        self.failure: Exception | None = None
        self.moved = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def run(self, states: AsyncGenerator[str, None]) -> None:
        try:
            async for self.last in states:
                self.number += 1
                self._move()
        except Exception as failure:  # noqa: BLE001 - it is raised to those who follow
            self.failure = failure
        finally:
            self.ended = True
            self._move()
            await states.aclose()

    def _move(self) -> None:
        self.moved.set()
        self.moved.clear()


class SharedStreams:
    """What is followed now, by what makes it the same."""

    def __init__(self) -> None:
        self._streams: dict[Hashable, _Stream] = {}

    async def follow(self, key: Hashable, start: Callable[[], AsyncGenerator[str, None]]) -> AsyncGenerator[str, None]:
        """Yield the last state of the stream of this key, and then each; ``start`` it where nobody follows it yet.

        Whoever is slow gets the last state, not those before: nobody waits for anybody. When the stream fails, what it
        raised is raised to all; when the last one has left, it is closed.
        """
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream()
            stream.task = asyncio.create_task(stream.run(start()))
        stream.followers += 1
        seen = 0
        try:
            while True:
                if stream.number != seen:
                    seen = stream.number
                    yield stream.last
                elif stream.failure is not None:
                    raise stream.failure
                elif stream.ended:
                    return
                else:
                    await stream.moved.wait()
        finally:
            stream.followers -= 1
            if stream.followers == 0 or stream.ended:
                if self._streams.get(key) is stream:
                    del self._streams[key]
                assert stream.task is not None  # noqa: S101 - it was made with the stream
                stream.task.cancel()
