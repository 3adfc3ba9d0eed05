"""A statement that waited for a lock counts from what it waited for, although its snapshot is older than that."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeAlias

import asyncpg
import pytest

from db.mutation import Mutation
from db.user import ADJUST_USER_CREDITS
from db.video_data import UPDATE_VIDEO_RECORD_STATUS
from resolvers.identity import Identity, Role
from schema.node import VideoKey, decode_id
from tests.api import Api
from tests.race import BLOCKED

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ANN = Identity("ann", Role.USER).user_id


@pytest.fixture
async def rival(dsn: str) -> AsyncIterator[Connection]:
    """Change what others wait for."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def answer_after(
    rival: Connection, call: Coroutine[Any, Any, dict[str, Any]], change: Mutation, *arguments: object
) -> dict[str, Any]:
    """Answer a call that began before a change was committed, and waited for it."""
    async with rival.transaction():
        await rival.fetchrow(change.text_for_one, *arguments)
        waiting = asyncio.create_task(call)
        while not waiting.done() and not await rival.fetchval(BLOCKED):  # noqa: ASYNC110 - a wait in PostgreSQL sets no event
            await asyncio.sleep(0.002)
    return await waiting


async def test_creation_meets_purchase(api: Api, rival: Connection) -> None:
    """A creation that waited for the purchase of its credit is charged that credit."""
    await api.register(credits=0)
    purchase = (ANN, "payment", bytes(32), ANN, 1, False, "PURCHASE", "ADMIN:payments", None, 1)
    created = await answer_after(rival, api.create("click"), ADJUST_USER_CREDITS, *purchase)
    assert (created["__typename"], created["user"]["credits"]) == ("CreateVideoDataSuccess", 0)


async def test_adjustment_meets_purchase(api: Api, rival: Connection) -> None:
    """An adjustment that takes what a purchase brings while it waits is made."""
    user_id = await api.register(credits=0)
    purchase = (ANN, "payment", bytes(32), ANN, 1, False, "PURCHASE", "ADMIN:payments", None, 1)
    adjusted = await answer_after(rival, api.adjust(user_id, -1, "mistake"), ADJUST_USER_CREDITS, *purchase)
    assert (adjusted["__typename"], adjusted["user"]["credits"]) == ("AdjustUserCreditsSuccess", 0)


async def test_retry_meets_purchase(api: Api, rival: Connection) -> None:
    """A retry that waited for the purchase of its credit is charged that credit."""
    user_id = await api.register(credits=1)
    video = (await api.create("click"))["videoData"]["id"]
    await api.report(video, status="FAILED")
    await api.adjust(user_id, -1, "mistake")
    purchase = (ANN, "payment", bytes(32), ANN, 1, False, "PURCHASE", "ADMIN:payments", None, 1)
    retry = api.mutate("retryVideoData", recordId=video, idempotencyKey="again")
    retried = await answer_after(rival, retry, ADJUST_USER_CREDITS, *purchase)
    assert (retried["__typename"], retried["user"]["credits"]) == ("RetryVideoDataSuccess", 0)


async def test_retry_meets_failure_in_queue(api: Api, rival: Connection) -> None:
    """A retry that waited for its queued video's failure begins a new attempt, out of the queue."""
    await api.register(credits=1)
    video = (await api.create("click"))["videoData"]["id"]
    await api.report(video, status="RENDER_QUEUED")
    key = decode_id(video)
    assert isinstance(key, VideoKey)
    failure = (ANN, key.video_id, "FAILED", None, None, None, None, "WORKER:render-1", 1)
    retry = api.mutate("retryVideoData", recordId=video, idempotencyKey="again")
    retried = await answer_after(rival, retry, UPDATE_VIDEO_RECORD_STATUS, *failure)
    assert (retried["__typename"], retried["videoData"]["status"]) == ("RetryVideoDataSuccess", "QUEUED")
