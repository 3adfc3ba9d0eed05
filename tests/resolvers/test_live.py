"""Subscriptions: the current state immediately, always the last state, and each ledger entry exactly once."""

import asyncio
import random
from contextlib import aclosing
from typing import Any
from unittest.mock import ANY

import pytest

from db.credit_entry import LIST_ADDED_CREDIT_ENTRIES
from db.database import RetryLaterError
from db.user import GET_VIEWERS
from db.video_data import GET_VIDEO_DATA, LIST_VIDEOS
from resolvers.identity import Identity, Role
from resolvers.live import REST_SECONDS_MIN
from server.operations.run import NotExecuted
from tests.api import Api
from tests.live import ENTRIES, VIDEO, VIDEOS, VIEWER, count_statements, following, settled

NOBODY = "AAAAAAAAAAAAAAAAAAAAAA"
NONE, FIRST = "YwAAAAAAAAAA", "YwAAAAAAAAAB"  # The cursors before the first entry, and of it.


async def test_the_viewer_is_sent_at_once_and_after_each_change(api: Api) -> None:
    """A viewer gets the balance with its newest entry immediately, and again after each change."""
    user_id = await api.register(credits=10)
    async with following(api.follow(VIEWER)) as viewer:
        assert await viewer.any() == {
            "user": {"credits": 10, "version": ANY},
            "entry": {"number": 1, "balanceAfter": 10},
        }
        await api.create("key")
        assert (await viewer.until(lambda event: event["entry"]["number"] == 2))["user"]["credits"] == 9
        await api.adjust(user_id, 5, "gift")
        assert (await viewer.until(lambda event: event["entry"]["number"] == 3))["user"]["credits"] == 14
        assert len(viewer.told) == 3


async def test_a_viewer_who_registers_later(api: Api) -> None:
    """Before registration the user and the entry are null; registration sends both."""
    async with following(api.follow(VIEWER)) as viewer:
        assert await viewer.any() == {"user": None, "entry": None}
        await api.register()
        await viewer.until(lambda event: event["user"] is not None and event["entry"]["balanceAfter"] == 10)


async def test_a_balance_and_its_entry_are_consistent(api: Api) -> None:
    """Under concurrent writes, each balance equals the balance after the entry beside it."""
    user_id = await api.register(credits=100)
    async with following(api.follow(VIEWER)) as viewer:
        await asyncio.gather(*(api.adjust(user_id, each % 7 + 1, f"key {each}") for each in range(100)))
        last = 100 + sum(each % 7 + 1 for each in range(100))
        await viewer.until(lambda event: event["user"]["credits"] == last)
        assert all(event["user"]["credits"] == event["entry"]["balanceAfter"] for event in viewer.told)
        versions = [event["user"]["version"] for event in viewer.told]
        assert versions == sorted(set(versions))


async def test_fast_changes_are_merged(api: Api) -> None:
    """A hundred consecutive changes are sent as fewer states, and the last is current."""
    user_id = await api.register(credits=0)
    async with following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        for each in range(100):
            await api.adjust(user_id, 1, f"key {each}")
        await viewer.until(lambda event: event["user"]["credits"] == 100)
        assert len(viewer.told) < 60


async def test_continual_changes_are_sent_less_often(api: Api) -> None:
    """Continual changes lengthen the rest between events, and the last state is sent."""
    user_id = await api.register(credits=0)
    async with following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        for each in range(20):
            await api.adjust(user_id, 1, f"key {each}")
            await asyncio.sleep(REST_SECONDS_MIN + 0.01)
        await viewer.until(lambda event: event["user"]["credits"] == 20)
    assert len(viewer.told) < 12


async def test_no_event_without_a_change(api: Api) -> None:
    """Refusals, replays and changes of other rows send no event."""
    user_id = await api.register(credits=1)
    video_id = await api.video()
    async with following(api.follow(VIEWER)) as viewer, following(api.follow(VIDEO, {"id": video_id})) as video:
        await viewer.any()
        await video.any()
        assert (await api.create("another"))["__typename"] == "InsufficientCredits"
        await asyncio.sleep(0.1)  # By then a superfluous event would have arrived.
        assert (await api.create("new"))["replayed"] is True
        await asyncio.sleep(0.1)
        await api.adjust(user_id, 3, "gift")
        await viewer.until(lambda event: event["user"]["credits"] == 3)
        await asyncio.sleep(0.1)
        assert (len(viewer.told), len(video.told)) == (2, 1)


