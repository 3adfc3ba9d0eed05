"""Retries of videos, over HTTP: one test per outcome."""

import asyncio
from dataclasses import replace

import pytest

from db.database import Database
from resolvers.identity import Identity, Role
from schema.node import VideoKey, encode_id
from server.process.settings import Settings
from tests.api import Api, serving
from tests.rows import every_row

STAGES = [
    "QUEUED",
    "GENERATING_AUDIO",
    "GENERATING_CAPTIONS",
    "GENERATING_IMAGE_PROMPTS",
    "GENERATING_IMAGES",
    "READY",
    "RENDER_QUEUED",
    "RENDERING",
    "COMPLETED",
]
REFUNDED = ["FAILED", "CANCELED"]
STATUSES = [*STAGES, *REFUNDED]

ANN, BOB = (Identity(subject, Role.USER).user_id for subject in ("ann", "bob"))
UNKNOWN_VIDEO = encode_id(VideoKey(ANN, BOB))
CONTENT = "query($id: ID!) { videoData(id: $id) { script caption captionJson config images { image start duration } } }"


@pytest.mark.parametrize("status", REFUNDED)
async def test_a_retry_starts_a_new_attempt(api: Api, status: str) -> None:
    """A retry charges again and starts an attempt without the previous one's results; the user's content stays."""
    await api.register(credits=10)
    video_id = await api.video(status="RENDER_QUEUED")
    url = "https://cdn.example/"
    made = {"audioUrl": f"{url}a.mp3", "images": [{"image": f"{url}1.png", "start": 0, "duration": 2.5}]}
    farm = {"renderId": "r-1", "bucketName": "b-1", "script": "Once.", "captionJson": {"words": []}}
    await api.mutate(
        "updateVideoData", subject="job", role=Role.WORKER, recordId=video_id, downloadUrl=f"{url}v.mp4", **made, **farm
    )
    await api.report(video_id, status="RENDERING", renderProgress=60)
    ended = await api.report(video_id, status=status, comments="out of memory")
    retried = await api.retry(video_id, "again")
    assert retried["__typename"] == "RetryVideoDataSuccess"
    assert (retried["replayed"], retried["user"]["credits"]) == (False, 9)
    assert {"kind": "CHARGE", "amount": -1, "attempt": 2, "idempotencyKey": "again"}.items() <= retried["entry"].items()
    video = retried["videoData"]
    assert (video["status"], video["attempt"], video["renderProgress"]) == ("QUEUED", 2, 0)
    assert video["version"] == ended["videoData"]["version"] + 1
    traces = ("comments", "renderId", "bucketName", "queuedAt", "renderStartedAt", "downloadUrl", "queuePosition")
    assert [video[trace] for trace in traces] == len(traces) * [None]
    assert video["audioUrl"] == made["audioUrl"]
    content = (await api.query(CONTENT, id=video_id))["videoData"]
    assert (content["script"], content["captionJson"]) == ("Once.", {"words": []})
    assert content["images"] == made["images"]
    last = (await api.history(video_id))[-1]
    assert last == {"number": 5, "status": "QUEUED", "attempt": 2, "actor": "USER:ann", "comments": None}


async def test_each_attempt_is_refunded_once(api: Api) -> None:
    """Each attempt has its own charge and refund; a late report gets the current attempt's."""
    await api.register(credits=10)
    video_id = await api.video(status="FAILED")
    for attempt in (2, 3):
        await api.retry(video_id, f"again {attempt}")
        assert (await api.report(video_id, attempt=attempt, renderProgress=5))["entry"] is None
        failed = await api.report(video_id, attempt=attempt, status="FAILED")
        assert (failed["entry"]["attempt"], failed["user"]["credits"]) == (attempt, 10)
        assert await api.report(video_id, attempt=attempt, status="FAILED") == failed | {"replayed": True}
    data = await api.query("query($id: ID!) { videoData(id: $id) { entries { nodes { kind attempt } } } }", id=video_id)
    assert [(entry["kind"], entry["attempt"]) for entry in data["videoData"]["entries"]["nodes"]] == [
        (kind, attempt) for attempt in (3, 2, 1) for kind in ("REFUND", "CHARGE")
    ]


