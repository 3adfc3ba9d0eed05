"""Reports on videos and their cancelation, over HTTP: each outcome, and every change of status."""

import asyncio
from typing import Any

import pytest

from db.database import Database
from resolvers.identity import Identity, Role
from schema.limits import CREDITS_MAX
from schema.node import VideoKey, encode_id
from schema.video_status import VideoStatus
from tests.api import Api
from tests.race import check_verified
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


async def test_every_change_of_status(api: Api) -> None:
    """Moves go forward and may skip stages; an unfinished video may fail or be canceled; an end is final."""
    assert [status.name for status in VideoStatus] == STATUSES
    await api.register(credits=1000)
    wrong = []
    expected: tuple[str, str, bool | None]
    for present in STATUSES:
        for following in STATUSES:
            video_id = await api.video(f"{present} {following}", status=present)
            answer = await api.report(video_id, status=following)
            if following == present:
                expected = ("UpdateVideoRecordStatusSuccess", present, True)
            elif present not in {"COMPLETED", *REFUNDED} and (
                following in REFUNDED or STAGES.index(following) > STAGES.index(present)
            ):
                expected = ("UpdateVideoRecordStatusSuccess", following, False)
            else:
                expected = ("IllegalTransition", present, None)
            outcome = (answer["__typename"], answer["videoData"]["status"], answer.get("replayed"))
            history = [event["status"] for event in await api.history(video_id)]
            steps = [
                "QUEUED",
                *([present] if present != "QUEUED" else []),
                *([following] if outcome[2] is False else []),
            ]
            if outcome != expected or history != steps:
                wrong.append((present, following, outcome, history))
    assert wrong == []
    refunds = sum(
        1
        for present in STATUSES
        for following in STATUSES
        if present in REFUNDED or (present != "COMPLETED" and following in REFUNDED)
    )
    assert await api.balance() == 1000 - len(STATUSES) ** 2 + refunds


async def test_a_move_is_an_event(api: Api) -> None:
    """A move changes the status, raises the version, and adds an event with its actor and comments."""
    await api.register(credits=10)
    video_id = await api.video()
    moved = await api.report(video_id, status="READY", comments={"by": "job"}, attempt=1)
    assert moved["__typename"] == "UpdateVideoRecordStatusSuccess"
    assert (moved["replayed"], moved["entry"], moved["user"]["credits"]) == (False, None, 9)
    assert {"status": "READY", "comments": {"by": "job"}, "version": 2}.items() <= moved["videoData"].items()
    assert await api.history(video_id) == [
        {"number": 1, "status": "QUEUED", "attempt": 1, "actor": "USER:ann", "comments": None},
        {"number": 2, "status": "READY", "attempt": 1, "actor": "WORKER:render-1", "comments": {"by": "job"}},
    ]


@pytest.mark.parametrize("status", REFUNDED)
async def test_a_failure_is_refunded(api: Api, status: str) -> None:
    """A video that ends in FAILED or CANCELED is refunded by an entry of its attempt."""
    await api.register(credits=10)
    video_id = await api.video(status="RENDERING", renderProgress=30)
    ended = await api.report(video_id, status=status, comments="out of memory")
    assert (ended["replayed"], ended["user"]["credits"]) == (False, 10)
    shown = {"kind": "REFUND", "amount": 1, "balanceAfter": 10, "attempt": 1, "idempotencyKey": None}
    assert shown.items() <= ended["entry"].items()
    assert ended["entry"]["actor"] == "WORKER:render-1"
    assert (ended["videoData"]["renderProgress"], ended["videoData"]["comments"]) == (30, "out of memory")


async def test_the_first_report_of_a_failure_wins(api: Api, database: Database) -> None:
    """Later failure reports succeed without a change, and return the first one's comments and refund."""
    await api.register(credits=10)
    video_id = await api.video()
    first = await api.report(video_id, subject="render-1", status="FAILED", comments="timed out")
    before = await every_row(database)
    for more in ({"comments": "Render Failed"}, {}, {"renderProgress": 90}):
        later = await api.report(video_id, subject="upload", status="FAILED", **more)
        assert later == first | {"replayed": True}
    assert await every_row(database) == before


async def test_a_late_success_is_refused(api: Api, database: Database) -> None:
    """A success after a failure is refused and names the failure; the refund stays."""
    await api.register(credits=10)
    video_id = await api.video(status="FAILED", comments="timed out")
    before = await every_row(database)
    late = await api.report(video_id, status="COMPLETED", downloadUrl="https://cdn.example/v.mp4")
    assert (late["__typename"], late["code"]) == ("IllegalTransition", "ILLEGAL_TRANSITION")
    assert (late["currentStatus"], late["videoData"]["comments"]) == ("FAILED", "timed out")
    assert await every_row(database) == before


