"""Videos are created and charged for, through HTTP: one test for each outcome."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from db.database import Database
from resolvers.identity import Identity, Role
from schema.node import UserKey, VideoKey, encode_id
from server.process.settings import Settings
from tests.api import Api, serving
from tests.rows import every_row

ANN, BOB = (Identity(subject, Role.USER).user_id for subject in ("ann", "bob"))
UNKNOWN_VIDEO = encode_id(VideoKey(ANN, BOB))
CONTENT = "query($id: ID!) { videoData(id: $id) { script caption captionJson config images { image start duration } } }"


async def test_the_scenario_of_the_seed(api: Api) -> None:
    """Two concurrent creations on ten credits leave eight; one failure with four reporters leaves nine."""
    await api.register(credits=10)
    video_id, _ = await asyncio.gather(api.video("one"), api.video("two"))
    assert await api.balance() == 8
    reports = await asyncio.gather(
        *(api.report(video_id, status="FAILED", comments=f"reporter {number}") for number in range(4))
    )
    assert await api.balance() == 9
    assert sorted(report["replayed"] for report in reports) == [False, True, True, True]
    assert {report["user"]["credits"] for report in reports} == {9}
    assert len({report["entry"]["id"] for report in reports}) == 1
    assert len({report["videoData"]["comments"] for report in reports}) == 1


async def test_a_creation_charges_and_queues(api: Api) -> None:
    """A creation charges the cost and stores a QUEUED video with its CHARGE entry and first event."""
    await api.register(credits=10)
    created = await api.create("key")
    assert created["__typename"] == "CreateVideoDataSuccess"
    assert created["replayed"] is False
    video, entry = created["videoData"], created["entry"]
    assert created["user"]["credits"] == 9
    shown = {"status": "QUEUED", "attempt": 1, "cost": 1, "renderProgress": 0, "version": 1, "comments": None}
    assert shown.items() <= video.items()
    assert video["volume"] == {"backgroundMusic": 0.4, "voice": 1.0}
    assert {"kind": "CHARGE", "amount": -1, "balanceAfter": 9, "attempt": 1}.items() <= entry.items()
    assert {"idempotencyKey": "key", "actor": "USER:ann"}.items() <= entry.items()
    (event,) = await api.history(video["id"])
    assert event == {"number": 1, "status": "QUEUED", "attempt": 1, "actor": "USER:ann", "comments": None}


async def test_a_creation_stores_what_it_is_given(api: Api) -> None:
    """A creation stores every given field, large ones included."""
    await api.register()
    caption = {"style": "bold", "colours": ["#fff", None, {"x": [1.5, True]}]}
    voice = {"voiceId": "v-1", "name": "Ada"}
    given: dict[str, Any] = {"topic": "whales", "voice": voice, "createdBy": "ann@example.com"}
    created = await api.create("key", script="Once upon a time …", caption=caption, **given)
    assert given.items() <= created["videoData"].items()
    assert (created["videoData"]["title"], created["videoData"]["videoStyle"]) == ("Whales", "realistic")
    content = (await api.query(CONTENT, id=created["videoData"]["id"]))["videoData"]
    assert (content["script"], content["caption"]) == ("Once upon a time …", caption)
    assert (content["captionJson"], content["config"], content["images"]) == (None, None, None)


async def test_an_administrator_creates_for_a_user(api: Api) -> None:
    """An ADMIN's creation for a user is that user's video and charge; the ledger records the ADMIN as actor."""
    user_id = await api.register("bob", credits=5)
    created = await api.mutate(
        "createVideoData",
        subject="root",
        role=Role.ADMIN,
        title="T",
        videoStyle="S",
        userId=user_id,
        idempotencyKey="key",
    )
    assert (created["user"]["id"], created["user"]["credits"]) == (user_id, 4)
    assert created["entry"]["actor"] == "ADMIN:root"


async def test_a_user_creates_only_for_itself(api: Api, database: Database) -> None:
    """A user may name itself; any other user, existing or not, is not found."""
    ann, bob = await api.register("ann"), await api.register("bob")
    assert (await api.create("own", userId=ann))["__typename"] == "CreateVideoDataSuccess"
    before = await every_row(database)
    unknown = encode_id(UserKey(Identity("nobody", Role.USER).user_id))
    answers = [await api.create("key", userId=user_id) for user_id in (bob, unknown, "nonsense", UNKNOWN_VIDEO)]
    assert {answer["__typename"] for answer in answers} == {"UserNotFound"}
    assert {answer["code"] for answer in answers} == {"USER_NOT_FOUND"}
    assert await every_row(database) == before


async def test_a_creation_before_registration(api: Api, database: Database) -> None:
    """A creation by an unregistered user is UserNotFound and changes nothing."""
    assert (await api.create("key"))["__typename"] == "UserNotFound"
    assert not any((await every_row(database)).values())
    await api.register()
    assert (await api.create("key"))["replayed"] is False


async def test_a_creation_happens_once_per_key(api: Api) -> None:
    """Repeating a creation charges nothing, and returns the current video and user with the original charge."""
    await api.register(credits=10)
    first = await api.create("key", caption={"a": 1, "b": 2})
    await api.report(first["videoData"]["id"], status="RENDERING", renderProgress=40)
    await api.create("other")
    again = await api.create("key", caption={"b": 2, "a": 1})
    assert again["__typename"] == "CreateVideoDataSuccess"
    assert again["replayed"] is True
    assert again["entry"] == first["entry"]
    assert (again["videoData"]["id"], again["videoData"]["status"]) == (first["videoData"]["id"], "RENDERING")
    assert (again["videoData"]["renderProgress"], again["videoData"]["version"]) == (40, 2)
    assert again["user"]["credits"] == 8


@pytest.mark.parametrize(
    "changed",
    [
        {"title": "Sharks"},
        {"videoStyle": "comic"},
        {"topic": "sharks"},
        {"topic": None},
        {"script": "Twice."},
        {"caption": {"style": "thin"}},
        {"caption": None},
        {"voice": {"voiceId": "v-2", "name": "Ada"}},
        {"voice": {"voiceId": "v-1", "name": "Eve"}},
        {"voice": None},
        {"createdBy": "eve@example.com"},
    ],
)
async def test_a_creations_key_belongs_to_its_arguments(api: Api, database: Database, changed: dict[str, Any]) -> None:
    """A used key with any argument changed is refused and changes nothing."""
    await api.register()
    given: dict[str, Any] = {
        "topic": "whales",
        "script": "Once.",
        "caption": {"style": "bold"},
        "voice": {"voiceId": "v-1", "name": "Ada"},
        "createdBy": "ann@example.com",
    }
    await api.create("key", **given)
    before = await every_row(database)
    refused = await api.create("key", **(given | changed))
    assert refused["__typename"] == "IdempotencyKeyReused"
    assert (refused["code"], refused["idempotencyKey"]) == ("IDEMPOTENCY_KEY_REUSED", "key")
    assert await every_row(database) == before


async def test_a_creation_beyond_the_balance_changes_nothing(
    dsn: str, settings: Settings, api: Api, database: Database
) -> None:
    """A creation beyond the balance changes nothing, reports both numbers, and leaves its key unused."""
    user_id = await api.register(credits=2)
    async with serving(dsn, replace(settings, video_cost=3)) as dear:
        before = await every_row(database)
        refused = await dear.create("key")
        assert (refused["__typename"], refused["code"]) == ("InsufficientCredits", "INSUFFICIENT_CREDITS")
        assert (refused["balance"], refused["required"]) == (2, 3)
        assert await every_row(database) == before
        await api.adjust(user_id, 1, "funds")
        created = await dear.create("key")
        assert (created["replayed"], created["user"]["credits"], created["videoData"]["cost"]) == (False, 0, 3)


async def test_the_order_of_a_creations_refusals(api: Api) -> None:
    """With no credits left, a replay still succeeds, and a reused key is refused before the missing credits."""
    user_id = await api.register(credits=1)
    first = await api.create("key")
    assert first["user"]["credits"] == 0
    assert (await api.create("key"))["entry"] == first["entry"]
    assert (await api.create("key", title="Sharks"))["__typename"] == "IdempotencyKeyReused"
    await api.adjust(user_id, 1, "funds")
    assert (await api.create("funds"))["__typename"] == "IdempotencyKeyReused"
    await api.create("last")
    assert (await api.create("funds"))["__typename"] == "IdempotencyKeyReused"
    assert (await api.create("fresh"))["__typename"] == "InsufficientCredits"


async def test_a_refund_gives_back_what_was_paid(dsn: str, settings: Settings, api: Api) -> None:
    """A refund equals the attempt's charge, even if the cost has changed; a retry is charged the new cost."""
    await api.register(credits=10)
    cheap = await api.create("cheap")
    async with serving(dsn, replace(settings, video_cost=4)) as dear:
        assert (await dear.create("cheap"))["entry"] == cheap["entry"]
        failed = await dear.report(cheap["videoData"]["id"], status="FAILED")
        assert (failed["entry"]["amount"], failed["user"]["credits"]) == (1, 10)
        retried = await dear.retry(cheap["videoData"]["id"], "again")
        assert (retried["entry"]["amount"], retried["videoData"]["cost"], retried["user"]["credits"]) == (-4, 4, 6)
    canceled = await api.cancel(cheap["videoData"]["id"])
    assert (canceled["entry"]["amount"], canceled["user"]["credits"]) == (4, 10)