async def test_a_retry_happens_once_per_key(api: Api) -> None:
    """Repeating a retry returns the current video with the original charge."""
    await api.register(credits=10)
    video_id = await api.video(status="FAILED")
    first = await api.retry(video_id, "again")
    await api.report(video_id, status="FAILED", comments="second failure", attempt=2)
    replay = await api.retry(video_id, "again")
    assert (replay["__typename"], replay["replayed"]) == ("RetryVideoDataSuccess", True)
    assert replay["entry"] == first["entry"]
    assert (replay["videoData"]["status"], replay["videoData"]["attempt"]) == ("FAILED", 2)
    assert (replay["videoData"]["comments"], replay["user"]["credits"]) == ("second failure", 10)


async def test_a_double_click_on_retry_retries_once(api: Api) -> None:
    """Concurrent retries with one key are one attempt; with different keys one wins, the others find it QUEUED."""
    await api.register(credits=10)
    video_id = await api.video(status="FAILED")
    answers = await asyncio.gather(*(api.retry(video_id, "again") for _ in range(8)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + 7 * [True]
    await api.report(video_id, status="FAILED", attempt=2)
    answers = await asyncio.gather(*(api.retry(video_id, str(number)) for number in range(8)))
    assert sorted(answer["__typename"] for answer in answers) == 7 * ["IllegalTransition"] + ["RetryVideoDataSuccess"]
    assert await api.balance() == 9


@pytest.mark.parametrize("status", STAGES)
async def test_only_refunded_videos_are_retried(api: Api, database: Database, status: str) -> None:
    """An unfinished or completed video cannot be retried, and nothing is charged."""
    await api.register()
    video_id = await api.video(status=status)
    before = await every_row(database)
    refused = await api.retry(video_id, "again")
    assert (refused["__typename"], refused["currentStatus"]) == ("IllegalTransition", status)
    assert refused["videoData"]["id"] == video_id
    assert await every_row(database) == before


async def test_a_retry_beyond_the_balance_changes_nothing(
    dsn: str, settings: Settings, api: Api, database: Database
) -> None:
    """A retry beyond the balance changes nothing, reports both numbers, and leaves its key unused."""
    user_id = await api.register(credits=1)
    video_id = await api.video(status="FAILED")
    async with serving(dsn, replace(settings, video_cost=2)) as dear:
        before = await every_row(database)
        refused = await dear.retry(video_id, "again")
        assert (refused["__typename"], refused["balance"], refused["required"]) == ("InsufficientCredits", 1, 2)
        assert await every_row(database) == before
        await api.adjust(user_id, 1, "funds")
        assert (await dear.retry(video_id, "again"))["user"]["credits"] == 0


async def test_a_retrys_key_belongs_to_its_video(api: Api, database: Database) -> None:
    """A key that retried or created one video cannot retry another."""
    await api.register()
    first, second = await api.video("first", status="FAILED"), await api.video("second", status="FAILED")
    await api.retry(first, "again")
    before = await every_row(database)
    for key in ("again", "first", "second"):
        refused = await api.retry(second, key)
        assert (refused["__typename"], refused["idempotencyKey"]) == ("IdempotencyKeyReused", key)
    assert (await api.create("again"))["__typename"] == "IdempotencyKeyReused"
    assert await every_row(database) == before


async def test_the_order_of_a_retrys_refusals(api: Api) -> None:
    """A reused key is refused first, then an unknown video, then its status, then missing credits."""
    await api.register(credits=2)
    video_id, other_id = await api.video("one", status="FAILED"), await api.video("two", status="RENDERING")
    await api.retry(video_id, "again")
    assert await api.balance() == 0
    assert (await api.retry(video_id, "again"))["replayed"] is True
    assert (await api.retry(UNKNOWN_VIDEO, "again"))["__typename"] == "IdempotencyKeyReused"
    assert (await api.retry(other_id, "again"))["__typename"] == "IdempotencyKeyReused"
    assert (await api.retry(UNKNOWN_VIDEO, "fresh"))["__typename"] == "VideoDataNotFound"
    assert (await api.retry(other_id, "fresh"))["__typename"] == "IllegalTransition"
    await api.cancel(other_id)
    await api.create("last")
    assert (await api.retry(other_id, "fresh"))["__typename"] == "InsufficientCredits"