@pytest.mark.parametrize("status", REFUNDED)
async def test_a_late_failure_is_refused(api: Api, database: Database, status: str) -> None:
    """A failure after a success is refused; the charge stays."""
    await api.register(credits=10)
    video_id = await api.video(status="COMPLETED", downloadUrl="https://cdn.example/v.mp4")
    before = await every_row(database)
    late = await api.report(video_id, status=status, comments="late")
    assert (late["__typename"], late["currentStatus"]) == ("IllegalTransition", "COMPLETED")
    assert late["videoData"]["downloadUrl"] == "https://cdn.example/v.mp4"
    assert await every_row(database) == before
    assert await api.balance() == 9


async def test_a_repeated_success(api: Api, database: Database) -> None:
    """A success webhook delivered again changes nothing; one with another download URL is refused."""
    await api.register()
    video_id = await api.video()
    first = await api.report(video_id, status="COMPLETED", downloadUrl="https://cdn.example/1.mp4")
    before = await every_row(database)
    again = await api.report(video_id, status="COMPLETED", downloadUrl="https://cdn.example/1.mp4", renderProgress=50)
    assert again == first | {"replayed": True}
    for status in ("COMPLETED", None):
        other = await api.report(video_id, status=status, downloadUrl="https://cdn.example/2.mp4")
        assert (other["__typename"], other["code"]) == ("ContradictoryReport", "CONTRADICTORY_REPORT")
        assert other["videoData"] == first["videoData"]
    assert await every_row(database) == before


async def test_progress_never_falls(api: Api) -> None:
    """Any report may raise progress; a lower value is ignored. A rise adds no event."""
    await api.register()
    video_id = await api.video(status="RENDERING", renderProgress=20)
    steps: list[tuple[dict[str, Any], int, bool]] = [
        ({"renderProgress": 35}, 35, False),
        ({"renderProgress": 35}, 35, True),
        ({"renderProgress": 30}, 35, True),
        ({"renderProgress": 0}, 35, True),
        ({"status": "RENDERING", "renderProgress": 10}, 35, True),
        ({"status": "RENDERING", "renderProgress": 50}, 50, False),
        ({"status": "RENDERING"}, 50, True),
        ({"renderProgress": 100}, 100, False),
    ]
    for report, progress, replayed in steps:
        answer = await api.report(video_id, **report)
        assert (answer["videoData"]["renderProgress"], answer["replayed"]) == (progress, replayed), report
        assert (answer["videoData"]["status"], answer["entry"]) == ("RENDERING", None)
    assert answer["videoData"]["version"] == 5
    assert [event["status"] for event in await api.history(video_id)] == ["QUEUED", "RENDERING"]


@pytest.mark.parametrize(("given", "kept"), [(10, 60), (80, 80)])
async def test_a_move_does_not_lower_progress(api: Api, given: int, kept: int) -> None:
    """A move with lower progress keeps the stored value; one with higher progress raises it."""
    await api.register()
    video_id = await api.video(renderProgress=60)
    moved = await api.report(video_id, status="RENDERING", renderProgress=given)
    assert (moved["videoData"]["status"], moved["videoData"]["renderProgress"]) == ("RENDERING", kept)


async def test_a_completed_video_has_full_progress(api: Api) -> None:
    """COMPLETED sets progress to 100, whatever the report says."""
    await api.register()
    for number, given in enumerate((None, 40)):
        completed = await api.report(await api.video(str(number)), status="COMPLETED", renderProgress=given)
        assert completed["videoData"]["renderProgress"] == 100


@pytest.mark.parametrize("status", ["COMPLETED", *REFUNDED])
async def test_an_ended_video_ignores_progress_and_later_comments(api: Api, database: Database, status: str) -> None:
    """Once a video has ended, progress and further comments change nothing: the first ones stay."""
    await api.register()
    video_id = await api.video(status=status, comments="first", renderProgress=7)
    before = await every_row(database)
    for report in ({"renderProgress": 99}, {"comments": "second"}, {"status": status, "comments": "third"}):
        answer = await api.report(video_id, **report)
        assert (answer["__typename"], answer["replayed"]) == ("UpdateVideoRecordStatusSuccess", True)
        assert (answer["videoData"]["status"], answer["videoData"]["comments"]) == (status, "first")
        assert (answer["entry"] is None) is (status == "COMPLETED")
    assert await every_row(database) == before


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("status", ["COMPLETED", *REFUNDED])
async def test_what_an_end_left_out_may_follow(api: Api, status: str, repeated: bool, dsn: str) -> None:
    """Comments, and of a completed video the URL, that the last report left out are stored, once, without an event."""
    await api.register(credits=10)
    video_id = await api.video("earlier", status="RENDERING", comments="on it")
    ended = await api.report(video_id, status=status)
    assert ended["videoData"]["comments"] is None
    said = {"status": status} if repeated else {}
    noted = await api.report(video_id, **said, comments="why", renderProgress=3)
    assert (noted["videoData"]["comments"], noted["replayed"]) == ("why", False)
    assert (noted["entry"], noted["user"]["credits"]) == (ended["entry"], ended["user"]["credits"])
    assert noted["videoData"]["renderProgress"] == ended["videoData"]["renderProgress"]
    later = await api.report(video_id, **said, downloadUrl="https://cdn.example/v.mp4")
    if status == "COMPLETED":
        assert (later["videoData"]["downloadUrl"], later["replayed"]) == ("https://cdn.example/v.mp4", False)
        again = await api.report(video_id, **said, downloadUrl="https://cdn.example/v.mp4", comments="other words")
        assert again == later | {"replayed": True}
    else:
        assert (later["__typename"], later["videoData"]["downloadUrl"]) == ("ContradictoryReport", None)
    assert [event["comments"] for event in await api.history(video_id)] == [None, "on it", None]
    assert await api.balance() == (9 if status == "COMPLETED" else 10)
    await check_verified(dsn)


