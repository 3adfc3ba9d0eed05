"""Frozen backends, postmasters and networks: dead connections are given up, and no wait is without an end."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import asyncpg
import pytest

import db.database
from db.connection_pool import open_connection
from db.database import Database, RetryLaterError
from tests.gate import Gate
from tests.race import Account, blocked, check_verified

BACKENDS = """SELECT array_agg(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = 'videocredits'"""


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Have processes do nothing while the block lasts."""
    pids = list(pids)
    try:
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            _send(pid, signal.SIGCONT)


def _send(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # A backend may end at any time.
        os.kill(pid, what)


@pytest.fixture
async def observer(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


Observer = asyncpg.Connection


async def open_and_use(dsn: str, size: int) -> Database:
    """Open a database whose connections are all open."""
    database = await db.database.connect(dsn, pool_size=size, timeout_seconds=60)
    await asyncio.gather(*(database.rows("SELECT pg_sleep(0.05)") for _ in range(size)))
    return database


@pytest.mark.parametrize("size", [1, 4, 20])
@pytest.mark.parametrize("number", [1, 99])
async def test_frozen_backends_are_replaced(dsn: str, observer: Observer, size: int, number: int) -> None:
    """While one backend or all stay frozen, reads and changes are answered, each change is made once."""
    database = await open_and_use(dsn, size)
    account = await Account.open(database, 100)
    with frozen((await observer.fetchval(BACKENDS))[:number]):
        async with asyncio.timeout(30):
            await asyncio.gather(*(database.rows("SELECT 1") for _ in range(30)))
            created = await asyncio.gather(*(account.create(str(number)) for number in range(30)))
            assert len(await account.ledger()) == 31
    assert {each.outcome for each in created} <= {"created", "replayed"}
    await database.close()
    await check_verified(dsn)


async def test_a_backend_that_freezes_at_work_is_replaced(dsn: str, observer: Observer) -> None:
    """A statement whose backend freezes is run again on another, and the pool is whole again."""
    database = await open_and_use(dsn, 2)
    sleeping = [asyncio.create_task(database.rows("SELECT pg_sleep(0.3)")) for _ in range(2)]
    await asyncio.sleep(0.1)
    with frozen(await observer.fetchval(BACKENDS)):
        async with asyncio.timeout(30):
            await asyncio.gather(*sleeping)
            await asyncio.gather(*(database.rows("SELECT 1") for _ in range(9)))
    await database.close()


async def test_a_frozen_postmaster_is_waited_for(dsn: str, observer: Observer, cluster_postmaster: int) -> None:
    """Without a postmaster there are no new connections; as soon as it goes on, there are."""
    database = await open_and_use(dsn, 4)
    with frozen([cluster_postmaster]):
        await observer.fetch(f"SELECT pg_terminate_backend(pid) FROM unnest(({BACKENDS})) AS pid")
        reading = asyncio.create_task(database.rows("SELECT 1"))
        await asyncio.wait([reading], timeout=0.2)
        assert not reading.done()
    async with asyncio.timeout(30):
        assert len(await reading) == 1
    await database.close()


async def test_a_silent_network_is_found_healed(dsn: str, gate: Gate) -> None:
    """Connections that were lost without a word are replaced as soon as new ones pass."""
    database = await open_and_use(gate.dsn, 4)
    account = await Account.open(database, 10)
    gate.silence()
    while not gate.arrivals.locked():
        await gate.arrivals.acquire()
    calls = [asyncio.create_task(account.create(str(number))) for number in range(10)]
    await gate.arrivals.acquire()
    gate.heal()
    async with asyncio.timeout(30):
        assert {each.outcome for each in await asyncio.gather(*calls)} <= {"created", "replayed"}
        assert len(await account.ledger()) == 11
    await database.close()
    await check_verified(dsn)


async def test_an_attempt_to_connect_is_not_waited_for_alone(gate: Gate) -> None:
    """While an attempt to connect gets no answer, others begin: the first whose turn comes after healing is taken."""
    gate.silence()
    connecting = asyncio.create_task(open_connection(gate.dsn))
    async with asyncio.timeout(30):
        for _ in range(3):
            await gate.arrivals.acquire()
        assert not connecting.done()
        gate.heal()
        connection = await connecting
        assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_connecting_ends(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that nobody answers ends, and so does what prepares a connection."""
    monkeypatch.setattr(db.connection_pool, "POOL_CONNECT_SECONDS_MAX", 0.1)
    async with asyncio.timeout(30):
        with pytest.raises(TimeoutError):
            await open_connection(gate.dsn, lambda connection: connection.execute("SELECT pg_sleep(60)"))
        gate.silence()
        with pytest.raises(TimeoutError):
            await open_connection(gate.dsn)


@pytest.mark.parametrize("size", [1, 4, 20])
async def test_closing_ends_while_postgresql_is_silent(gate: Gate, size: int) -> None:
    """A database that does not answer is closed; whoever waits for an answer, or asks later, is told to retry."""
    database = await open_and_use(gate.dsn, size)
    account = await Account.open(database, 10)
    gate.silence()
    asked = [
        asyncio.create_task(database.rows("SELECT 1")),
        asyncio.create_task(account.create("key")),
        asyncio.create_task(account.user()),
    ]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await database.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {RetryLaterError}
    for late in (account.create("late"), account.user()):
        with pytest.raises(RetryLaterError):
            await late


async def test_closing_does_not_wait_for_a_lock(database: Database, dsn: str) -> None:
    """A change that waits for somebody else's lock is not waited for until its own deadline."""
    account = await Account.open(database, 5)
    closing = await db.database.connect(dsn, pool_size=2, timeout_seconds=600)
    async with account.locked():
        caller = asyncio.create_task(Account(closing, account.user_id).create("key"))
        await blocked(database)
        async with asyncio.timeout(60):
            await closing.close()
            with pytest.raises(RetryLaterError):
                await caller
    assert len(await account.ledger()) == 1


@pytest.mark.parametrize("lost", [Gate.cut, Gate.freeze, Gate.silence])
async def test_nothing_is_raised_that_nobody_hears(
    gate: Gate, lost: Callable[[Gate], None], caplog: pytest.LogCaptureFixture
) -> None:
    """However connections are lost, at work or idle, no task ends in an exception that nobody retrieves."""
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    database = await open_and_use(gate.dsn, 4)
    asked = [asyncio.create_task(database.rows("SELECT pg_sleep(0.2)")) for _ in range(6)]
    await asyncio.sleep(0.1)
    lost(gate)
    asked[0].cancel()
    await asyncio.sleep(0.5)
    gate.heal()
    async with asyncio.timeout(30):
        await asyncio.gather(*asked, return_exceptions=True)
        await database.close()
    del asked
    assert faults == []
    assert [record for record in caplog.records if record.name.startswith("asyncpg") or record.exc_info] == []
