"""Subscribers for tests."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from starlette.datastructures import State

from db.database import Database

VIEWER = "subscription { viewerUpdated { user { credits version } entry { number balanceAfter } } }"
VIDEO = """subscription($id: ID!) {
  videoDataUpdated(id: $id) { title status renderProgress queuePosition version }
}"""
VIDEOS = """subscription($first: Int, $filter: VideoFilter) {
  videosUpdated(first: $first, filter: $filter) {
    nodes { title status renderProgress queuePosition } pageInfo { hasNextPage }
  }
}"""
ENTRIES = (
    "subscription($after: String) { creditEntryAdded(after: $after) { cursor node { number amount balanceAfter } } }"
)

Results = AsyncGenerator[dict[str, Any], None]


class Follower:
    """Collects a subscription's results as they arrive."""

    def __init__(self, results: Results) -> None:
        self.told: list[Any] = []
        self._results = results
        self._more = asyncio.Condition()

    async def follow(self) -> None:
        async for result in self._results:
            assert "errors" not in result, result["errors"]
            (value,) = result["data"].values()
            async with self._more:
                self.told.append(value)
                self._more.notify_all()

    async def until(self, is_met: Callable[[Any], bool]) -> Any:
        """Wait until the last result meets a condition, and return it."""
        async with asyncio.timeout(30), self._more:
            await self._more.wait_for(lambda: self.told and is_met(self.told[-1]))
            return self.told[-1]

    async def any(self) -> Any:
        """Wait for the first result, and return it."""
        await self.until(lambda _: True)
        return self.told[0]


@asynccontextmanager
async def following(results: Results) -> AsyncIterator[Follower]:
    """Subscribe for the duration of the block; an error fails the test."""
    follower = Follower(results)
    task = asyncio.create_task(follower.follow())
    yield follower
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await results.aclose()


def count_statements(database: Database, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the reading statements that run from now on, by their text."""
    counted: Counter[str] = Counter()
    rows = database.rows

    async def counting(query: str, *arguments: object) -> list[asyncpg.Record]:
        counted[query] += 1
        return await rows(query, *arguments)

    monkeypatch.setattr(database, "rows", counting)
    return counted


async def settled(state: State) -> None:
    """Wait until no watch is left."""
    async with asyncio.timeout(30):
        while state.live.subjects():  # noqa: ASYNC110 - there is no event for the last one
            await asyncio.sleep(0.001)