async def test_notes_without_a_move(api: Api) -> None:
    """Comments and a download URL without a status are stored, without an event; repeating them changes nothing."""
    await api.register()
    video_id = await api.video(status="RENDERING")
    report: dict[str, Any] = {"comments": ["almost"], "downloadUrl": "https://cdn.example/preview.mp4"}
    noted = await api.report(video_id, **report)
    assert report.items() <= noted["videoData"].items()
    assert (noted["replayed"], noted["videoData"]["version"]) == (False, 3)
    assert await api.report(video_id, **report) == noted | {"replayed": True}
    assert len(await api.history(video_id)) == 2
    moved = await api.report(video_id, status="COMPLETED")  # A new status comes with comments of its own, or none.
    assert (report | {"comments": None}).items() <= moved["videoData"].items()


async def test_repeating_a_status_keeps_the_first_notes(api: Api, database: Database) -> None:
    """Repeating a status keeps the first comments and download URL."""
    await api.register()
    video_id = await api.video(status="RENDERING", comments="first", downloadUrl="https://cdn.example/1")
    before = await every_row(database)
    again = await api.report(video_id, status="RENDERING", comments="second", downloadUrl="https://cdn.example/2")
    assert (again["replayed"], again["videoData"]["comments"]) == (True, "first")
    assert await every_row(database) == before


