"""Quotas over HTTP: creations per user and day, storage per user, and what a refusal leaves unchanged."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.database import Database
from resolvers.identity import Role
from server.process.settings import Settings
from tests.api import Api, serving
from tests.race import check_verified
from tests.rows import every_row

BLOCK_BYTES = 65_536
LARGE = "x" * 50_000
WHALE = "\N{WHALE}"  # of 4 bytes
# Each kind of content that an update stores, in more than one block; a script cannot have more characters.
CONTENT: dict[str, Any] = {
    "script": WHALE * 20_000,
    "images": [{"image": f"https://cdn.example/{'x' * 1_500}", "start": 0, "duration": 1}] * 50,
    "captionJson": {"words": LARGE + LARGE},
    "config": [LARGE, LARGE],
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Allow three attempts a day and five blocks of storage per user."""
    return replace(settings, creations_per_day_max=3, storage_bytes_per_user_max=5 * BLOCK_BYTES)


@pytest.fixture
async def unlimited(dsn: str, settings: Settings) -> AsyncIterator[Api]:
    """Call a second server on the same database, without quotas."""
    async with serving(dsn, replace(settings, creations_per_day_max=None, storage_bytes_per_user_max=None)) as opened:
        yield opened


def tomorrow() -> str:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight + timedelta(days=1)).isoformat()


async def yesterday(database: Database) -> None:
    """Move all charges so far to the previous day."""
    await database.pool.execute(
        """ALTER TABLE credit_entries DISABLE TRIGGER credit_entries_erased_only;
           UPDATE credit_entries SET created_at = created_at - interval '1 day';
           UPDATE wallets SET creations_day = creations_day - 1;"""
    )


async def store(api: Api, video_id: str, role: Role = Role.USER, **given: Any) -> dict[str, Any]:
    return await api.mutate("updateVideoData", role=role, recordId=video_id, **given)


async def test_creations_of_a_day(api: Api, database: Database) -> None:
    """The fourth creation of a day is refused with details and changes nothing; the next day it succeeds."""
    await api.register(credits=10)
    for number in range(3):
        assert (await api.create(f"key {number}"))["__typename"] == "CreateVideoDataSuccess"
    before, resets_at = await every_row(database), tomorrow()
    refused = await api.create("key 3")
    assert datetime.fromisoformat(refused.pop("resetsAt")) == datetime.fromisoformat(resets_at)
    assert refused == {
        "__typename": "QuotaExceeded",
        "code": "QUOTA_EXCEEDED",
        "message": "The user may begin 3 attempts at videos a day, and has begun 3 today.",
        "quota": "CREATIONS_PER_DAY",
        "limit": 3,
        "used": 3,
    }
    assert await every_row(database) == before
    assert (await api.create("key 0"))["replayed"] is True
    await yesterday(database)
    assert (await api.create("key 3"))["replayed"] is False


async def test_cancelations_give_no_creation_back(api: Api) -> None:
    """Canceled creations count towards the quota, and so do retries, since each starts an attempt."""
    await api.register(credits=1)
    video_id = (await api.create("key 0"))["videoData"]["id"]
    await api.cancel(video_id)
    for number in (1, 2):
        assert (await api.retry(video_id, f"key {number}"))["__typename"] == "RetryVideoDataSuccess"
        await api.cancel(video_id)
    refused = await api.retry(video_id, "key 3")
    assert (refused["quota"], refused["limit"], refused["used"]) == ("CREATIONS_PER_DAY", 3, 3)
    assert (await api.retry(video_id, "key 2"))["replayed"] is True
    assert (await api.create("key 3"))["quota"] == "CREATIONS_PER_DAY"


async def test_storage_of_creations(api: Api, database: Database) -> None:
    """A creation that needs more storage than is left is refused with details; a smaller one succeeds."""
    await api.register(credits=10)
    await api.create("key 0", script=WHALE * 50_000)  # 4 blocks
    before = await every_row(database)
    refused = await api.create("key 1", script=LARGE, caption=LARGE)
    assert refused == {
        "__typename": "QuotaExceeded",
        "code": "QUOTA_EXCEEDED",
        "message": "The user's videos may hold 327,680 bytes, and hold 262,144: store less with some of them.",
        "quota": "STORAGE_BYTES",
        "limit": 327_680,
        "used": 262_144,
        "resetsAt": None,
    }
    assert await every_row(database) == before
    assert (await api.create("key 1"))["__typename"] == "CreateVideoDataSuccess"


async def test_order_of_refusals(api: Api) -> None:
    """A reused key is refused before the daily quota, that before storage, and both before the credits."""
    await api.register(credits=3)
    for number in range(3):
        await api.create(f"key {number}")
    large = {"script": WHALE * 50_000}
    assert (await api.create("key 0", **large))["__typename"] == "IdempotencyKeyReused"
    assert (await api.create("key 3", **large))["quota"] == "CREATIONS_PER_DAY"
    assert (await api.create("key 3", subject="nobody"))["__typename"] == "UserNotFound"


