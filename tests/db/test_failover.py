"""Failover behind one address: pools and change feeds leave a server that takes no changes for the one that does."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

import db.database
from db.database import Database, RetryLaterError
from db.migrate import migrate
from server.postgres.embedded import embedded_postgres
from server.process.settings import Settings
from tests.api import Api, serving
from tests.gate import Gate
from tests.live import VIEWER, following
from tests.race import Account

CLUSTER_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Servers(NamedTuple):
    """The DSNs of two servers that had the same data when the standby lost its primary."""

    standby: str
    primary: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    standby, primary = tmp_path_factory.mktemp("standby"), tmp_path_factory.mktemp("primary")
    with embedded_postgres(primary, settings=CLUSTER_SETTINGS) as dsn:
        asyncio.run(migrate(dsn))
    subprocess.run(["cp", "-a", primary / "postgres", standby], check=True)
    (standby / "postgres" / "standby.signal").touch()
    with (
        embedded_postgres(standby, settings=CLUSTER_SETTINGS) as standby_dsn,
        embedded_postgres(primary, settings=CLUSTER_SETTINGS) as primary_dsn,
    ):
        yield Servers(standby_dsn, primary_dsn)


@pytest.fixture
async def address(servers: Servers, tmp_path: Path) -> AsyncIterator[Gate]:
    """Lead to the standby at first."""
    gate = Gate(servers.standby, tmp_path)
    await gate.open()
    yield gate
    gate.shut()


@pytest.mark.parametrize("size", [1, 4, 20])
async def test_changes_and_reads_follow_the_address(address: Gate, servers: Servers, size: int) -> None:
    """A pool that was opened on a standby reads there, and leaves it when the address leads to the primary."""
    database = await db.database.connect(address.dsn, pool_size=size, timeout_seconds=10)
    await asyncio.gather(*(database.rows("SELECT pg_sleep(0.05)") for _ in range(size)))
    with pytest.raises(RetryLaterError):
        await Account.open(database, 5)
    address.lead_to(servers.primary)
    async with asyncio.timeout(30):
        account = await Account.open(database, 5)
        while await in_recovery(database):  # noqa: ASYNC110 - PostgreSQL sets no event
            await asyncio.sleep(0.01)
        assert not any(await asyncio.gather(*(in_recovery(database) for _ in range(30))))
        assert (await account.create("key")).outcome == "created"
    await database.close()


async def in_recovery(database: Database) -> bool:
    (row,) = await database.rows("SELECT pg_is_in_recovery() AS in_recovery")
    return bool(row["in_recovery"])


async def test_readiness_and_live_updates_follow_the_address(
    address: Gate, servers: Servers, settings: Settings
) -> None:
    """/readyz is 503 until the address leads to the primary; then the change feed follows it, too."""
    primary = await db.database.connect(servers.primary, pool_size=2, timeout_seconds=30)
    async with serving(address.dsn, replace(settings, database_pool_size=4)) as api:
        told = await api.client.get("/readyz")
        assert (told.status_code, told.json()["status"].partition(":")[0]) == (503, "The database is in recovery")
        async with following(api.follow(VIEWER)) as viewer:
            await viewer.any()
            address.lead_to(servers.primary)
            async with asyncio.timeout(30):
                await until_ready(api)
                async with serving(servers.primary, settings) as other:
                    await other.register()
                await viewer.until(lambda told: told["user"] is not None)
    await primary.close()


async def until_ready(api: Api) -> None:
    while (await api.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - nothing sets an event
        await asyncio.sleep(0.01)
