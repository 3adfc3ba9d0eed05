"""A PostgreSQL of the tests' own, and a database in it for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

import db.change_feed
import db.database
from db.database import Database
from db.migrate import migrate
from server.postgres.embedded import embedded_postgres
from server.process.settings import Settings
from tests.api import SECRET, Api, Transport, serving
from tests.gate import Gate


class NewDatabase(Protocol):
    """Makes a database that is empty, and drops it when the test is over; answers its DSN."""

    async def __call__(self, options: str = "STRATEGY file_copy") -> str: ...


@pytest.fixture(scope="session")
def cluster_dsn() -> Iterator[str]:
    """Lead a superuser to a PostgreSQL that lasts as long as the tests do, and so never waits for the disk."""
    settings = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}
    with TemporaryDirectory(dir=_memory()) as directory, embedded_postgres(Path(directory), settings=settings) as dsn:
        yield dsn


def _memory() -> str | None:
    """Find room in memory, if there is enough: there a database is cloned in a tenth of the time."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and disk_usage(shared).free > 2 * 2**30 else None


@pytest.fixture
async def new_database(cluster_dsn: str) -> AsyncIterator[NewDatabase]:
    administrator = await asyncpg.connect(cluster_dsn)
    names: list[str] = []

    async def create(options: str = "STRATEGY file_copy") -> str:
        name = f"test_{uuid4().hex}"
        await administrator.execute(f"CREATE DATABASE {name} {options}")
        names.append(name)
        return urlsplit(cluster_dsn)._replace(path=f"/{name}").geturl()

    yield create
    for name in names:
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await administrator.close()


@pytest.fixture(scope="session")
def template(cluster_dsn: str) -> str:
    """Name a migrated database to clone: a test's own takes 20 ms instead of a migration."""
    name = "template_of_tests"

    async def make() -> None:
        administrator = await asyncpg.connect(cluster_dsn)
        await administrator.execute(f"CREATE DATABASE {name}")
        await administrator.close()
        await migrate(urlsplit(cluster_dsn)._replace(path=f"/{name}").geturl())

    asyncio.run(make())
    return name


@pytest.fixture
async def dsn(template: str, new_database: NewDatabase) -> str:
    """Lead a superuser to a migrated database of the test's own."""
    return await new_database(f"TEMPLATE {template} STRATEGY file_copy")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Run statements on the test's own database, up to 60 at once."""
    opened = await db.database.connect(dsn, pool_size=60, timeout_seconds=60)
    yield opened
    await opened.close()


@pytest.fixture
def settings() -> Settings:
    """Set what the application under test is started with; a test may parametrize it."""
    return Settings(
        jwt_secret=SECRET,
        database_pool_size=60,
        request_timeout_seconds=60,
        rate_limit_per_identity=None,
        rate_limit_per_address=None,
        log_level="warning",
    )


@pytest.fixture
def hardly_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have change feeds poll when they are connected, and never again: what is told then, a notice has told."""
    monkeypatch.setattr(db.change_feed, "POLL_SECONDS", 3600)


@pytest.fixture(params=["fast path", "ASGI"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a test run by the fast path, where that takes its requests, and by ASGI alone."""
    monkeypatch.setattr(Transport, "by_asgi_alone", request.param == "ASGI")


@pytest.fixture
async def api(dsn: str, settings: Settings) -> AsyncIterator[Api]:
    """Call the API over HTTP, on the test's own database."""
    async with serving(dsn, settings) as opened:
        yield opened


@pytest.fixture
async def gate(dsn: str, tmp_path: Path) -> AsyncIterator[Gate]:
    """Lead to the test's own database through a gate, which is open at first."""
    gate = Gate(dsn, tmp_path)
    await gate.open()
    yield gate
    gate.shut()