async def test_a_video_is_followed_to_its_end(api: Api) -> None:
    """A subscriber gets each status and progress of a video, and its end."""
    await api.register()
    video_id = await api.video()
    async with following(api.follow(VIDEO, {"id": video_id})) as video:
        assert (await video.any())["status"] == "QUEUED"
        for report in ({"status": "RENDERING"}, {"renderProgress": 40}, {"status": "COMPLETED"}):
            await api.report(video_id, **report)
            (name, value) = next(iter(report.items()))
            await video.until(lambda event, name=name, value=value: event[name] == value)  # type: ignore[misc]  # mypy infers no lambda with a default
        assert [event["renderProgress"] for event in video.told] == [0, 0, 40, 100]


async def test_queue_positions_are_live(api: Api) -> None:
    """A queued video's position is sent again when another video leaves the queue."""
    await api.register("ann")
    await api.register("bob")
    first = await api.video(subject="bob", status="RENDER_QUEUED")
    second = await api.video(subject="ann", status="RENDER_QUEUED")
    async with (
        following(api.follow(VIDEO, {"id": second})) as video,
        following(api.follow(VIDEOS, {"first": 1})) as page,
    ):
        assert (await video.any())["queuePosition"] == 2
        assert (await page.any())["nodes"][0]["queuePosition"] == 2
        await api.report(first, status="RENDERING")
        await video.until(lambda event: event["queuePosition"] == 1)
        await page.until(lambda event: event["nodes"][0]["queuePosition"] == 1)


async def test_an_unknown_video_is_null_and_completes(api: Api) -> None:
    """Another user's video and an unknown one are both null, and the subscription completes."""
    await api.register("ann")
    await api.register("bob")
    for video_id in (await api.video(subject="bob"), "nonsense", f"video_{NOBODY}"):
        results = [each async for each in api.follow(VIDEO, {"id": video_id})]
        assert results == [{"data": {"videoDataUpdated": None}}]


async def test_a_page_follows_its_videos(api: Api) -> None:
    """A page sends new videos, progress, and moves into and out of the trash, as far as its filter matches."""
    await api.register()
    old, new = [(await api.create(key, title=key))["videoData"]["id"] for key in ("old", "new")]
    async with (
        following(api.follow(VIDEOS, {"first": 2})) as page,
        following(api.follow(VIDEOS, {"filter": {"trashed": "ONLY"}})) as trash,
        following(api.follow(VIDEOS, {"filter": {"status": ["FAILED"]}})) as failed,
    ):
        assert [node["title"] for node in (await page.any())["nodes"]] == ["new", "old"]
        assert (await trash.any())["nodes"] == (await failed.any())["nodes"] == []
        await api.report(old, renderProgress=30)
        await page.until(lambda event: event["nodes"][1]["renderProgress"] == 30)
        await api.mutate("trashVideoData", recordId=new)
        await page.until(lambda event: [node["title"] for node in event["nodes"]] == ["old"])
        await trash.until(lambda event: [node["title"] for node in event["nodes"]] == ["new"])
        await api.mutate("restoreVideoData", recordId=new)
        await trash.until(lambda event: event["nodes"] == [])
        await api.report(old, status="FAILED")
        await failed.until(lambda event: [node["title"] for node in event["nodes"]] == ["old"])
        await api.create("newest", title="newest")
        last = await page.until(lambda event: event["nodes"][0]["title"] == "newest")
        assert (len(last["nodes"]), last["pageInfo"]) == (2, {"hasNextPage": True})


async def entries_after(api: Api, after: str | None, number: int) -> tuple[list[int], str | None]:
    """Follow a ledger from a cursor, up to so many entries; return their numbers, and the last one's cursor."""
    numbers: list[int] = []
    async with aclosing(api.follow(ENTRIES, {"after": after})) as results, asyncio.timeout(30):
        async for result in results:
            after = result["data"]["creditEntryAdded"]["cursor"]
            numbers.append(result["data"]["creditEntryAdded"]["node"]["number"])
            if len(numbers) == number:
                break
    return numbers, after


@pytest.mark.parametrize("seed", range(3))
async def test_no_entry_is_skipped_or_repeated(api: Api, seed: int) -> None:
    """While twenty clients write, a subscriber that reconnects with its last cursor gets each entry once, in order."""
    rng = random.Random(seed)
    user_id = await api.register(credits=10)
    data = await api.query("{ viewer { creditEntries(first: 1) { pageInfo { startCursor } } } }")
    after: str | None = data["viewer"]["creditEntries"]["pageInfo"]["startCursor"]

    async def write(writer: int) -> None:
        for each in range(10):
            await api.adjust(user_id, 1, f"{writer}: {each}")

    async def read() -> list[int]:
        cursor, numbers = after, list[int]()
        while len(numbers) < 200:
            more, cursor = await entries_after(api, cursor, min(rng.randint(1, 40), 200 - len(numbers)))
            numbers += more
        return numbers

    *_, one, other = await asyncio.gather(*(write(writer) for writer in range(20)), read(), read())
    assert one == other == list(range(2, 202))


