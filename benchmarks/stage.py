"""What runs while a benchmark does: a filled database and the server; and how much processor time each has used."""

import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from random import getrandbits
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import click

import db.database
import db.user
from benchmarks.cases import CREATIONS_MAX, SCRIPT, STORAGE_MAX, Varying
from db.database import SESSION_SETTINGS
from db.migrate import migrate
from resolvers.identity import Identity, Role
from server.auth.tokens import mint_token
from server.postgres.embedded import embedded_postgres
from server.process.settings import PREFIX, Settings

SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")

OURS = "videocredits"
COMMAND = (sys.executable, "-c", "from server.cli import main; main()", "serve")
POOL_SIZE = 20  # Connections to the database that each server may have: our default.

Call = dict[Varying, Any]


class Stage(NamedTuple):
    """What runs while the benchmark does, and how hard it is driven."""

    directory: Path
    dsn: str
    postgres_pid: int
    server: str  # which one is driven: OURS, or a peer
    server_pid: int
    port: int
    jwt_secret: str
    identities: tuple[Identity, ...]  # Connections have them in turn.
    connections: int
    video_count: int
    seconds: float  # How long one run takes.

    def identity(self, connection: int) -> Identity:
        """Return the user of a connection."""
        return self.identities[connection % len(self.identities)]

    def numbers(self, connection: int) -> Iterator[int]:
        """Yield numbers, which no other connection has, until the time is up; the videos of each are its user's."""
        deadline = time.time() + self.seconds
        for n in count(connection, max(self.connections, len(self.identities))):
            yield n
            if time.time() > deadline:
                return

    def calls(self, run: str, connection: int) -> Iterator[Call]:
        """Yield what varies in a connection's calls; ``run`` makes its keys differ from all other runs'."""
        user_id = self.identity(connection).user_id
        for n in self.numbers(connection):
            passes, number = divmod(n, self.video_count)
            video_id = UUID(f"{number:032}")
            name = key(run, n)
            varying = (
                user_id,
                video_id,
                name,
                passes + 1,
                getrandbits(63),
                json.dumps({"name": name, "caption_json": name}),
            )
            yield dict(zip(Varying, varying, strict=True))

    def token(self, identity: Identity, role: Role = Role.USER) -> str:
        """Sign a token for somebody, that is good for as long as any benchmark takes."""
        settings = Settings()
        return mint_token(
            self.jwt_secret,
            role=role,
            subject=identity.subject,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            role_claim=settings.role_claim,
            expires_in_seconds=3600,
        )

    def cpu(self) -> tuple[float, float]:
        """Return how many seconds the server, and how many PostgreSQL with all its processes, has run so far."""
        postmaster = Path(f"/proc/{self.postgres_pid}")
        children = (postmaster / f"task/{self.postgres_pid}/children").read_text().split()
        postgres = [cpu_seconds(pid) for pid in (self.postgres_pid, *map(int, children))]
        # What those have run that have ended since: vacuuming, and connections that were closed.
        ended = sum(map(int, (postmaster / "stat").read_text().rpartition(") ")[2].split()[13:15]))
        return cpu_seconds(self.server_pid), sum(postgres) + ended / os.sysconf("SC_CLK_TCK")

    def waited_seconds(self) -> float:
        """Return how many seconds the server has been ready to run, so far, while others had the processors."""
        return int(Path(f"/proc/{self.server_pid}/schedstat").read_text().split()[1]) / 1e9

    async def conditions(self) -> str:
        """Describe in three lines what was measured on."""
        connection = await asyncpg.connect(self.dsn)
        shown = ", ".join([f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in SHOWN])
        version = await connection.fetchval("SHOW server_version")
        await connection.close()
        session = ", ".join(f"{name} {value}" for name, value in SESSION_SETTINGS.items())
        return (
            f"PostgreSQL {version}, embedded, through its socket: {shown}; of every client: {session}.\n"
            f"Python {platform.python_version()}, {' '.join(platform.python_build())}, {platform.python_compiler()}.\n"
            f"All of it on {os.cpu_count()} processors; load average before it {os.getloadavg()[0]:.1f}."
        )


def key(run: str, n: int) -> str:
    """Name a call; all of a run's names are equally long, so that its requests are."""
    return f"{run}-{n:09}"


def resident_mib(pid: int) -> float:
    """Return how much memory a process has."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return how long a process has run; schedstat has nanoseconds, stat only hundredths of a second."""
    with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    return 0.0


