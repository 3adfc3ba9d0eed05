"""A subscriber who joins a stream gets a state as new as the last acknowledged mutation, and no state goes back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any

import pytest

from db.change_feed import UNSEEN, WatchedWallet
from db.database import Database, RetryLaterError
from db.user import GET_VIEWERS
from resolvers.live import Live, State
from tests.api import Api
from tests.live import VIDEO, VIDEOS, VIEWER, count_statements, following, settled
from tests.race import Account

ROUNDS = 40


async def add_credit(api: Api, user_id: str, number: int) -> None:
    await api.adjust(user_id, 1, f"round {number}")


async def progress(api: Api, video: str, number: int) -> None:
    await api.report(video, renderProgress=number)


Change = Callable[[Api, str, int], Awaitable[None]]


@pytest.mark.parametrize(
    ("document", "change", "shown"),
    [
        (VIEWER, add_credit, lambda event: event["user"]["credits"] - 5),
        (VIDEO, progress, lambda event: event["renderProgress"]),
        (VIDEOS, progress, lambda event: event["nodes"][0]["renderProgress"]),
    ],
    ids=["viewer", "video", "videos"],
)
@pytest.mark.parametrize("is_busy", [False, True])
async def test_the_first_state_shows_what_was_acknowledged_before(
    api: Api, document: str, change: Change, shown: Callable[[Any], int], is_busy: bool
) -> None:
    """A subscriber's first state shows every mutation acknowledged before, although others follow the same already.

    Also while further changes come; and the states of no subscriber go back.
    """
    user_id = await api.register(credits=6)
    video = (await api.create("key"))["videoData"]["id"]
    changed = video if change is progress else user_id
    variables = {"id": video} if document == VIDEO else {}
    acknowledged = 0

    async def change_all() -> None:
        nonlocal acknowledged
        for number in range(1, ROUNDS + 1):
            await change(api, changed, number)
            acknowledged = number

    async with AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(following(api.follow(document, variables)))]
        await followers[0].any()
        changing = asyncio.create_task(change_all()) if is_busy else None
        for number in range(1, ROUNDS + 1):
            if changing is None:
                await change(api, changed, number)
                acknowledged = number
            before = acknowledged
            follower = await stack.enter_async_context(following(api.follow(document, variables)))
            assert shown(await follower.any()) >= before
            followers.append(follower)
        if changing is not None:
            await changing
        for follower in followers:
            await follower.until(lambda event: shown(event) == ROUNDS)
            states = [shown(event) for event in follower.told]
            assert states == sorted(set(states))
    await settled(api.app.state)


@pytest.mark.usefixtures("without_polling")
async def test_simultaneous_subscribers_share_one_reading(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred simultaneous subscribers cost one reading; an earlier subscriber gets no event twice."""
    await api.register(credits=5)
    async with following(api.follow(VIEWER)) as first:
        await first.any()
        counted = count_statements(api.app.state.database, monkeypatch)
        joined = [api.follow(VIEWER) for _ in range(200)]
        events = await asyncio.gather(*map(anext, joined))
        assert [each["data"]["viewerUpdated"]["user"]["credits"] for each in events] == [5] * 200
        assert (counted[GET_VIEWERS], len(first.told)) == (1, 1)
        for each in joined:
            await each.aclose()


async def test_a_subscriber_that_leaves_while_joining(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database does not answer, joining waits; a subscriber that leaves meanwhile affects no other."""
    await api.register(credits=5)
    database = api.app.state.database
    async with following(api.follow(VIEWER)) as first:
        await first.any()
        answers = asyncio.Event()
        rows = database.rows

        async def failing(query: str, *arguments: object) -> Any:
            if not answers.is_set():
                raise RetryLaterError
            return await rows(query, *arguments)

        with monkeypatch.context() as patched:
            patched.setattr(database, "rows", failing)
            streams = [api.follow(VIEWER) for _ in range(2)]
            joining = [asyncio.ensure_future(anext(stream)) for stream in streams]
            await asyncio.wait(joining, timeout=0.2)
            assert not any(each.done() for each in joining)
            joining[0].cancel()
            with suppress(asyncio.CancelledError):
                await joining[0]
            answers.set()
            async with asyncio.timeout(30):
                assert (await joining[1])["data"]["viewerUpdated"]["user"]["credits"] == 5
        for stream in streams:
            await stream.aclose()
    await settled(api.app.state)


async def test_joining_a_stream_that_ends(api: Api) -> None:
    """A subscriber that joins while the last follower leaves still gets its state."""
    await api.register(credits=5)
    for moment in range(20):
        first = api.follow(VIEWER)
        await anext(first)

        async def join() -> Any:
            async with aclosing(api.follow(VIEWER)) as stream:
                return await anext(stream)

        joining = asyncio.create_task(join())
        for _ in range(moment):
            await asyncio.sleep(0)
        await first.aclose()
        async with asyncio.timeout(30):
            assert (await joining)["data"]["viewerUpdated"]["user"]["credits"] == 5
    await settled(api.app.state)


async def test_a_reading_begins_after_the_one_before_has_ended(database: Database) -> None:
    """A subscription never reads with loaders that were made, and perhaps used by others, during its last reading.

    Their rows might be older than those of that reading.
    """
    account = await Account.open(database, 1)
    live, subject = Live(database), WatchedWallet(account.user_id, UNSEEN)
    with live.watch(subject) as one, live.watch(subject) as other:
        slow, fast = await asyncio.gather(one.woken(), other.woken())
        assert slow is fast
        live.wake([account.user_id])
        fast = await other.woken()
        assert await fast.user(account.user_id)
        assert (one.state, other.state) == (State.BUSY, State.BUSY)
        await account.adjust("more", 1)
        next_of_slow = await one.woken()
        assert next_of_slow not in {slow, fast}
        row = await next_of_slow.user(account.user_id)
        assert row is not None
        assert row.credits == 2
    assert one.state is State.ENDED


async def test_a_fresh_state_is_confirmed_by_the_reading_after(database: Database) -> None:
    """A request for a fresh state during a reading waits for the next one, which skips the rest."""
    account = await Account.open(database, 1)
    live, subject = Live(database), WatchedWallet(account.user_id, UNSEEN)
    with live.watch(subject) as watch:
        watch.rest_seconds = 3600
        await watch.woken()
        asked = asyncio.create_task(watch.refreshed())
        await asyncio.sleep(0)
        watch.confirm()
        await asyncio.sleep(0)
        assert not asked.done()
        async with asyncio.timeout(30):
            await watch.woken()
        watch.confirm()
        await asked
        ended = asyncio.create_task(watch.refreshed())
        await asyncio.sleep(0)
    await ended
    await watch.refreshed()
