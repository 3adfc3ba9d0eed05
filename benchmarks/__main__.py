"""Measure what the server adds to its statements: over HTTP, through bare asyncpg, through pgbench, side by side."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import UUID

import asyncpg
import click

import benchmarks.pgbench
import db.database
import db.user
from benchmarks.cases import CASES, QUICK, SCRIPT, Case
from benchmarks.load import Answer, Stage, drive, ready
from benchmarks.report import PATHS, Result, tables
from db.database import SESSION_SETTINGS
from db.migrate import migrate
from resolvers.identity import Identity, Role
from server.embedded import embedded_postgres
from server.settings import PREFIX

WARM_UP_SECONDS = 1.0  # At a run's begin, when connections are opened and statements planned, nothing is counted;
END_SECONDS = 0.2  # nor at its end, when they are closed.
CALLS_PER_SECOND_MAX = 25_000  # So many videos are made for each second of a run.
SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")


@click.command()
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1, 200), help="How many at once.")
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(2, 60), help="How long one run takes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Their medians are shown.")
@click.option("--quick", is_flag=True, help="One round, of the most important calls alone.")
def main(connections: int, seconds: int, rounds: int, *, quick: bool) -> None:
    """Measure mutations and reads: over HTTP, through bare asyncpg, through pgbench.

    A PostgreSQL of its own runs in a temporary directory, with the settings that keep data safe. Processor time is read
    from /proc, so this needs Linux.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cases, rounds = (QUICK, 1) if quick else (CASES, rounds)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(connections))
    video_count = CALLS_PER_SECOND_MAX * seconds // connections * connections
    jwt_secret = token_urlsafe(48)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="videocredits-benchmark-")))
        settings = {"max_connections": str(3 * connections + 50)}
        dsn = stack.enter_context(embedded_postgres(directory / "data", settings=settings))
        postgres_pid = int((directory / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
        asyncio.run(_fill(dsn, identities, video_count))
        server_pid, port = stack.enter_context(_server(directory, dsn, jwt_secret))
        generator = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        stage = Stage(directory, dsn, postgres_pid, server_pid, port, jwt_secret, identities, video_count, seconds)
        asyncio.run(_measure(stage, generator, cases, rounds))


async def _fill(dsn: str, identities: Sequence[Identity], video_count: int) -> None:
    """Make the tables; for each connection a rich user with many videos; and many users with a video each.

    The latter are never called. They are there because PostgreSQL plans otherwise when a table has few users.
    """
    await migrate(dsn)
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=300)
    for each in identities:
        await db.user.register_user(database, each.user_id, each.subject, None, None, None, 1_000_000_000, each.actor)
    await database.pool.execute(
        "INSERT INTO users (user_id, subject, credits, entry_count) "
        "SELECT gen_random_uuid(), 'other-' || n, 0, 0 FROM generate_series(1, 20000) AS n"
    )
    new_videos = "INSERT INTO video_data (user_id, id, idempotency_key, title, video_style, script, cost) "
    await database.pool.execute(
        f"{new_videos} SELECT ($1::uuid[])[n % cardinality($1) + 1], lpad(n::text, 32, '0')::uuid, n, 'Whales', "
        "'realistic', $3, 1 FROM generate_series(0, $2 - 1) AS n",
        *([each.user_id for each in identities], video_count, SCRIPT),
    )
    await database.pool.execute(
        f"{new_videos} SELECT user_id, uuidv7(), 'a key', 'Whales', 'realistic', 'Whales sing.', 1 FROM users"
    )
    await database.pool.execute("VACUUM ANALYZE users, video_data")
    await database.close()


@contextmanager
def _server(directory: Path, dsn: str, jwt_secret: str) -> Iterator[tuple[int, int]]:
    """Run the server as its command does; yield its process id and its port."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {f"{PREFIX}RATE_LIMIT_PER_IDENTITY": "off", f"{PREFIX}RATE_LIMIT_PER_ADDRESS": "off"}
    environment |= {f"{PREFIX}DATABASE_URL": dsn, f"{PREFIX}JWT_SECRET": jwt_secret, f"{PREFIX}PORT": "0"}
    command = [sys.executable, "-c", "from server.cli import main; main()", "serve"]
    log = directory / "server.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            address = re.search(r":(\d+)/graphql", process.stdout.readline() if process.stdout else "")
            if address is None:
                raise click.ClickException(f"The server did not start: {log.read_text()}")
            yield process.pid, int(address[1])
        finally:
            process.terminate()


async def _measure(stage: Stage, generator: ProcessPoolExecutor, cases: Sequence[Case], rounds: int) -> None:
    """Run every case through every path, round by round, and print the tables."""
    load_average = os.getloadavg()[0]
    connection = await asyncpg.connect(stage.dsn)
    versions = "SELECT (SELECT sum(version) FROM users) + (SELECT sum(version) FROM video_data)"
    after = await connection.fetchval(versions)
    results: dict[tuple[str, str], list[Result]] = {(case.name, path): [] for case in cases for path in PATHS}
    steps = [(number, case, path) for number in range(1, rounds + 1) for case in cases for path in PATHS]
    with click.progressbar(steps, label="Measuring", file=sys.stderr, item_show_func=_step) as progress:
        for number, case, path in progress:
            await connection.execute(
                "UPDATE video_data SET status = $1, attempt = attempt + 1, render_progress = 0, queue_number = NULL, "
                "trashed_at = CASE WHEN $2 THEN now() END "
                "WHERE id < $3 AND (status, render_progress, trashed_at IS NOT NULL) IS DISTINCT FROM ($1, 0, $2)",
                *(case.status, case.trashed, UUID(f"{stage.video_count:032}")),
            )
            run = re.sub(r"\W+", "-", f"{number}-{path}-{case.name}")
            if path == "pgbench":
                answers, begin, end = await _run_pgbench(stage, case, run, connection)
            else:
                answers, begin, end = await _run_generator(stage, case, run, generator, http=path == "HTTP")
            before, after = after, await connection.fetchval(versions)
            if after - before != case.raised * len(answers):
                raise click.ClickException(
                    f"{run}: {len(answers)} calls raised versions by {after - before} in all and not by {case.raised} "
                    f"each: some were refused, or {stage.video_count} videos were too few; give fewer --connections."
                )
            results[case.name, path].append(_result(run, answers, begin, end))
    shown = ", ".join([f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in SHOWN])
    session = ", ".join(f"{name} {value}" for name, value in SESSION_SETTINGS.items())
    version = await connection.fetchval("SHOW server_version")
    await connection.close()
    print(
        f"PostgreSQL {version}, embedded, through its socket: {shown}; of every client: {session}.\n"
        f"{len(stage.identities)} connections, {rounds} interleaved rounds of {stage.seconds} s a run, of which "
        f"{WARM_UP_SECONDS} s at the begin and {END_SECONDS} s at the end are not counted; medians of the rounds.\n"
        f"HTTP is `videocredits serve` with its default settings: one process, keep-alive connections.\n"
        f"All of it on {os.cpu_count()} processors; load average before it {load_average:.1f}.\n\n{tables(results)}"
    )


def _step(step: tuple[int, Case, str] | None) -> str | None:
    return step and f"round {step[0]}: {step[1].name}, {step[2]}"


class Cpu(NamedTuple):
    """Processor time used so far, in seconds, at a time."""

    time: float
    load: float
    server: float
    postgres: float


async def _run_pgbench(
    stage: Stage, case: Case, run: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> tuple[list[Answer], Cpu, Cpu]:
    process = await benchmarks.pgbench.start(stage, case, run, connection)
    begin, end = await _counted(stage, process.pid)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    if process.returncode != 0:
        raise click.ClickException(f"pgbench failed: {errors.decode()}")
    return benchmarks.pgbench.answers(stage, run), begin, end


async def _run_generator(
    stage: Stage, case: Case, run: str, generator: ProcessPoolExecutor, *, http: bool
) -> tuple[list[Answer], Cpu, Cpu]:
    pid = await asyncio.wrap_future(generator.submit(ready))
    driven = asyncio.wrap_future(generator.submit(drive, stage, case, run, http=http))
    begin, end = await _counted(stage, pid)
    return await driven, begin, end


def _result(run: str, answers: Sequence[Answer], begin: Cpu, end: Cpu) -> Result:
    milliseconds = sorted(1000 * answer.seconds for answer in answers if begin.time < answer.time <= end.time)
    if not milliseconds:
        raise click.ClickException(f"{run}: nothing was answered in time; give more --seconds.")
    size = len(milliseconds)
    return Result(
        size / (end.time - begin.time),
        milliseconds[size // 2],
        milliseconds[size * 99 // 100],
        *(1e6 * (after - before) / size for before, after in zip(begin[1:], end[1:], strict=True)),
    )


async def _counted(stage: Stage, load_pid: int) -> tuple[Cpu, Cpu]:
    """Let a run pass; tell the processor time at the begin and end of what is counted of it."""

    def now() -> Cpu:
        children = Path(f"/proc/{stage.postgres_pid}/task/{stage.postgres_pid}/children").read_text().split()
        postgres = [_seconds(pid) for pid in (stage.postgres_pid, *map(int, children))]
        return Cpu(time.time(), _seconds(load_pid), _seconds(stage.server_pid), sum(postgres))

    await asyncio.sleep(WARM_UP_SECONDS)
    begin = now()
    await asyncio.sleep(stage.seconds - WARM_UP_SECONDS - END_SECONDS)
    return begin, now()


def _seconds(pid: int) -> float:
    """Return how long a process has run; schedstat tells nanoseconds, where stat counts hundredths of a second."""
    with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    return 0.0


if __name__ == "__main__":
    main()