async def test_past_entries_come_first(api: Api) -> None:
    """From an old cursor, all entries since then come immediately, and new ones follow."""
    user_id = await api.register(credits=1)
    data = await api.query("{ viewer { creditEntries(last: 1) { pageInfo { startCursor } } } }")
    for each in range(250):
        await api.adjust(user_id, 1, f"key {each}")
    oldest = data["viewer"]["creditEntries"]["pageInfo"]["startCursor"]
    async with following(api.follow(ENTRIES, {"after": oldest})) as ledger:
        await ledger.until(lambda event: event["node"]["number"] == 252)
        await api.adjust(user_id, 1, "live")
        await ledger.until(lambda event: event["node"]["number"] == 253)
        assert [event["node"]["number"] for event in ledger.told] == list(range(2, 254))


async def test_without_a_cursor_only_new_entries_come(api: Api) -> None:
    """Without a cursor no past entry is sent, and every new one is."""
    user_id = await api.register(credits=3)
    async with following(api.follow(ENTRIES)) as ledger, following(api.follow(VIEWER)) as viewer:
        await viewer.any()  # Read with the same statement: by now both have begun.
        await api.adjust(user_id, 1, "one")
        await api.adjust(user_id, 1, "two")
        await ledger.until(lambda event: event["node"]["balanceAfter"] == 5)
        assert [event["node"]["balanceAfter"] for event in ledger.told] == [4, 5]


async def test_a_cursor_of_another_ledger_is_refused(api: Api) -> None:
    """A cursor beyond the newest entry, or of another list, is BAD_USER_INPUT; otherwise entries would be skipped."""
    await api.register("ann")
    bob = await api.register("bob")
    for each in range(5):
        await api.adjust(bob, 1, f"key {each}")
    document = "{ viewer { creditEntries(first: 1) { pageInfo { startCursor } } } }"
    data = await api.query(document, subject="bob")
    for after in (data["viewer"]["creditEntries"]["pageInfo"]["startCursor"], "nonsense"):
        (error,) = (await api.first(ENTRIES, {"after": after}, subject="ann"))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("moment", range(10))
async def test_no_change_is_lost_while_a_subscription_starts(api: Api, moment: int) -> None:
    """A change at any moment of the start is in the first state or in a later one."""
    user_id = await api.register(credits=0)
    videos = [await api.register(f"user {each}", credits=1) for each in range(10)]
    assert videos

    async def race(number: int) -> None:
        async with following(api.follow(VIEWER)) as viewer:
            for _ in range(moment):
                await asyncio.sleep(0.001)
            await api.adjust(user_id, 1, f"key {number}")
            await viewer.until(lambda event: event["user"]["credits"] >= number + 1)

    for number in range(10):
        await race(number)


