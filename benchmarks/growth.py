"""Measure whether the server slows down as tables grow: beside one with few rows, one with very many."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import asyncpg
import click

from benchmarks.cases import ADJUST, CASES, CREATE, ENTRIES, Case
from benchmarks.report import CPU_SHARES, Goal, cpu_shares, goal_table, middle, ratios, table
from benchmarks.runs import Result, Runner
from benchmarks.stage import OURS, Stage, staged
from resolvers.identity import Identity, Role

CONNECTIONS, CALLERS_OF_ONE_USER = 32, 64
SECONDS = 1.5  # How long one run takes.
VIDEOS = 16_000  # that are called; the largest number of calls in a run
VIDEOS_OF_EACH = 1_000
USERS_AT_ONCE = 200
FEW = 10_000

# Users who were given credits and have spent them all on videos. Every invariant holds of them.
_GROW = """
WITH owner AS (
  INSERT INTO wallets (wallet_id, entry_count, version)
  SELECT gen_random_uuid(), $3 + 1, $3 + 1 FROM generate_series($1::integer, $2)
  RETURNING wallet_id
), registered AS (
  INSERT INTO users (user_id, subject, request_id, request_ids)
  SELECT wallet_id, 'grown-' || wallet_id, 0, '{0}' FROM owner
), video AS (
  INSERT INTO video_data (wallet_id, user_id, idempotency_key, title, video_style, cost)
  SELECT wallet_id, wallet_id, n, 'Whales', 'realistic', 1 FROM owner CROSS JOIN generate_series(1, $3::integer) AS n
  RETURNING wallet_id, id, idempotency_key::integer AS n
), content AS (
  INSERT INTO video_contents (wallet_id, video_id, script) SELECT wallet_id, id, 'Whales sing.' FROM video
), signup AS (
  INSERT INTO credit_entries (wallet_id, number, kind, amount, balance_after, user_id, actor)
  SELECT wallet_id, 1, 'SIGNUP', $3, $3, wallet_id, 'USER:grown' FROM owner
), charge AS (
  INSERT INTO credit_entries (
    wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, idempotency_key, request_hash, actor
  )
  SELECT wallet_id, n + 1, 'CHARGE', -1, $3 - n, wallet_id, id, 1, n, sha256(''), 'USER:grown' FROM video
)
INSERT INTO video_events (wallet_id, video_id, number, status, attempt, actor)
SELECT wallet_id, id, 1, 'QUEUED', 1, 'USER:grown' FROM video
"""
_GROW_LEDGER = """
WITH wallet AS (
  UPDATE wallets SET
    credits = credits + $2, entry_count = entry_count + $2, version = version + $2, first_purchased_at = now()
  WHERE wallet_id = $1
  RETURNING old.credits AS credits, old.entry_count AS entry_count
)
INSERT INTO credit_entries (
  wallet_id, number, kind, amount, balance_after, user_id, idempotency_key, request_hash, actor
)
SELECT $1, entry_count + n, 'PURCHASE', 1, credits + n, $1, 'grown-' || n, sha256(''), 'ADMIN:grown'
FROM wallet CROSS JOIN generate_series(1, $2::integer) AS n
"""


@click.command()
@click.option("--videos", default=10_000_000, show_default=True, type=click.IntRange(FEW), help="How many there are.")
@click.option(
    "--entries", default=1_000_000, show_default=True, type=click.IntRange(FEW), help="How many one user has."
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Their medians are shown.")
def growth(videos: int, entries: int, rounds: int) -> None:
    """Measure growth: every operation beside many videos and a long ledger, against few of either.

    Needs about 20 GB in the temporary directory, and some minutes to fill the tables. Either size has a PostgreSQL of
    its own, with the settings that keep data safe.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(CONNECTIONS))
    with (
        staged(identities, VIDEOS, SECONDS) as few,
        staged(identities, VIDEOS, SECONDS, postgres={"max_wal_size": "4GB"}) as many,
        ProcessPoolExecutor(1, get_context("spawn")) as generator,
    ):
        asyncio.run(_measure((few, many), generator, ((FEW, FEW), (videos, entries)), rounds))


