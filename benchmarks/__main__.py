"""Measure the server beside others that its users might pick, beside bare asyncpg and beside pgbench, in one run."""

import asyncio
import re
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import asyncpg
import click

from benchmarks.cases import ADJUST, COMPARED, CREATE, Case
from benchmarks.chart import chart
from benchmarks.compare import compare
from benchmarks.growth import growth
from benchmarks.hostile import hostile
from benchmarks.live import live
from benchmarks.load import drive, hold, release
from benchmarks.peers import MERCURIUS, PEERS, started
from benchmarks.report import ALONE, HOT, MANY, SHORT, Goal, Rounds, goal_table, goals, rate, tables
from benchmarks.runs import ASYNCPG, END_SECONDS, PGBENCH, PGBENCH_CLIENTS_MAX, WARM_UP_SECONDS, Result, Runner
from benchmarks.stage import OURS, Stage, first_answer_seconds, resident_mib, staged
from resolvers.identity import Identity, Role

CALLS_PER_SECOND_MAX = 64_000  # of all; of a single caller, who has a user of its own, a 32nd of it
CONNECTIONS, CALLERS_OF_ONE_USER = 32, 64
HELD_CONNECTIONS = 1_000
STARTS = 3
CHART = Path(__file__).parents[1] / "docs" / "benchmark.svg"


class Group(NamedTuple):
    """A case, and the contenders whose runs of it are made back to back in each round."""

    name: str
    case: Case
    contenders: tuple[str, ...]

    def stage(self, stage: Stage) -> Stage:
        """Set the number of connections and their users."""
        if self.name == HOT:
            return stage._replace(identities=stage.identities[:1], connections=CALLERS_OF_ONE_USER)
        return stage._replace(connections=1 if self.name == ALONE else CONNECTIONS)


SERVERS = (OURS, *PEERS)
GROUPS = (
    *(Group(MANY, case, (*SERVERS, ASYNCPG, PGBENCH)) for case in COMPARED),
    *(Group(HOT, case, (OURS, MERCURIUS, PGBENCH)) for case in (CREATE, ADJUST)),
    *(Group(ALONE, case, (OURS, MERCURIUS)) for case in COMPARED),
)
QUICK = tuple(Group(MANY, case, (OURS, MERCURIUS, PGBENCH)) for case in COMPARED)


@click.group(invoke_without_command=True)
@click.option("--seconds", default=2, show_default=True, type=click.IntRange(1, 60), help="How long one run takes.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Their medians are shown.")
@click.option("--quick", is_flag=True, help="One round, of ours, Mercurius and pgbench alone; draws no chart.")
@click.pass_context
def main(context: click.Context, seconds: int, rounds: int, *, quick: bool) -> None:
    """Measure the server beside its peers, bare asyncpg and pgbench. `live` and `growth` measure what they say.

    A PostgreSQL of its own runs in a temporary directory, with the settings that keep data safe. Processor time is read
    from /proc, so this needs Linux.
    """
    if context.invoked_subcommand is not None:
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    groups, rounds = (QUICK, 1) if quick else (GROUPS, rounds)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(CONNECTIONS))
    videos = CALLS_PER_SECOND_MAX * seconds // CONNECTIONS * CONNECTIONS
    with (
        staged(identities, videos, seconds, postgres={"max_connections": "300"}) as stage,
        started(stage, [each for each in PEERS if any(each in group.contenders for group in groups)]) as peers,
        ProcessPoolExecutor(1, get_context("spawn")) as generator,
    ):
        asyncio.run(_measure({OURS: stage, **peers}, generator, groups, rounds, quick=quick))


async def _measure(
    stages: Mapping[str, Stage], generator: ProcessPoolExecutor, groups: tuple[Group, ...], rounds: int, *, quick: bool
) -> None:
    """Run every group, round by round, and print the tables."""
    ours = stages[OURS]
    conditions = await ours.conditions()
    runner = Runner(await asyncpg.connect(ours.dsn), generator)
    results: dict[tuple[str, str, str], list[Result]] = {
        (group.name, group.case.name, contender): [] for group in groups for contender in group.contenders
    }
    for stage in stages.values():
        click.echo(f"Warming up: {stage.server}", err=True)
        for case in COMPARED:
            warm = re.sub(r"\W+", "-", f"warm-{stage.server}-{case.name}")
            await asyncio.wrap_future(generator.submit(drive, stage._replace(seconds=1), case, warm, http=True))
    steps = [
        (number, group, contender)
        for number in range(1, rounds + 1)
        for group in groups
        for contender in _turned(group.contenders, number)
    ]
    with click.progressbar(steps, label="Measuring", file=sys.stderr, item_show_func=_step) as progress:
        for number, group, contender in progress:
            stage = group.stage(stages.get(contender, ours))
            run = re.sub(r"\W+", "-", f"{number}-{group.name}-{contender}-{group.case.name}")
            results[group.name, group.case.name, contender].append(await runner.run(stage, group.case, contender, run))
    await runner.verify()
    await runner.connection.close()
    reached = goals(results)
    held = "" if quick else await _hold(stages, generator, reached)
    print(
        f"{conditions}\n"
        f"{rounds} interleaved rounds of runs of {ours.seconds} s, of which {WARM_UP_SECONDS} s at the begin and "
        f"{END_SECONDS} s at the end are not counted; medians of the rounds, ratios of runs made back to back.\n"
        f"{OURS} is `videocredits serve` with its default settings but rate limits. Each server is one process; "
        f"{PGBENCH} has {PGBENCH_CLIENTS_MAX} clients at most.\n\n"
        f"{tables(results)}\n{held}\n{goal_table(reached)}"
    )
    if not quick:
        CHART.write_text(_chart(results, rounds), encoding="utf-8")


def _turned(contenders: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Have another contender come first in each round."""
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


def _step(step: tuple[int, Group, str] | None) -> str | None:
    return step and f"round {step[0]}: {SHORT[step[1].case.name]}, {step[1].name}, {step[2]}"


async def _hold(stages: Mapping[str, Stage], generator: ProcessPoolExecutor, reached: list[Goal]) -> str:
    """Measure memory, before and while many connections are open, and how long a start takes."""
    lines = []
    for stage in stages.values():
        before = resident_mib(stage.server_pid)
        await asyncio.wrap_future(generator.submit(hold, stage, HELD_CONNECTIONS))
        held = resident_mib(stage.server_pid)
        await asyncio.wrap_future(generator.submit(release))
        lines.append(
            f"{stage.server}: {before:,.0f} MiB after all that, {held:,.0f} at {HELD_CONNECTIONS:,} connections"
        )
        if stage.server == OURS:
            reached.append(
                Goal(f"memory at {HELD_CONNECTIONS:,} open connections", 200, 120, [held], " MiB", fewer=True)
            )
    starts = [first_answer_seconds(stages[OURS]) for _ in range(STARTS)]
    reached.append(Goal("start to first answer", 2, 1, starts, " s", fewer=True))
    return "\n".join([*lines, ""])


def _chart(results: Rounds, rounds: int) -> str:
    rates = {
        f"{SHORT[case.name]}, requests a second": {
            server: median(map(rate, results[MANY, case.name, server])) for server in SERVERS
        }
        for case in COMPARED
    }
    return chart(
        rates,
        OURS,
        [
            f"One process each, {CONNECTIONS} connections, one PostgreSQL; median of {rounds} interleaved rounds.",
            "On two shared cores, which the load and PostgreSQL use too: compare the bars with each other.",
        ],
    )


main.add_command(live)
main.add_command(growth)
main.add_command(compare)
main.add_command(hostile)

if __name__ == "__main__":
    main()
