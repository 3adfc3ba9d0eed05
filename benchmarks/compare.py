"""Measure this checkout beside another, such as the commit before a change, in one run."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import asyncpg
import click

from benchmarks.cases import COMPARED
from benchmarks.runs import Result, Runner
from benchmarks.stage import OURS, Stage, staged
from resolvers.identity import Identity, Role

CALLERS = 32
CALLS_PER_SECOND_MAX = 64_000
OTHER = "the other"

# Run by the other checkout's Python: its code fills a database for its server, tells where both are, and waits.
_STAGE = """
import json, sys
from benchmarks.stage import staged
from resolvers.identity import Identity, Role
subjects, videos, seconds = json.loads(sys.argv[1])
with staged(tuple(Identity(each, Role.USER) for each in subjects), videos, seconds) as stage:
    print("staged", json.dumps([str(stage.directory), *stage[1:7]]), flush=True)
    sys.stdin.read()
"""


@click.command()
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(1, 60), help="How long one run takes.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1, 100), help="Their medians are shown.")
def compare(checkout: Path, seconds: int, rounds: int) -> None:
    """Measure this checkout beside another CHECKOUT, which has a .venv of its own: the ratio of each operation."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(CALLERS))
    videos = CALLS_PER_SECOND_MAX * seconds // CALLERS * CALLERS
    with (
        staged(identities, videos, seconds) as ours,
        _staged_by(checkout, ours) as other,
        ProcessPoolExecutor(1, get_context("spawn")) as generator,
    ):
        asyncio.run(_measure({OURS: ours, OTHER: other}, generator, rounds))


@contextmanager
def _staged_by(checkout: Path, ours: Stage) -> Iterator[Stage]:
    given = json.dumps([[each.subject for each in ours.identities], ours.video_count, ours.seconds])
    command = [str((checkout / ".venv/bin/python").absolute()), "-c", _STAGE, given]
    with subprocess.Popen(command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("staged "):
                directory, dsn, postgres_pid, server, server_pid, port, secret = json.loads(
                    line.removeprefix("staged ")
                )
                yield ours._replace(
                    directory=Path(directory),
                    dsn=dsn,
                    postgres_pid=postgres_pid,
                    server=server,
                    server_pid=server_pid,
                    port=port,
                    jwt_secret=secret,
                )
                process.stdin.close()
                return
        raise click.ClickException(f"{checkout} did not start.")


async def _measure(stages: dict[str, Stage], generator: ProcessPoolExecutor, rounds: int) -> None:
    runners = {name: Runner(await asyncpg.connect(stage.dsn), generator) for name, stage in stages.items()}
    results: dict[str, list[tuple[Result, Result]]] = {case.name: [] for case in COMPARED}
    steps = [(number, case) for number in range(rounds + 1) for case in COMPARED]
    with click.progressbar(steps, label="Measuring", file=sys.stderr) as progress:
        for number, case in progress:
            found = {}
            for name in (OURS, OTHER) if number % 2 else (OTHER, OURS):
                run = re.sub(r"\W+", "-", f"{number}-{name}-{case.name}")
                found[name] = await runners[name].run(stages[name], case, name, run)
            if number:  # The first round warms up.
                results[case.name].append((found[OURS], found[OTHER]))
    for runner in runners.values():
        await runner.verify()
        await runner.connection.close()
    print(
        f"{CALLERS} callers, {rounds} rounds of runs back to back; medians of their ratios, this checkout to the other"
    )
    for name, pairs in results.items():
        rates, latencies, costs = (
            [getattr(ours, figure) / getattr(other, figure) for ours, other in pairs]
            for figure in ("calls_per_second", "p50_milliseconds", "server_microseconds")
        )
        print(
            f"{name:32} calls a second {median(rates):.3f} ({min(rates):.2f} to {max(rates):.2f})   "
            f"p50 {median(latencies):.3f}   server CPU {median(costs):.3f}"
        )