async def _measure(
    stages: tuple[Stage, Stage], generator: ProcessPoolExecutor, sizes: Sequence[tuple[int, int]], rounds: int
) -> None:
    for stage, (videos, entries) in zip(stages, sizes, strict=True):
        await _grow(stage, videos, entries)
    runners = [Runner(await asyncpg.connect(stage.dsn), generator) for stage in stages]
    groups = [(case, "", CONNECTIONS, CONNECTIONS) for case in CASES]
    groups += [(case, ", the long ledger", 1, CALLERS_OF_ONE_USER) for case in (CREATE, ADJUST, ENTRIES)]
    results: dict[str, tuple[list[Result], list[Result]]] = {case.name + what: ([], []) for case, what, *_ in groups}
    steps = [
        (number, group, which)
        for number in range(rounds + 1)  # The first warms up, and is not shown.
        for group in groups
        for which in ((0, 1) if number % 2 else (1, 0))
    ]
    with click.progressbar(steps, label="Measuring", file=sys.stderr, item_show_func=_step) as progress:
        for number, (case, what, users, connections), which in progress:
            stage = stages[which]
            stage = stage._replace(identities=stage.identities[:users], connections=connections)
            run = re.sub(r"\W+", "-", f"{number}-{case.name}{what}")
            result = await runners[which].run(stage, case, OURS, run)
            if number:
                results[case.name + what][which].append(result)
    for runner in runners:
        click.echo("Verifying the ledger", err=True)
        await runner.verify()
        await runner.connection.close()
    print(
        f"{await stages[1].conditions()}\n"
        f"{rounds} interleaved rounds of runs of {SECONDS} s, with {CONNECTIONS} connections, "
        f"{CALLERS_OF_ONE_USER} of one user for the long ledger; requests a second beside\n"
        + " against ".join(f"{videos:,} videos and a user with {entries:,} entries" for videos, entries in sizes[::-1])
        + f", beyond the {VIDEOS:,} videos that are called.\n"
    )
    shares = [[name, *(cpu_shares(middle(each)) for each in pair)] for name, pair in results.items()]
    print(table([CPU_SHARES, "few", "many"], shares))
    print(goal_table([Goal(name, 0.9, 1, ratios(many, few)) for name, (few, many) in results.items()]))


def _step(step: tuple[int, tuple[Case, str, int, int], int] | None) -> str | None:
    return step and f"round {step[0]}: {step[1][0].name}{step[1][1]}, {('few', 'many')[step[2]]}"


async def _grow(stage: Stage, videos: int, entries: int) -> None:
    """Add videos with all that belongs to them, and entries to the first user's ledger; then have them analysed."""
    begin = time.monotonic()
    chunks = iter(range(0, videos // VIDEOS_OF_EACH, USERS_AT_ONCE))

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        connection = await asyncpg.connect(stage.dsn)
        # Triggers and foreign keys would take hours; the ledger is verified in the end.
        await connection.execute("SET session_replication_role = replica")
        return connection

    async def add() -> None:
        connection = await connect()
        for first in chunks:
            last = min(first + USERS_AT_ONCE, videos // VIDEOS_OF_EACH) - 1
            await connection.execute(_GROW, first, last, VIDEOS_OF_EACH)
            progress.update((last - first + 1) * VIDEOS_OF_EACH)
        await connection.close()

    with click.progressbar(length=videos, label=f"Adding {videos:,} videos", file=sys.stderr) as progress:
        await asyncio.gather(*(add() for _ in range(os.cpu_count() or 1)))
    connection = await connect()
    await connection.execute(_GROW_LEDGER, stage.identities[0].user_id, entries)
    for name in ("wallets", "users", "video_data", "video_contents", "credit_entries", "video_events"):
        await connection.execute(f"VACUUM ANALYZE {name}")
    await connection.execute("CHECKPOINT")
    await connection.close()
    click.echo(f"Added in {time.monotonic() - begin:.0f} s.", err=True)