async def test_equal_subscriptions_share_one_execution(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty equal subscriptions of a user cost one read; a late one gets the last state immediately."""
    await api.register(credits=5)
    state = api.app.state
    executed = 0
    text_of = state.runner._schema.follow  # noqa: SLF001 - it is counted

    async def counting(*arguments: Any) -> Any:
        nonlocal executed
        executed += 1
        return await text_of(*arguments)

    monkeypatch.setattr(state.runner._schema, "follow", counting)  # noqa: SLF001 - the same
    streams = [api.follow(VIEWER) for _ in range(20)]
    assert [each["data"] for each in await asyncio.gather(*map(anext, streams))] == 20 * [ANY]
    await api.create("key")
    events = await asyncio.gather(*map(anext, streams))
    assert {each["data"]["viewerUpdated"]["user"]["credits"] for each in events} == {4}
    late = api.follow(VIEWER)
    assert (await anext(late))["data"]["viewerUpdated"]["user"]["credits"] == 4
    assert executed == 1
    another = api.follow(VIEWER, subject="bob")
    assert (await anext(another))["data"]["viewerUpdated"]["user"] is None
    assert executed == 2
    for stream in (*streams, late):
        await stream.aclose()
    await another.aclose()
    await settled(state)


async def test_a_shared_stream_outlives_its_first_subscriber(api: Api) -> None:
    """When the subscriber that started a shared stream leaves, the others continue."""
    await api.register()
    first = api.follow(VIEWER)
    await anext(first)
    async with following(api.follow(VIEWER)) as second:
        await second.any()
        await first.aclose()
        await api.create("key")
        await second.until(lambda event: event["user"]["credits"] == 9)


@pytest.mark.usefixtures("without_polling")
async def test_simultaneous_reads_are_batched(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes at the same time are read by one statement per table, however many subscribers there are."""
    users = [f"user {each}" for each in range(30)]
    videos = {user: await api.video(subject=user) for user in users if await api.register(user)}
    state = api.app.state
    streams = [
        stream
        for user, video_id in videos.items()
        for stream in (
            api.follow(VIEWER, subject=user),
            api.follow(VIDEO, {"id": video_id}, subject=user),
            api.follow(VIDEOS, {"first": 5}, subject=user),
            api.follow(ENTRIES, {"after": FIRST}, subject=user),
        )
    ]
    await asyncio.gather(*map(anext, streams))
    monkeypatch.setattr(state.database, "on_change", None)
    for user, video_id in videos.items():
        await api.report(video_id, status="RENDERING")
        await api.create("another", subject=user)
    statements = count_statements(state.database, monkeypatch)
    state.live.wake([Identity(user, Role.USER).user_id for user in users])
    events = await asyncio.gather(*map(anext, streams))
    assert all("errors" not in each for each in events)
    every = (GET_VIEWERS, GET_VIDEO_DATA, LIST_VIDEOS[False], LIST_ADDED_CREDIT_ENTRIES)
    assert {each: statements[each] for each in every} == dict.fromkeys(every, 1)
    for stream in streams:
        await stream.aclose()
    await settled(state)


async def test_a_slow_subscriber_gets_only_the_last_state(api: Api) -> None:
    """A subscriber that pauses gets the last state when it resumes, and none in between."""
    user_id = await api.register(credits=0)
    slow = api.follow(VIEWER)
    assert (await anext(slow))["data"]["viewerUpdated"]["user"]["credits"] == 0
    async with following(api.follow(VIEWER)) as quick:
        for each in range(10):
            await api.adjust(user_id, 1, f"key {each}")
            await quick.until(lambda event, each=each: event["user"]["credits"] == each + 1)  # type: ignore[misc]  # mypy infers no lambda with a default
    assert (await anext(slow))["data"]["viewerUpdated"]["user"]["credits"] == 10
    await slow.aclose()


async def test_an_incomplete_state_is_sent_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state whose nested field timed out is sent with that error, and then again in full."""
    await api.register()
    rows = api.app.state.database.rows
    failures = 1

    async def failing(query: str, *arguments: object) -> Any:
        nonlocal failures
        if query == LIST_VIDEOS[False] and failures:
            failures -= 1
            raise RetryLaterError
        return await rows(query, *arguments)

    monkeypatch.setattr(api.app.state.database, "rows", failing)
    document = "subscription { viewerUpdated { user { credits videos { nodes { title } } } } }"
    async with aclosing(api.follow(document)) as results, asyncio.timeout(30):
        (error,) = (await anext(results))["errors"]
        assert error["extensions"]["code"] == "RETRY"
        assert (await anext(results)) == {"data": {"viewerUpdated": {"user": {"credits": 10, "videos": {"nodes": []}}}}}


async def test_a_failed_read_is_repeated(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer for a while delays a state, and ends no subscription."""
    await api.register()
    rows = api.app.state.database.rows
    failures = 2

    async def failing(query: str, *arguments: object) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise RetryLaterError
        return await rows(query, *arguments)

    monkeypatch.setattr(api.app.state.database, "rows", failing)
    async with following(api.follow(VIEWER)) as viewer, following(api.follow(ENTRIES, {"after": NONE})) as ledger:
        assert (await viewer.any())["user"]["credits"] == 10
        assert (await ledger.any())["node"]["number"] == 1


async def test_a_fault_is_masked_and_ends_the_subscription(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a stream is masked and ends the subscription, and everything is released."""
    await api.register()
    video_id = await api.video()
    async with aclosing(api.follow(VIEWER)) as results:
        await anext(results)

        async def broken(*_: object) -> Any:
            raise ValueError("secret")

        monkeypatch.setattr(api.app.state.database, "rows", broken)
        await api.mutate("trashVideoData", subject="ann", recordId=video_id)
        event = await anext(results)
        assert event["data"] is None
        (error,) = event["errors"]
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert "secret" not in str(event)
        assert [each async for each in results] == []
    await settled(api.app.state)


@pytest.mark.parametrize(
    "document",
    [
        "subscription { viewerUpdated { user { credits } } videosUpdated { nodes { id } } }",
        "subscription { viewerUpdated { nothing } }",
        "subscription { viewerUpdated",
        "subscription A { viewerUpdated { user { id } } } subscription B { viewerUpdated { user { id } } }",
        "subscription($first: Int!) { videosUpdated(first: $first) { nodes { id } } }",
        "subscription { videosUpdated(first: 101) { nodes { id } } }",
        "subscription { videosUpdated(first: 100) { nodes { user { videos(first: 100) { nodes { id title } } } } } }",
    ],
)
async def test_invalid_subscriptions_are_refused_before_they_start(api: Api, document: str) -> None:
    """Two root fields, an unknown field, invalid syntax, two operations, variables and limits: each has its code."""
    answer = await api.first(document, subject="ann")
    assert {error["extensions"]["code"] for error in answer["errors"]} <= {"BAD_USER_INPUT", "LIMIT_EXCEEDED"}
    assert "data" not in answer


async def test_a_root_field_may_be_in_a_fragment(api: Api) -> None:
    """A subscription is identified by its root field, wherever that is and whatever its alias."""
    await api.register()
    document = """subscription { ...on Subscription { ...live } }
    fragment live on Subscription { mine: viewerUpdated { user { credits } } }"""
    assert await api.first(document, subject="ann") == {"data": {"mine": {"user": {"credits": 10}}}}


async def test_equal_entries_are_both_sent(api: Api) -> None:
    """Two entries whose selected fields are equal are two events."""
    user_id = await api.register(credits=0)
    document = f'subscription {{ creditEntryAdded(after: "{NONE}") {{ node {{ amount }} }} }}'
    for key in ("one", "two", "three"):
        await api.adjust(user_id, 7, key)
    async with following(api.follow(document)) as ledger:
        await ledger.until(lambda _: [event["node"]["amount"] for event in ledger.told][-3:] == [7, 7, 7])


@pytest.mark.parametrize("role", Role)
async def test_a_worker_follows_any_video(api: Api, role: Role) -> None:
    """A WORKER and an ADMIN can follow another user's video; for a USER it is null."""
    await api.register("bob")
    video_id = await api.video(subject="bob")
    video = (await api.first(VIDEO, {"id": video_id}, subject="ann", role=role))["data"]["videoDataUpdated"]
    assert (video is None) is (role is Role.USER)


def expensive(alias: str) -> str:
    """Follow a page that costs about 3,000 values."""
    fields = "id title videoStyle topic status comments attempt cost version createdAt updatedAt user { id name email }"
    page = f"nodes {{ {fields} }} edges {{ node {{ {fields} }} }}"
    return f"subscription {{ {alias}: videosUpdated(first: 100) {{ {page} }} }}"


async def test_the_cost_of_a_users_subscriptions_is_limited(api: Api) -> None:
    """A USER's subscriptions have a total cost limit. Equal ones count once, ended ones no longer."""
    await api.register()
    streams = []
    for each in range(20):
        stream = api.follow(expensive(f"page{each}"))
        streams.append(stream)
        try:
            await anext(stream)
        except NotExecuted as refused:
            (error,) = refused.errors
            assert error.extensions is not None
            assert (error.extensions["code"], error.extensions["limit"]) == ("LIMIT_EXCEEDED", "followedCost")
            assert error.extensions["value"] > error.extensions["maximum"]
            break
    assert 2 < len(streams) < 20
    same = api.follow(expensive("page0"))
    await anext(same)
    await same.aclose()
    await streams[1].aclose()
    assert "errors" not in await api.first(expensive("last"), subject="ann")
    assert "errors" not in await api.first(expensive("much"), subject="ann", role=Role.ADMIN)
    for stream in streams:
        await stream.aclose()
    await settled(api.app.state)


async def test_the_rest_grows_with_the_cost_of_subscriptions(api: Api) -> None:
    """The more a user's subscriptions cost, the longer they rest between reads."""
    await api.register()
    async with aclosing(api.follow(expensive("page"))) as results:
        await anext(results)
        await api.create("key")
        await anext(results)
        (watches,) = api.app.state.live._watches.values()  # noqa: SLF001 - how often is not to be measured by a clock
        assert [watch.rest_seconds > 0.3 for watch in watches] == [True]