async def test_storage_comes_before_credits(api: Api) -> None:
    """Storage is refused before credits, with an empty balance too."""
    await api.register(credits=1)
    await api.create("key 0")
    assert (await api.create("key 1", script=WHALE * 50_000, caption=WHALE * 20_000))["quota"] == "STORAGE_BYTES"
    assert (await api.create("key 1"))["__typename"] == "InsufficientCredits"


@pytest.mark.parametrize("field", CONTENT)
async def test_storage_of_updates(api: Api, unlimited: Api, database: Database, dsn: str, field: str) -> None:
    """Every kind of content counts: needing a block more than is left is refused, and storing less frees blocks."""
    await api.register(credits=10)
    video_id, *others = [(await unlimited.create(f"key {number}"))["videoData"] for number in range(5)]
    before = await every_row(database)
    refused = await store(api, video_id["id"], **{field: CONTENT[field]})
    assert (refused["quota"], refused["limit"], refused["used"]) == ("STORAGE_BYTES", 327_680, 327_680)
    assert refused["resetsAt"] is None
    assert await every_row(database) == before
    stored = await store(unlimited, others[0]["id"], **{field: CONTENT[field]})
    assert stored["__typename"] == "UpdateVideoDataSuccess"
    # Beyond the quota, an update that needs no more storage than before is still allowed.
    assert (await store(api, others[0]["id"], volume=None))["__typename"] == "UpdateVideoDataSuccess"
    assert (await store(api, others[0]["id"], **{field: CONTENT[field]}))["__typename"] == "UpdateVideoDataSuccess"
    assert (await store(api, video_id["id"], script="Once."))["__typename"] == "UpdateVideoDataSuccess"
    emptied: dict[str, Any] = {field: None}
    assert (await store(api, others[0]["id"], **emptied))["__typename"] == "UpdateVideoDataSuccess"
    assert await database.pool.fetchval("SELECT stored_bytes FROM wallets") == 5 * BLOCK_BYTES
    await check_verified(dsn)


async def test_a_conflict_comes_before_the_quota(api: Api, unlimited: Api) -> None:
    """An update with an outdated expectedVersion is a conflict, whatever it would store."""
    await api.register(credits=10)
    videos = [(await unlimited.create(f"key {number}"))["videoData"]["id"] for number in range(5)]
    refused = await store(api, videos[0], expectedVersion=7, config=CONTENT["config"])
    assert refused["__typename"] == "VersionConflict"


async def test_workers_and_admins_count_and_are_not_refused(api: Api, dsn: str, database: Database) -> None:
    """A worker's results and an admin's creations count for the user, but no quota refuses them."""
    user_id = await api.register(credits=10)
    for number in range(4):
        made = await api.mutate(
            "createVideoData",
            subject="root",
            role=Role.ADMIN,
            userId=user_id,
            title="Whales",
            videoStyle="realistic",
            idempotencyKey=f"key {number}",
        )
        stored = await store(api, made["videoData"]["id"], Role.WORKER, config=CONTENT["config"])
        assert stored["__typename"] == "UpdateVideoDataSuccess"
    await api.cancel(made["videoData"]["id"])
    retried = await api.mutate(
        "retryVideoData", subject="root", role=Role.ADMIN, recordId=made["videoData"]["id"], idempotencyKey="retry"
    )
    assert retried["__typename"] == "RetryVideoDataSuccess"
    counted = await database.pool.fetchrow("SELECT creations, stored_bytes FROM wallets")
    assert tuple(counted or ()) == (5, 8 * BLOCK_BYTES)
    assert (await api.create("key"))["used"] == 5
    await check_verified(dsn)


async def test_quotas_are_each_users_own(api: Api) -> None:
    """One user's usage does not affect another's quotas."""
    for subject in ("ann", "bob"):
        await api.register(subject, credits=10)
    for number in range(4):
        ann = await api.create(f"key {number}", "ann", script=WHALE * 16_000)
    assert ann["__typename"] == "QuotaExceeded"
    assert (await api.create("key", "bob"))["__typename"] == "CreateVideoDataSuccess"


async def test_no_quotas(unlimited: Api, database: Database) -> None:
    """Without quotas nobody is refused, and usage is counted all the same."""
    await unlimited.register(credits=100)
    for number in range(8):
        made = await unlimited.create(f"key {number}", script=WHALE * 50_000)
        assert made["__typename"] == "CreateVideoDataSuccess"
    counted = await database.pool.fetchrow("SELECT creations, stored_bytes FROM wallets")
    assert tuple(counted or ()) == (8, 32 * BLOCK_BYTES)
