"""Connections that are kept at hand: each statement has a sound one, and none is kept from anybody."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import db.connection_pool
import db.database
from db.connection_pool import ConnectionPool, PoolConnection
from tests.gate import Gate


async def process(connection: PoolConnection) -> int:
    """Tell which of PostgreSQL's processes answers."""
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def sleep(connection: PoolConnection, seconds: float) -> int:
    return int(await connection.fetchval("SELECT 1 FROM pg_sleep($1)", seconds))


async def prepared(_: object) -> None:
    """Prepare nothing."""


@pytest.fixture
async def connections(gate: Gate) -> AsyncIterator[ConnectionPool]:
    connections = await ConnectionPool.open(gate.dsn, 3, 2, prepared)
    yield connections
    await connections.close()


async def test_one_is_kept_for_the_next(connections: ConnectionPool) -> None:
    """Statements one after the other run on one connection, which the pool does not have back."""
    first = await connections.run(process)
    assert [await connections.run(process) for _ in range(3)] == [first] * 3
    assert (connections.pool.get_size(), connections.pool.get_idle_size()) == (1, 0)


async def test_no_more_are_kept_than_may_be(connections: ConnectionPool) -> None:
    """The pool has all others back, and whoever asks it gets one."""
    assert await asyncio.gather(*(connections.run(partial(sleep, seconds=0.05)) for _ in range(9))) == [1] * 9
    async with asyncio.timeout(10), connections.pool.acquire() as third:
        assert await third.fetchval("SELECT 1") == 1
    assert (connections.pool.get_size(), connections.pool.get_idle_size()) == (3, 1)


async def test_none_is_kept_from_calls_that_wait(connections: ConnectionPool) -> None:
    """While all connections are in use, the first that is done goes to the call that waits, not to a later one."""
    begun = asyncio.Semaphore(0)
    ends = [asyncio.Event() for _ in range(3)]

    async def hold(connection: PoolConnection, end: asyncio.Event) -> None:
        await process(connection)
        begun.release()
        await end.wait()

    holding = [asyncio.create_task(connections.run(partial(hold, end=end))) for end in ends]
    async with asyncio.timeout(30):
        for _ in ends:
            await begun.acquire()
        waiting = asyncio.create_task(connections.run(process))
        await asyncio.sleep(0)
        ends[0].set()
        assert await waiting
        assert not holding[1].done()
        for end in ends:
            end.set()
        await asyncio.gather(*holding)


async def test_one_that_ended_meanwhile_is_not_used(connections: ConnectionPool, gate: Gate) -> None:
    """One that was cut off while nobody used it is replaced."""
    first = await connections.run(process)
    gate.cut()
    await asyncio.sleep(0.1)
    assert await connections.run(process) != first


async def test_one_that_was_idle_for_long_is_not_used(
    connections: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of which whatever lies between may know no more is replaced."""
    first = await connections.run(process)
    monkeypatch.setattr(db.connection_pool, "AT_HAND_SECONDS_MAX", 0)
    assert await connections.run(process) != first


async def test_one_whose_statement_failed_is_given_back(connections: ConnectionPool) -> None:
    """Whatever a statement ends by, the pool has its connection back, and sees to it."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connections.run(lambda connection: connection.execute("SELECT 1 / 0"))
    with pytest.raises(asyncpg.InterfaceError):
        await connections.run(lambda connection: connection.execute("SELECT $1::integer", "one too many", 2))
    given_up = asyncio.create_task(connections.run(partial(sleep, seconds=60)))
    await asyncio.sleep(0.1)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    async with asyncio.timeout(30):
        while connections.pool.get_idle_size() < connections.pool.get_size():  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.002)


async def test_one_that_asyncpg_has_ended_is_lost(connections: ConnectionPool) -> None:
    """An error inside asyncpg, whose connection the pool may have back already, is a lost connection and no other."""

    async def fail(connection: PoolConnection) -> None:
        connection.terminate()
        raise asyncpg.InternalClientError

    with pytest.raises(ConnectionError):
        await connections.run(fail)
    assert await connections.run(process)


async def test_what_has_begun_is_let_finish(gate: Gate) -> None:
    """Closing waits for statements that are at work, whose connections nobody keeps then."""
    connections = await ConnectionPool.open(gate.dsn, 3, 2, prepared)
    await asyncio.gather(*(connections.run(partial(sleep, seconds=0.05)) for _ in range(3)))
    running = [asyncio.create_task(connections.run(partial(sleep, seconds=0.2))) for _ in range(3)]
    await connections.run(process)
    async with asyncio.timeout(10):
        await connections.close()
        assert await asyncio.gather(*running) == [1] * 3


async def test_none_is_left_of_a_database_that_cannot_be_opened(dsn: str) -> None:
    """When PostgreSQL grants some of the connections that are opened at first, and no more, those are closed."""
    role = f"limited_{uuid4().hex}"
    administrator = await asyncpg.connect(dsn)
    try:
        await administrator.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        limited = urlsplit(dsn)._replace(netloc=f"{role}@")
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await db.database.connect(limited.geturl(), pool_size=20, timeout_seconds=10)
        async with asyncio.timeout(30):
            left = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
            while await administrator.fetchval(left, role):  # noqa: ASYNC110 - PostgreSQL sets no event
                await asyncio.sleep(0.01)
    finally:
        await administrator.execute(f"DROP ROLE {role}")
        await administrator.close()


async def test_of_few_none_is_kept(dsn: str) -> None:
    """Whoever has one connection can hold it: no statement has kept it."""
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=10)
    assert len(await database.rows("SELECT 1")) == 1
    async with asyncio.timeout(10), database.pool.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_closing_waits_for_nobody(connections: ConnectionPool) -> None:
    """A connection that is never given back is ended with the others."""
    held = await connections.pool.acquire()
    async with asyncio.timeout(30):
        await connections.close()
    with pytest.raises(asyncpg.InterfaceError):
        await held.execute("SELECT 1")