@contextmanager
def staged(
    identities: tuple[Identity, ...],
    video_count: int,
    seconds: float,
    *,
    postgres: dict[str, str] | None = None,
) -> Iterator[Stage]:
    """Run a PostgreSQL of its own, filled, and the server as its command does, without rate limits."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="videocredits-benchmark-")))
        dsn = stack.enter_context(embedded_postgres(directory / "data", settings=postgres or {}))
        postgres_pid = int((directory / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
        asyncio.run(_fill(dsn, identities, video_count))
        how = (token_urlsafe(48), identities, len(identities), video_count, seconds)
        yield stack.enter_context(served(Stage(directory, dsn, postgres_pid, OURS, 0, 0, *how)))


@contextmanager
def served(stage: Stage) -> Iterator[Stage]:
    """Run the server as its command does, on the stage's database; yield the stage with it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {f"{PREFIX}RATE_LIMIT_PER_IDENTITY": "off", f"{PREFIX}RATE_LIMIT_PER_ADDRESS": "off"}
    environment |= {f"{PREFIX}CREATIONS_PER_DAY_MAX": str(CREATIONS_MAX)}
    environment |= {f"{PREFIX}STORAGE_BYTES_PER_USER_MAX": str(STORAGE_MAX)}
    environment |= {f"{PREFIX}DATABASE_URL": stage.dsn, f"{PREFIX}JWT_SECRET": stage.jwt_secret, f"{PREFIX}PORT": "0"}
    with running(stage, OURS, COMMAND, environment) as running_stage:
        yield running_stage


@contextmanager
def running(stage: Stage, name: str, command: Sequence[str], environment: dict[str, str]) -> Iterator[Stage]:
    """Run a server that prints its address in its first line; yield the stage with it."""
    log = stage.directory / f"{name}.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            address = re.search(r":(\d+)/graphql", process.stdout.readline() if process.stdout else "")
            if address is None:
                raise click.ClickException(f"{name} did not start: {log.read_text()}")
            yield stage._replace(server=name, server_pid=process.pid, port=int(address[1]))
        finally:
            process.terminate()


def first_answer_seconds(stage: Stage) -> float:
    """Start the server once more on the stage's database; return how long it took until it had answered a query."""
    begin = time.monotonic()
    with served(stage) as again:
        request = urllib.request.Request(
            f"http://127.0.0.1:{again.port}/graphql",
            json.dumps({"query": "{ viewer { credits } }"}).encode(),
            {"Authorization": f"Bearer {again.token(again.identities[0])}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            assert json.load(response)["data"]["viewer"]
        return time.monotonic() - begin


async def _fill(dsn: str, identities: Sequence[Identity], video_count: int) -> None:
    """Make the tables; for each connection a rich user with many videos; and many users with a video each.

    The latter are never called. They are there because PostgreSQL plans otherwise when a table has few users.
    """
    await migrate(dsn)
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=300)
    for each in identities:
        await db.user.register_user(
            database,
            each.user_id,
            each.subject,
            profile={},
            signup_credits=1_000_000_000,
            actor=each.actor,
        )
    await database.pool.execute(
        "WITH other AS ("
        "INSERT INTO wallets SELECT gen_random_uuid() FROM generate_series(1, 20000) RETURNING wallet_id) "
        "INSERT INTO users (user_id, subject, request_id, request_ids) "
        "SELECT wallet_id, 'other-' || wallet_id, 0, '{0}' FROM other"
    )
    new_videos = "INSERT INTO video_data (wallet_id, user_id, id, idempotency_key, title, video_style, cost) "
    await database.pool.execute(
        f"{new_videos} SELECT owner, owner, lpad(n::text, 32, '0')::uuid, n, 'Whales', 'realistic', 1 "
        "FROM generate_series(0, $2 - 1) AS n "
        "CROSS JOIN LATERAL (SELECT ($1::uuid[])[n % cardinality($1) + 1] AS owner)",
        *([each.user_id for each in identities], video_count),
    )
    await database.pool.execute(
        f"{new_videos} SELECT user_id, user_id, uuidv7(), 'a key', 'Whales', 'realistic', 1 FROM users"
    )
    await database.pool.execute(
        "INSERT INTO video_contents (wallet_id, video_id, script) SELECT wallet_id, id, $1 FROM video_data", SCRIPT
    )
    await database.pool.execute("VACUUM ANALYZE wallets, users, video_data, video_contents")
    await database.close()
