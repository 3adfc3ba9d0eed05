"""What one process changes, subscribers of another see: promptly by a notice, and within two seconds without one."""

import asyncio
import signal
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest

import db.change_feed
import db.database
import db.user
from db.change_feed import OTHERS_LISTEN, POLL_CHANGES, ChangeFeed, _wallets_in
from db.database import Database
from resolvers.identity import Identity, Role
from server.process.settings import Settings
from tests.api import MUTATIONS, SECRET, Api, headers, serving
from tests.gate import Gate
from tests.live import ENTRIES, VIDEO, VIDEOS, VIEWER, following
from tests.log import serving_logged
from tests.race import blocked
from tests.server.test_cli import serving as serving_process

# Feeds that wait for their next poll: since they were connected they have listened, and polled once. What is followed
# only then is not found by that poll.
READY = """SELECT pid FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'videocredits live' AND state = 'idle'
    AND (query LIKE '-- Wallets of which%' OR query LIKE 'SELECT pg_notify%')"""
# A writer that tells nobody, as one that was killed right after its commit.
SILENT_CHANGE = "UPDATE wallets SET version = version + 1"
KILLED_AFTER_COMMIT = """
import asyncio, os, signal, sys
import db.database, db.user
from resolvers.identity import Identity, Role

async def main():
    database = await db.database.connect(sys.argv[1], pool_size=1, timeout_seconds=60)
    database.on_change = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    user_id = Identity("ann", Role.USER).user_id
    gift = ("gift", bytes(32), user_id, 5, False, "REWARD", "ADMIN:root", None)
    await db.user.adjust_user_credits(database, user_id, *gift)

asyncio.run(main())
"""


@pytest.fixture
def polling_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.change_feed, "POLL_SECONDS", 0.05)


