"""One PostgreSQL for the whole run (one per process with pytest-xdist), and one database per test."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import pytest

import db.change_feed
import db.database
import db.migrate
from db.database import Database
from server.postgres.embedded import embedded_postgres
from server.process.settings import Settings
from tests.api import SECRET, Api, Transport, serving
from tests.gate import Gate


class NewDatabase(Protocol):
    """Creates an empty database, which is dropped after the test, and returns its DSN."""

    async def __call__(self, options: str = "STRATEGY file_copy") -> str: ...


@pytest.fixture(scope="session")
def cluster_dsn() -> Iterator[str]:
    """Start PostgreSQL for the session and yield a superuser's DSN; fsync is off, since its data may be lost."""
    settings = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}
    with (
        TemporaryDirectory(dir=_memory_directory()) as directory,
        embedded_postgres(Path(directory), settings=settings) as dsn,
    ):
        yield dsn


def _memory_directory() -> str | None:
    """Return a directory in memory with enough room: cloning a database there takes a tenth of the time."""
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() and disk_usage(shared).free > 2 * 2**30 else None


@pytest.fixture(scope="session")
def cluster_postmaster(cluster_dsn: str) -> int:
    """Return the process that accepts connections to the tests' PostgreSQL."""
    (directory,) = parse_qs(urlsplit(cluster_dsn).query)["host"]
    return int((Path(directory) / "postmaster.pid").read_text().split()[0])


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
    """Migrate a database that tests clone, which takes 20 ms instead of a migration, and return its name."""
    name = "template_of_tests"

    async def make() -> None:
        administrator = await asyncpg.connect(cluster_dsn)
        await administrator.execute(f"CREATE DATABASE {name}")
        await administrator.close()
        await db.migrate.migrate(urlsplit(cluster_dsn)._replace(path=f"/{name}").geturl())

    asyncio.run(make())
    return name


@pytest.fixture
async def dsn(template: str, new_database: NewDatabase) -> str:
    """Clone a migrated database for the test and return a superuser's DSN."""
    return await new_database(f"TEMPLATE {template} STRATEGY file_copy")


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """Connect to the test's database with a pool large enough for 50 simultaneous calls of one user."""
    opened = await db.database.connect(dsn, pool_size=210, timeout_seconds=60)
    yield opened
    await opened.close()


@pytest.fixture
def settings() -> Settings:
    """Return the settings of the application under test; a test may override this fixture."""
    return Settings(
        jwt_secret=SECRET,
        database_pool_size=60,
        request_timeout_seconds=60,
        rate_limit_per_identity=None,
        rate_limit_per_address=None,
        log_level="warning",
    )


@pytest.fixture
def without_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a change feed poll only when it connects, so that later changes arrive by NOTIFY."""
    monkeypatch.setattr(db.change_feed, "POLL_SECONDS", 3600)


@pytest.fixture(params=["fast path", "ASGI"])
def fast_path_and_asgi(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice: with the fast path, and with ASGI only."""
    monkeypatch.setattr(Transport, "asgi_only", request.param == "ASGI")


@pytest.fixture
async def api(dsn: str, settings: Settings) -> AsyncIterator[Api]:
    """Serve the test's database and return a client of its HTTP API."""
    async with serving(dsn, settings) as opened:
        yield opened


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Have this code ship one more revision, made of the given SQL."""

    def ship(sql: str, oldest_code: str | None = None) -> None:
        migrations = tmp_path / "100% migrations"
        shutil.copytree(db.migrate.MIGRATIONS, migrations)
        newest = db.migrate.shipped_revisions()[-1]
        revision = f"{int(newest) + 1:04}"
        (migrations / "versions" / f"{revision}_more.sql").write_text(sql)
        (migrations / "versions" / f"{revision}_more.py").write_text(
            "from db.migrate import run_sql_beside\n"
            f"revision, down_revision, oldest_code = {revision!r}, {newest!r}, {oldest_code or newest!r}\n"
            "def upgrade():\n    run_sql_beside(__file__)\n"
        )
        monkeypatch.setattr(db.migrate, "MIGRATIONS", migrations)

    return ship


@pytest.fixture
async def gate(dsn: str, tmp_path: Path) -> AsyncIterator[Gate]:
    """Put a gate, initially open, between the test and its database."""
    gate = Gate(dsn, tmp_path)
    await gate.open()
    yield gate
    gate.shut()