async def test_an_empty_report_is_refused(api: Api) -> None:
    """A report without status, comments, progress and download URL is bad input."""
    await api.register()
    video_id = await api.video()
    for empty in ({}, {"attempt": 1}, {"status": None, "comments": None}):
        document = "mutation($i: UpdateVideoRecordStatusInput!) { updateVideoRecordStatus(input: $i) { __typename } }"
        body = await api.post(document, {"i": {"recordId": video_id, **empty}}, subject="w", role=Role.WORKER)
        (error,) = body["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "`renderProgress`" in error["message"]


async def test_a_report_about_another_attempt_is_stale(api: Api, database: Database) -> None:
    """A report about another attempt is refused; one that names none is about the first attempt."""
    await api.register()
    video_id = await api.video(status="FAILED")
    await api.retry(video_id, "again")
    before = await every_row(database)
    for attempt in (None, 1, 3, 2_147_483_647):
        for report in ({"status": "FAILED"}, {"status": "QUEUED"}, {"renderProgress": 50}, {"status": "RENDERING"}):
            stale = await api.report(video_id, attempt=attempt, **report)
            assert (stale["__typename"], stale["code"]) == ("StaleAttempt", "STALE_ATTEMPT")
            assert stale["currentAttempt"] == 2
    assert await every_row(database) == before
    assert (await api.report(video_id, status="RENDERING", attempt=2))["replayed"] is False
    assert (await api.report(video_id, status="FAILED", attempt=2))["entry"]["attempt"] == 2


async def test_the_order_of_a_reports_refusals(api: Api) -> None:
    """A stale attempt is refused before an illegal transition, and before a repeated status succeeds."""
    await api.register()
    video_id = await api.video(status="COMPLETED")
    assert (await api.report(video_id, status="FAILED", attempt=2))["__typename"] == "StaleAttempt"
    assert (await api.report(video_id, status="COMPLETED", attempt=2))["__typename"] == "StaleAttempt"
    assert (await api.report(video_id, status="FAILED", attempt=1))["__typename"] == "IllegalTransition"
    assert (await api.report(video_id, status="COMPLETED", attempt=1))["replayed"] is True
    assert (await api.report(UNKNOWN_VIDEO, status="FAILED", attempt=2))["__typename"] == "VideoDataNotFound"


@pytest.mark.parametrize("mutation", ["updateVideoRecordStatus", "cancelVideoData", "retryVideoData"])
async def test_an_unknown_video_is_not_found(api: Api, database: Database, mutation: str) -> None:
    """An unknown id, a malformed one and another object's id are all VideoDataNotFound, and change nothing."""
    user_id = await api.register()
    await api.video()
    before = await every_row(database)
    more = {"updateVideoRecordStatus": {"status": "FAILED"}, "retryVideoData": {"idempotencyKey": "key"}}
    for record_id in (UNKNOWN_VIDEO, user_id, "video_", ""):
        refused = await api.mutate(
            mutation, subject="ann", role=Role.ADMIN, recordId=record_id, **more.get(mutation, {})
        )
        assert (refused["__typename"], refused["code"]) == ("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
    assert await every_row(database) == before


@pytest.mark.parametrize("status", REFUNDED)
async def test_a_refund_beyond_the_maximum_balance(api: Api, database: Database, status: str) -> None:
    """A report whose refund exceeds the maximum balance is refused, and succeeds once the refund fits."""
    user_id = await api.register(credits=1)
    video_id = await api.video(status="RENDERING")
    await api.adjust(user_id, CREDITS_MAX, "fill")
    before = await every_row(database)
    refused = await api.report(video_id, status=status, comments="late")
    assert (refused["__typename"], refused["code"]) == ("OperationRefused", "CREDITS_OUT_OF_RANGE")
    assert await every_row(database) == before
    canceled = await api.cancel(video_id)
    assert (canceled["__typename"], canceled["code"]) == ("OperationRefused", "CREDITS_OUT_OF_RANGE")
    assert await every_row(database) == before
    await api.adjust(user_id, -1, "room")
    moved = await api.report(video_id, status=status)
    assert (moved["videoData"]["status"], moved["user"]["credits"]) == (status, CREDITS_MAX)


async def test_one_dispatcher_starts_the_render(api: Api) -> None:
    """Of concurrent moves of one video to RENDERING, exactly one is the first; the others are replays."""
    await api.register()
    video_id = await api.video(status="RENDER_QUEUED")
    answers = await asyncio.gather(
        *(api.report(video_id, subject=f"dispatcher-{number}", status="RENDERING") for number in range(10))
    )
    assert sorted(answer["replayed"] for answer in answers) == [False] + 9 * [True]
    (_, _, started) = await api.history(video_id)
    (first,) = (number for number, answer in enumerate(answers) if not answer["replayed"])
    assert started["actor"] == f"WORKER:dispatcher-{first}"


async def test_render_queue_positions(api: Api) -> None:
    """Queued videos have positions in the order of creation; when one leaves, those behind it move up."""
    await api.register()
    ids = [await api.video(str(number)) for number in range(3)]
    for place, video_id in enumerate((ids[2], ids[0], ids[1]), start=1):
        queued = (await api.report(video_id, status="RENDER_QUEUED"))["videoData"]
        assert queued["queuePosition"] == place
        assert queued["queuedAt"] == queued["updatedAt"]
        assert queued["renderStartedAt"] is None
    rendering = (await api.report(ids[2], status="RENDERING"))["videoData"]
    assert (rendering["queuePosition"], rendering["renderStartedAt"]) == (None, rendering["updatedAt"])
    await api.cancel(ids[0])
    left = await api.query(
        "query($ids: [ID!]!) { nodes(ids: $ids) { ...on VideoData { queuePosition queuedAt } } }", ids=ids
    )
    assert [video["queuePosition"] for video in left["nodes"]] == [None, 1, None]
    assert all(video["queuedAt"] for video in left["nodes"])


async def test_a_cancelation_is_refunded(api: Api) -> None:
    """A canceled video is refunded once; canceling it again returns the same refund."""
    await api.register(credits=10)
    video_id = await api.video(status="RENDERING")
    canceled = await api.cancel(video_id)
    assert canceled["__typename"] == "CancelVideoDataSuccess"
    assert (canceled["videoData"]["status"], canceled["user"]["credits"]) == ("CANCELED", 10)
    assert {"kind": "REFUND", "amount": 1, "actor": "USER:ann"}.items() <= canceled["entry"].items()
    assert canceled["replayed"] is False
    await api.create("other")
    again = await api.cancel(video_id)
    assert (again["replayed"], again["entry"], again["user"]["credits"]) == (True, canceled["entry"], 9)
    assert again["videoData"] == canceled["videoData"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_an_ended_video_cannot_be_canceled(api: Api, database: Database, status: str) -> None:
    """A completed or failed video cannot be canceled, and no credits move."""
    await api.register()
    video_id = await api.video(status=status)
    before = await every_row(database)
    refused = await api.cancel(video_id)
    assert (refused["__typename"], refused["currentStatus"]) == ("IllegalTransition", status)
    assert await every_row(database) == before
