"""Whatever is cut off in the middle, be it a client or a connection, was done or was not, and the key tells which."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import httpx2
import pytest
import uvicorn

import db.database
from db.database import Database, RetryLaterError
from resolvers.identity import Identity, Role
from server.app import create_app
from server.process.settings import Settings
from tests.api import MUTATIONS, Api, headers, serving
from tests.race import BLOCKED, Account, blocked, charged, check_verified, deadlocks, run_alone, waiting

ANN = Identity("ann", Role.USER).user_id


async def test_a_client_that_leaves(database: Database, dsn: str, settings: Settings) -> None:
    """A creation whose client hangs up while it waits is done all the same, and its key replays it to whoever asks."""
    account = Account(database, ANN)
    async with listening(settings, dsn) as (server, base_url), httpx2.AsyncClient(base_url=base_url) as client:
        api = Api(client)
        await api.register(credits=5)
        others = len(server.server_state.connections)
        async with account.locked():
            _, writer = await asyncio.open_connection(*base_url.removeprefix("http://").split(":"))
            writer.write(creation("click"))
            await blocked(database)
            writer.close()
            while len(server.server_state.connections) > others:  # noqa: ASYNC110 - uvicorn sets no event
                await asyncio.sleep(0.002)
        await charged(account)
        created = await api.create("click")
        entries = await account.ledger()
    assert (created["replayed"], created["user"]["credits"]) == (True, 4)
    assert [entry.idempotency_key for entry in entries if entry.kind == "CHARGE"] == ["click"]


async def test_a_caller_that_is_cancelled(database: Database) -> None:
    """A cancelled caller is let go at once; what it had begun commits, and its key replays it."""
    account = await Account.open(database, 5)
    async with account.locked():
        caller = asyncio.create_task(account.create("key"))
        await waiting(database.pool, [caller])
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    await charged(account)
    again = await account.create("key")
    assert (again.outcome, len(await account.ledger())) == ("replayed", 2)


async def test_callers_that_are_cancelled_at_any_moment(database: Database, dsn: str) -> None:
    """However far a creation had come when its caller was cancelled, its key stands for one charge."""
    account = await Account.open(database, 500)
    keys = [f"key {number}" for number in range(200)]
    for number, key in enumerate(keys):
        caller = asyncio.create_task(account.create(key))
        for _ in range(number % 20):
            await asyncio.sleep(0)
        caller.cancel()
    again = await asyncio.gather(*(account.create(key) for key in keys))
    assert {answer.outcome for answer in again} == {"created", "replayed"}
    assert len(await account.ledger()) == 1 + len(keys)
    assert {answer.entry for answer in again} == set((await account.ledger())[1:])
    await check_verified(dsn)


async def test_closing_lets_what_has_begun_finish(database: Database, dsn: str) -> None:
    """A database that is closed while a creation waits, its caller cancelled, lets it commit first."""
    account = await Account.open(database, 5)
    closing_database = await db.database.connect(dsn, pool_size=2, timeout_seconds=60)
    async with account.locked():
        caller = asyncio.create_task(Account(closing_database, account.user_id).create("key"))
        await waiting(database.pool, [caller])
        caller.cancel()
        closing = asyncio.create_task(closing_database.close())
        await asyncio.wait([closing], timeout=0.1)
        assert not closing.done()
        assert await database.pool.fetchval(BLOCKED) == 1
    await closing
    assert len(await account.ledger()) == 2


async def test_connections_that_are_killed(database: Database, dsn: str) -> None:
    """Creations whose connections are killed in the middle are answered all the same, and charged once for each key."""
    account = await Account.open(database, 2_000)
    keys = [f"key {number}" for number in range(1_000)]

    async def caller(number: int) -> list[str]:
        return [(await account.create(key)).outcome for key in keys[number::50]]

    killer = await asyncpg.connect(dsn)
    race = asyncio.gather(*(caller(number) for number in range(50)))
    killed = 0
    while not race.done():
        killed += await killer.fetchval(
            """SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"""
        )
        await asyncio.sleep(0.01)
    await killer.close()
    outcomes = Counter(outcome for outcomes in await race for outcome in outcomes)
    assert set(outcomes) == {"created"}  # A rerun recognizes its own work.
    assert killed
    charges = [entry.idempotency_key for entry in await account.ledger() if entry.kind == "CHARGE"]
    assert sorted(charges, key=str) == sorted(keys)
    await check_verified(dsn)


async def test_a_wait_beyond_the_deadline(database: Database, dsn: str) -> None:
    """A creation that waits beyond the deadline is called off, which its caller is told, and its key stays good."""
    account = await Account.open(database, 5)
    hurried = await db.database.connect(dsn, pool_size=2, timeout_seconds=0.2)
    async with account.locked():
        with pytest.raises(RetryLaterError):
            await Account(hurried, account.user_id).create("key")
        # Nothing is left behind that could commit later.
        while await database.pool.fetchval(BLOCKED):  # noqa: ASYNC110 - PostgreSQL sets no event
            await asyncio.sleep(0.002)
    assert len(await account.ledger()) == 1
    again = await Account(hurried, account.user_id).create("key")
    assert (again.outcome, len(await account.ledger())) == ("created", 2)
    await hurried.close()


async def test_a_wait_beyond_the_deadline_over_http(database: Database, dsn: str, settings: Settings) -> None:
    """A request that waits beyond the deadline is answered with the error RETRY, and done once under the same key.

    It may have been done the first time after all, if the lock is gone before PostgreSQL has given it up.
    """
    hurry = replace(settings, request_timeout_seconds=0.2)
    async with serving(dsn, settings) as api, serving(dsn, hurry) as hurried:
        await api.register(credits=5)
        creation = {"input": {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "click"}}
        async with Account(database, ANN).locked():
            body = await hurried.post(MUTATIONS["createVideoData"], creation, subject="ann")
        assert [error["extensions"]["code"] for error in body["errors"]] == ["RETRY"]
        created = await api.create("click")
    assert (created["__typename"], created["user"]["credits"]) == ("CreateVideoDataSuccess", 4)


async def test_a_deadlock(database: Database, dsn: str) -> None:
    """A report that PostgreSQL sacrifices to end a deadlock is run again, and answered as if nothing had been."""
    await run_alone(database)  # In a batch, it would give up its wait before the deadlock is found.
    account = await Account.open(database, 5)
    created = await account.create("key")
    assert created.video
    # It looks for deadlocks so late that the report finds this one.
    rival = await asyncpg.connect(dsn, server_settings={"deadlock_timeout": "60s"})
    async with rival.transaction():
        await rival.execute("SELECT FROM video_data WHERE wallet_id = $1 FOR NO KEY UPDATE", account.user_id)
        report = asyncio.create_task(account.report(created.video.id, "FAILED"))
        await waiting(database.pool, [report])
        await rival.execute("SELECT FROM wallets WHERE wallet_id = $1 FOR NO KEY UPDATE", account.user_id)
    await rival.close()
    assert (await report).outcome == "moved"
    assert [entry.kind for entry in await account.ledger()] == ["SIGNUP", "CHARGE", "REFUND"]
    assert await deadlocks(database, dsn) == 1


@asynccontextmanager
async def listening(settings: Settings, dsn: str) -> AsyncIterator[tuple[uvicorn.Server, str]]:
    """Serve on a socket, as `videocredits serve` does, and yield the server and its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings, dsn=dsn), log_config=None, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.002)
        host, port = listener.getsockname()
        yield server, f"http://{host}:{port}"
        server.should_exit = True
        await running


def creation(key: str) -> bytes:
    """Write a request to create a video, as it goes over the wire."""
    variables = {"input": {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": key}}
    body = json.dumps({"query": MUTATIONS["createVideoData"], "variables": variables}).encode()
    fields = {"Host": "testserver", "Content-Type": "application/json", "Content-Length": len(body), **headers("ann")}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"POST /graphql HTTP/1.1\r\n%s\r\n%s" % (head.encode(), body)
