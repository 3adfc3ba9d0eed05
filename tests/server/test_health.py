"""/readyz: 503 with a reason while requests cannot be served; the log has a line only when that changes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import db.database
from db.database import Database
from server.process.settings import Settings
from tests.api import Api, serving
from tests.gate import Gate
from tests.log import serving_logged

FULL = """
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
END $$;
CREATE TRIGGER fill BEFORE INSERT ON wallets FOR EACH ROW EXECUTE FUNCTION fill()"""


async def readiness(api: Api) -> tuple[int, str]:
    response = await api.client.get("/readyz")
    return response.status_code, response.json()["status"]


async def until_ready(api: Api) -> None:
    async with asyncio.timeout(30):
        while await readiness(api) != (200, "ok"):  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)


async def test_a_read_only_database_is_not_ready(dsn: str, settings: Settings, database: Database) -> None:
    """A read-only database is not ready, and ready once it is writable again."""
    name = await database.pool.fetchval("SELECT current_database()")
    await database.pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with serving(dsn, settings) as api:
        assert await readiness(api) == (503, "The database is read-only.")
        await database.pool.execute(
            f"SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only"
        )
        await until_ready(api)


async def test_a_full_disk_is_not_ready(api: Api, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While writes fail because the disk is full, the server is not ready; it tries again after a while."""
    await database.pool.execute(FULL)
    response = await api.post("mutation { registerUser(input: {}) { __typename } }", subject="ann")
    assert response["errors"][0]["extensions"]["code"] == "RETRY"
    assert await readiness(api) == (503, "The database's disk is full.")
    monkeypatch.setattr(db.database, "DISK_FULL_SECONDS", 0)
    await api.post("mutation { registerUser(input: {}) { __typename } }", subject="ann")
    assert await readiness(api) == (200, "ok")


async def test_a_server_that_stops_is_not_ready(api: Api) -> None:
    """While the server drains requests and streams, it is not ready."""
    await api.app.state.streams.stop()
    assert await readiness(api) == (503, "The server is stopping.")


async def test_health_checks_share_one_connection(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of simultaneous probes are answered without a rate limit, by one check of the database."""
    begun = 0
    probe = Database.probe
    may_go_on = asyncio.Event()

    async def count(*given: Any) -> Any:
        nonlocal begun
        begun += 1
        await may_go_on.wait()
        return await probe(*given)

    monkeypatch.setattr(Database, "probe", count)
    asking = [asyncio.create_task(readiness(api)) for _ in range(20)]
    await asyncio.sleep(0.1)
    may_go_on.set()
    assert set(await asyncio.gather(*asking)) == {(200, "ok")}
    assert begun == 1
    assert await readiness(api) == (200, "ok")
    assert begun == 2


async def test_a_silent_database_is_not_ready(
    dsn: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database does not answer, each probe still ends; the log has a line per change, and no traceback."""
    monkeypatch.setattr("server.health.READY_SECONDS_MAX", 0.2)
    gate = Gate(dsn, tmp_path)
    await gate.open()
    async with serving_logged(gate.dsn, settings) as (api, log):
        gate.silence()
        for _ in range(3):
            status, reason = await readiness(api)
            assert (status, reason.partition(" for ")[0]) == (503, "The database has not answered")
        gate.heal()
        await until_ready(api)
        lines = log.read()
    gate.shut()
    assert [line["event"] for line in lines if line["logger"] == "server.health"] == ["not_ready", "ready_again"]
    assert [line for line in lines if "exception" in line] == []