@pytest.fixture
async def gate(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """Have the change feeds of applications go through a gate, and nothing else of theirs."""
    gate = Gate(dsn, tmp_path)
    await gate.open()
    monkeypatch.setattr("server.app.ChangeFeed", lambda _, **rest: ChangeFeed(gate.dsn, **rest))
    yield gate
    gate.shut()


async def ready(database: Database, number: int, *, but: Iterable[int] = ()) -> set[int]:
    """Wait until so many feeds hear, others than these, and return their backends."""
    async with asyncio.timeout(30):
        while True:
            pids = {record["pid"] for record in await database.rows(READY)} - set(but)
            if len(pids) == number:
                return pids
            await asyncio.sleep(0.01)


def feed_of(dsn: str, heard: Callable[[Iterable[UUID]], None]) -> ChangeFeed:
    """Make a feed of which nobody follows anything."""
    return ChangeFeed(
        dsn,
        notify=True,
        subjects=lambda: (),
        follows_queue=lambda: False,
        heard=heard,
        queue_moved=lambda: None,
    )


def balance(number: int) -> Callable[[Any], bool]:
    """Tell whether a viewer was told of a balance."""
    return lambda told: bool(told["user"]["credits"] == number)


@pytest.mark.usefixtures("without_polling")
async def test_a_change_is_heard_of_by_notice(dsn: str, settings: Settings, database: Database, api: Api) -> None:
    """What one application changes, a subscriber of another is told, without a poll."""
    await api.register()
    async with serving(dsn, settings) as other:
        await ready(database, 2)
        async with following(other.follow(VIEWER)) as viewer:
            await viewer.any()
            await api.create("key")
            await viewer.until(balance(9))


@pytest.mark.usefixtures("without_polling")
async def test_a_change_is_heard_of_from_another_process(
    dsn: str, database: Database, api: Api, tmp_path: Path
) -> None:
    """What another process changes, a subscriber of this one is told, without a poll."""
    await api.register()
    with serving_process(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as server:
        await ready(database, 2)
        async with httpx2.AsyncClient(timeout=30) as client, following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            video = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}
            document = {"query": MUTATIONS["createVideoData"], "variables": {"input": video}}
            (await client.post(server.address, json=document, headers=headers("ann"))).raise_for_status()
            await viewer.until(balance(9))


@pytest.mark.usefixtures("without_polling")
async def test_many_users_are_told_of_at_once(dsn: str, database: Database) -> None:
    """A thousand users that change at once are told of, in several notices; to oneself none is told."""
    users = {uuid4() for _ in range(1000)}
    announced_by: set[UUID] = set()
    heard_by: set[UUID] = set()
    announcing, hearing = feed_of(dsn, announced_by.update), feed_of(dsn, heard_by.update)
    async with announcing.running(), hearing.running():
        await ready(database, 2)
        for user_id in users:
            announcing.announce(user_id)
        async with asyncio.timeout(30):
            while heard_by != users:  # noqa: ASYNC110 - the set tells nobody that it is full
                await asyncio.sleep(0.001)
    assert announced_by == set()


@pytest.fixture
async def noticed(dsn: str) -> AsyncIterator[list[UUID]]:
    """Collect the users of whom there was a notice."""
    users: list[UUID] = []
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("videocredits", lambda *notice: users.extend(_wallets_in(notice[-1])))
    yield users
    await listener.close()


@pytest.mark.usefixtures("without_polling")
async def test_a_process_that_is_alone_announces_nothing(dsn: str, database: Database, noticed: list[UUID]) -> None:
    """It begins to when another one has come, without a poll."""
    before, after = uuid4(), uuid4()
    heard: set[UUID] = set()
    alone, coming = feed_of(dsn, lambda _: None), feed_of(dsn, heard.update)
    async with alone.running():
        await ready(database, 1)
        alone.announce(before)
        async with coming.running():
            await ready(database, 2)
            async with asyncio.timeout(30):
                while not heard:
                    alone.announce(after)
                    await asyncio.sleep(0.01)
    assert heard == set(noticed) == {after}


@pytest.mark.usefixtures("polling_fast")
async def test_a_process_that_is_left_alone_announces_nothing_more(
    dsn: str, database: Database, noticed: list[UUID]
) -> None:
    """It ends with the first poll after the other one has gone."""
    staying, going = feed_of(dsn, lambda _: None), feed_of(dsn, lambda _: None)
    async with staying.running():
        async with going.running():
            await ready(database, 2)
            async with asyncio.timeout(30):
                while not noticed:
                    staying.announce(uuid4())
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while noticed:
                noticed.clear()
                staying.announce(uuid4())
                await asyncio.sleep(0.2)  # Longer than a notice takes.


@pytest.mark.usefixtures("without_polling")
async def test_a_notice_that_is_not_ours_changes_nothing(api: Api, database: Database) -> None:
    """Whatever else is sent on the channel is ignored, and what comes after it is heard."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    await api.register()
    await ready(database, 1)
    async with following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        await database.pool.execute(SILENT_CHANGE)
        user_id = Identity("ann", Role.USER).user_id.bytes
        odd = [
            "",
            "x",
            "ä",
            "AAAA",
            "A" * 7999,
            "{}",
            b64encode(user_id).decode() + "!",
            b64encode(user_id[1:]).decode(),
        ]
        for payload in odd:
            await database.pool.execute("SELECT pg_notify('videocredits', $1)", payload)
        await database.pool.execute("SELECT pg_notify('videocredits', $1)", b64encode(user_id).decode())
        await viewer.until(lambda told: told["user"]["version"] == 2)
    assert faults == []


@pytest.mark.usefixtures("without_polling")
async def test_a_connection_that_was_ended_is_replaced_at_once(api: Api, database: Database) -> None:
    """A feed whose connection PostgreSQL ended finds what it has missed, and hears again, before any poll is due."""
    await api.register()
    before = await ready(database, 1)
    async with following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        await database.pool.execute(SILENT_CHANGE)
        await database.pool.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid", before)
        await viewer.until(lambda told: told["user"]["version"] == 2)
        await ready(database, 1, but=before)
        await database.pool.execute(SILENT_CHANGE)
        user_id = Identity("ann", Role.USER).user_id.bytes
        await database.pool.execute("SELECT pg_notify('videocredits', $1)", b64encode(user_id).decode())
        await viewer.until(lambda told: told["user"]["version"] == 3)


async def test_a_connection_that_leads_nowhere_is_replaced(
    dsn: str, settings: Settings, database: Database, gate: Gate
) -> None:
    """A feed whose connection is open, and passes nothing any more, connects anew and finds what it has missed."""
    async with serving(dsn, settings) as api:
        await api.register()
        async with following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            before = await ready(database, 1)
            gate.freeze()
            await database.pool.execute(SILENT_CHANGE)
            await viewer.until(lambda told: told["user"]["version"] == 2)
            await ready(database, 1, but=before)


@pytest.mark.parametrize("lost", [Gate.cut, Gate.freeze, Gate.shut])
@pytest.mark.usefixtures("without_polling")
async def test_what_was_announced_without_a_connection_arrives(
    lost: Callable[[Gate], None], dsn: str, settings: Settings, database: Database, api: Api, gate: Gate
) -> None:
    """What is announced while the connection is lost, known or not, is sent on the next one."""
    await api.register()
    async with serving(dsn, settings) as other:
        await ready(database, 2)
        async with following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            lost(gate)
            await other.create("key")
            if lost is Gate.shut:
                await gate.open()
            await viewer.until(balance(9))


async def test_a_database_that_is_down_is_waited_for(
    dsn: str, settings: Settings, database: Database, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database cannot be reached, the feed tries again; the log tells so once, and once that it is back."""
    attempts, connect = asyncio.Semaphore(0), asyncpg.connect

    async def connecting(*arguments: Any, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
        attempts.release()
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", connecting)
    async with serving_logged(dsn, settings) as (api, log):
        await api.register()
        async with following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            await ready(database, 1)
            log.read()
            gate.shut()
            for _ in range(5):
                await attempts.acquire()
            await database.pool.execute(SILENT_CHANGE)
            await gate.open()
            await viewer.until(lambda told: told["user"]["version"] == 2)
            await ready(database, 1)
        told = [line["event"] for line in log.read_all() if line["logger"] == "db.change_feed"]
        assert told == ["change_feed_lost", "change_feed_back"]


async def test_a_change_that_nobody_told_of_is_found(api: Api, database: Database) -> None:
    """What is changed by a statement that announces nothing is found."""
    await api.register()
    async with following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        await ready(database, 1)
        await database.pool.execute(SILENT_CHANGE)
        await viewer.until(lambda told: told["user"]["version"] == 2)


async def test_what_a_writer_did_before_it_was_killed_is_found(api: Api, dsn: str) -> None:
    """What a process has changed that was killed between its commit and its notice is found."""
    await api.register()
    async with following(api.follow(VIEWER)) as viewer, following(api.follow(ENTRIES)) as ledger:
        await viewer.any()
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED_AFTER_COMMIT, dsn)
        assert await writer.wait() == -signal.SIGKILL
        await viewer.until(balance(15))
        await ledger.until(lambda told: told["node"]["amount"] == 5)


@pytest.mark.usefixtures("without_polling")
async def test_a_change_that_ends_with_the_server_is_told(
    dsn: str, settings: Settings, database: Database, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is under way when the server stops is announced before the server ends."""
    monkeypatch.setattr(db.change_feed, "GATHER_SECONDS", 0.2)  # Longer than the rest of a stop takes.
    await api.register()
    async with AsyncExitStack() as stack:
        stopping = await stack.enter_async_context(serving(dsn, settings))
        await ready(database, 2)
        async with following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("SELECT FROM wallets FOR UPDATE")
                video = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}
                document = "mutation($input: CreateVideoDataInput!) { createVideoData(input: $input) { __typename } }"
                creation = asyncio.create_task(stopping.query(document, input=video))
                await blocked(database)
                stop = asyncio.create_task(stack.aclose())
                await asyncio.sleep(0.1)  # Longer than a stop takes that waits for nobody.
            await stop
            await creation
            await viewer.until(balance(9))


async def test_without_notify_changes_are_found_all_the_same(dsn: str, settings: Settings, database: Database) -> None:
    """With NOTIFY off nobody announces or listens, and what another application changes is found."""
    quiet = replace(settings, notify="off")
    noticed: list[object] = []
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("videocredits", lambda *notice: noticed.append(notice[-1]))
    async with serving(dsn, quiet) as api, serving(dsn, quiet) as other, following(api.follow(VIEWER)) as viewer:
        await viewer.any()
        await ready(database, 2)
        await other.register()
        await viewer.until(lambda told: told["user"] is not None)
        await ready(database, 2)
        await listener.execute("SELECT pg_notify('videocredits', 'last')")
    assert noticed == ["last"]
    await listener.close()


@asynccontextmanager
async def strangers(dsn: str, settings: Settings) -> AsyncIterator[tuple[Api, Api]]:
    """Serve a database twice, to one who changes and to one who follows and only finds what has changed by polling."""
    quiet = replace(settings, notify="off")
    async with serving(dsn, quiet) as writer, serving(dsn, quiet) as reader:
        yield writer, reader


@pytest.mark.usefixtures("polling_fast")
async def test_a_poll_finds_what_becomes_of_a_video(dsn: str, settings: Settings) -> None:
    """A poll finds progress, a status and an edit of a video."""
    async with strangers(dsn, settings) as (writer, reader):
        await writer.register()
        video_id = await writer.video("key")
        async with following(reader.follow(VIDEO, {"id": video_id})) as video:
            await video.any()
            await writer.report(video_id, renderProgress=40)
            await video.until(lambda told: told["renderProgress"] == 40)
            version = (await video.any())["version"]
            await writer.mutate("updateVideoData", recordId=video_id, script="Once upon a time.")
            await video.until(lambda told: told["version"] == version + 2)
            await writer.report(video_id, status="FAILED")
            await video.until(lambda told: told["status"] == "FAILED")


@pytest.mark.usefixtures("polling_fast")
async def test_a_poll_finds_what_becomes_of_a_page(dsn: str, settings: Settings) -> None:
    """A poll finds videos that are new, move, come into a page and leave it, whether it is filtered or not."""
    async with strangers(dsn, settings) as (writer, reader):
        await writer.register()
        filters: list[Any] = [None, {"status": ["FAILED"]}, {"trashed": "ONLY"}, {"status": []}]
        follow = [reader.follow(VIDEOS, {"first": 2, "filter": each}) for each in filters]
        async with AsyncExitStack() as stack:
            newest, failed, trash, none = [await stack.enter_async_context(following(each)) for each in follow]
            assert [(await each.any())["nodes"] for each in (newest, failed, trash, none)] == [[], [], [], []]
            first, _, third = [(await writer.create(key, title=key))["videoData"]["id"] for key in ("1", "2", "3")]
            await newest.until(lambda told: titles(told) == ["3", "2"] and told["pageInfo"]["hasNextPage"])
            await writer.report(first, status="FAILED")
            await failed.until(lambda told: titles(told) == ["1"])
            await writer.mutate("trashVideoData", recordId=third)
            await newest.until(lambda told: titles(told) == ["2", "1"])
            await trash.until(lambda told: titles(told) == ["3"])
            await writer.mutate("restoreVideoData", recordId=third)
            await newest.until(lambda told: titles(told) == ["3", "2"])
            await trash.until(lambda told: titles(told) == [])
            await writer.report(third, renderProgress=70)
            await newest.until(lambda told: told["nodes"][0]["renderProgress"] == 70)
            assert len(none.told) == 1


def titles(page: Any) -> list[str]:
    return [node["title"] for node in page["nodes"]]


@pytest.mark.usefixtures("polling_fast")
async def test_a_poll_finds_that_the_queue_moves(dsn: str, settings: Settings) -> None:
    """A poll finds that a place in the queue has become another, when others leave it, whoever's they are."""
    async with strangers(dsn, settings) as (writer, reader):
        for subject in ("ann", "bob"):
            await writer.register(subject)
        ahead = [await writer.video(key, subject="bob", status="RENDER_QUEUED") for key in ("1", "2")]
        video_id = await writer.video("3", status="RENDER_QUEUED")
        async with (
            following(reader.follow(VIDEO, {"id": video_id})) as video,
            following(reader.follow(VIDEOS, {})) as page,
        ):
            await video.until(lambda told: told["queuePosition"] == 3)
            await writer.report(ahead[1], status="RENDERING")
            await video.until(lambda told: told["queuePosition"] == 2)
            await page.until(lambda told: told["nodes"][0]["queuePosition"] == 2)
            await writer.cancel(ahead[0], subject="bob")
            await video.until(lambda told: told["queuePosition"] == 1)
            await writer.report(video_id, status="RENDERING")
            await video.until(lambda told: told["queuePosition"] is None)


@pytest.mark.usefixtures("polling_fast")
async def test_who_follows_costs_no_statement_but_the_poll(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is followed, one poll looks after it all, and nothing is read as long as nothing changes."""
    subjects = [f"user {number}" for number in range(10)]
    async with AsyncExitStack() as stack:
        for subject in subjects:
            await api.register(subject)
            trashed = await api.video("trashed", subject=subject)
            await api.mutate("trashVideoData", subject=subject, recordId=trashed)
            video_id = await api.video("key", subject=subject, status="RENDER_QUEUED")
            failed = {"filter": {"status": ["FAILED"]}}
            followed: list[tuple[str, Any]] = [
                (VIEWER, {}),
                (VIDEO, {"id": video_id}),
                (VIDEOS, {}),
                (VIDEOS, failed),
                (ENTRIES, {}),
            ]
            for document, variables in followed:
                follower = await stack.enter_async_context(following(api.follow(document, variables, subject=subject)))
                if document != ENTRIES:
                    await follower.any()
        await ready(database, 1)
        statements: Counter[str] = Counter()
        polled = asyncio.Semaphore(0)
        execute = vars(asyncpg.Connection)["_execute"]

        async def counting(connection: Any, query: str, *arguments: Any, **options: Any) -> Any:
            statements[query] += 1
            if query == POLL_CHANGES:
                polled.release()
            return await execute(connection, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, "_execute", counting)
        async with asyncio.timeout(30):
            # What was followed just now has yet to be read again.
            while set(statements) != {POLL_CHANGES, OTHERS_LISTEN}:
                statements.clear()
                for _ in range(5):
                    await polled.acquire()
