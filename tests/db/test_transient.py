"""Transient faults: each SQLSTATE, raised by a statement, is rerun, reported as to be retried, or raised as it is."""

from collections.abc import AsyncIterator

import asyncpg
import asyncpg.exceptions
import pytest

import db.connection_pool
import db.database
from db.database import Database, RetryLaterError
from db.transient import READ_ONLY, TRANSIENT, transient

# Raises an error for the first calls, as many as `failures`; each call counts, although its transaction is rolled back.
FAILING = """
CREATE SEQUENCE attempts;
CREATE FUNCTION attempt(code text, failures integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('attempts') <= failures THEN
    RAISE EXCEPTION USING ERRCODE = code;
  END IF;
  RETURN pg_backend_pid();
END $$"""
ATTEMPT = "SELECT attempt($1, $2)"
# Of the classes in which others are transient: a rerun meets these again.
LASTING = {"40002", "55000", "55006", "55P02", "55P04", "58P01", "58P02", "58P03"}
CLASSES = ("08", "25P0", "40", "53", "55", "57", "58")


@pytest.fixture
async def failing(dsn: str) -> AsyncIterator[Database]:
    """Run statements, one at a time, that can fail."""
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=30)
    await database.pool.execute(FAILING)
    yield database
    await database.close()


async def attempts(database: Database) -> int:
    return int(await database.pool.fetchval("SELECT last_value FROM attempts"))


def test_each_sqlstate_of_these_classes_is_decided() -> None:
    """Each SQLSTATE that the driver knows, of the classes that tell of the server's state, is transient or lasting."""
    states = {getattr(each, "sqlstate", None) or "" for each in vars(asyncpg.exceptions).values()}
    known = {state for state in states if state.startswith(CLASSES)} - {"25P01", "25P02"}
    assert known == {state for state in TRANSIENT if state.startswith(CLASSES)} | LASTING


@pytest.mark.parametrize("code", [code for code, fault in TRANSIENT.items() if fault.rerun_seconds > 0])
async def test_a_rerun_answers(failing: Database, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The statement is run again, on another connection where the first one is of no more use."""
    monkeypatch.setattr(db.connection_pool, "READ_ONLY_SECONDS_MAX", 0)
    (before,) = await failing.rows("SELECT pg_backend_pid() AS pid")
    (after,) = await failing.rows(ATTEMPT, code, 2)
    assert await attempts(failing) == 3
    assert (before["pid"] != after["attempt"]) is TRANSIENT[code].drops_connection


@pytest.mark.parametrize("code", [code for code, fault in TRANSIENT.items() if fault.rerun_seconds == 0])
async def test_what_no_rerun_helps_is_to_be_retried_later(failing: Database, code: str) -> None:
    """Where nothing will be better soon, the client learns so at once."""
    with pytest.raises(RetryLaterError):
        await failing.rows(ATTEMPT, code, 1)
    assert await attempts(failing) == 1
    assert await failing.rows(ATTEMPT, code, 1)


@pytest.mark.parametrize("code", sorted({*LASTING, "22012", "25P02", "42501", "54001", "XX000", "XX001", "XX002"}))
async def test_what_a_rerun_would_meet_again_is_raised(failing: Database, code: str) -> None:
    """A fault of the statement, the tables or PostgreSQL itself is raised as it is, after one attempt."""
    with pytest.raises(asyncpg.PostgresError) as raised:
        await failing.rows(ATTEMPT, code, 9)
    assert raised.value.sqlstate == code
    assert await attempts(failing) == 1


async def test_a_server_that_stays_read_only_is_given_up(failing: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that is refused again and again ends long before the request's deadline, and the next one is tried."""
    monkeypatch.setitem(TRANSIENT, READ_ONLY, TRANSIENT[READ_ONLY]._replace(rerun_seconds=0.1))
    with pytest.raises(RetryLaterError) as raised:
        await failing.rows(ATTEMPT, READ_ONLY, 1_000_000)
    assert isinstance(raised.value.__cause__, asyncpg.ReadOnlySQLTransactionError)
    assert await attempts(failing) > 1


async def test_a_full_disk_is_remembered(failing: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the disk is full is known for a while after the last statement that found it so."""
    assert not failing.is_disk_full
    with pytest.raises(RetryLaterError):
        await failing.rows(ATTEMPT, "53100", 1)
    assert failing.is_disk_full
    monkeypatch.setattr(db.database, "DISK_FULL_SECONDS", 0)
    with pytest.raises(RetryLaterError):
        await failing.rows(ATTEMPT, "53100", 2)
    assert not failing.is_disk_full


@pytest.mark.parametrize("dsn_part", ["?target_session_attrs=standby", "/no_such_database?", "//nobody@"])
async def test_no_connection_is_to_be_had(dsn: str, dsn_part: str) -> None:
    """Whatever keeps a pool from connecting, once it has, is to be retried: no suitable host, no database, no role."""
    refused = {
        "?target_session_attrs=standby": dsn + "&target_session_attrs=standby",
        "/no_such_database?": dsn.replace("/test_", "/no_such_"),
        "//nobody@": dsn.replace("//videocredits@", "//nobody@"),
    }[dsn_part]
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=0.5)
    async with database.pool.acquire() as connection:
        connection.terminate()
    database.pool.set_connect_args(refused)
    with pytest.raises(RetryLaterError) as raised:
        await database.rows("SELECT 1")
    assert isinstance(raised.value.__cause__, ConnectionError)
    await database.close()


def test_errors_of_the_program_are_not_transient() -> None:
    """Only what PostgreSQL or the system reports is run again."""
    assert transient(ValueError()) is None
    assert transient(asyncpg.InterfaceError("wrong use")) is None
    assert transient(ConnectionResetError()) is not None
