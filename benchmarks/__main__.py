"""Measure what the server adds to its statements: over HTTP, through bare asyncpg, through pgbench, side by side."""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple
from uuid import UUID

import asyncpg
import click

import benchmarks.pgbench
from benchmarks.cases import CASES, QUICK, Case
from benchmarks.live import live
from benchmarks.load import Answer, drive, ready
from benchmarks.report import PATHS, Result, tables
from benchmarks.stage import Stage, cpu_seconds, staged
from resolvers.identity import Identity, Role

WARM_UP_SECONDS = 1.0  # At a run's begin, when connections are opened and statements planned, nothing is counted;
END_SECONDS = 0.2  # nor at its end, when they are closed.
CALLS_PER_SECOND_MAX = 25_000  # So many videos are made for each second of a run.


@click.group(invoke_without_command=True)
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1, 200), help="How many at once.")
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(2, 60), help="How long one run takes.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="Their medians are shown.")
@click.option("--quick", is_flag=True, help="One round, of the most important calls alone.")
@click.pass_context
def main(context: click.Context, connections: int, seconds: int, rounds: int, *, quick: bool) -> None:
    """Measure mutations and reads: over HTTP, through bare asyncpg, through pgbench. `live` measures subscriptions.

    A PostgreSQL of its own runs in a temporary directory, with the settings that keep data safe. Processor time is read
    from /proc, so this needs Linux.
    """
    if context.invoked_subcommand is not None:
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cases, rounds = (QUICK, 1) if quick else (CASES, rounds)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(connections))
    video_count = CALLS_PER_SECOND_MAX * seconds // connections * connections
    with (
        staged(identities, video_count, seconds, postgres={"max_connections": str(3 * connections + 50)}) as stage,
        ProcessPoolExecutor(1, get_context("spawn")) as generator,
    ):
        asyncio.run(_measure(stage, generator, cases, rounds))


async def _measure(stage: Stage, generator: ProcessPoolExecutor, cases: Sequence[Case], rounds: int) -> None:
    """Run every case through every path, round by round, and print the tables."""
    conditions = await stage.conditions()
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
    await connection.close()
    print(
        f"{conditions}\n"
        f"{len(stage.identities)} connections, {rounds} interleaved rounds of {stage.seconds} s a run, of which "
        f"{WARM_UP_SECONDS} s at the begin and {END_SECONDS} s at the end are not counted; medians of the rounds.\n"
        f"HTTP is `videocredits serve` with its default settings: one process, keep-alive connections.\n\n"
        f"{tables(results)}"
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
        return Cpu(time.time(), cpu_seconds(load_pid), *stage.cpu())

    await asyncio.sleep(WARM_UP_SECONDS)
    begin = now()
    await asyncio.sleep(stage.seconds - WARM_UP_SECONDS - END_SECONDS)
    return begin, now()


main.add_command(live)

if __name__ == "__main__":
    main()
