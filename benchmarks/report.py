"""What the rounds came to: ratios of runs made back to back, and tables that read in a terminal and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.cases import ADJUST, COMPARED, CREATE, LIST, ONE, UPDATE
from benchmarks.peers import MERCURIUS, POSTGRAPHILE, STRAWBERRY
from benchmarks.runs import ASYNCPG, PGBENCH, Result
from benchmarks.stage import OURS

SHORT = {
    CREATE.name: "create",
    UPDATE.name: "update",
    ADJUST.name: "adjust",
    ONE.name: "one video",
    LIST.name: "list of 20",
}
MANY, HOT, ALONE = "32 connections", "one hot user, 64 callers", "a single caller"
CPU_SHARES = "CPU, µs: server + PostgreSQL; load"
MUTATIONS = (CREATE.name, UPDATE.name, ADJUST.name)

Rounds = Mapping[tuple[str, str, str], Sequence[Result]]  # by group, case and contender
Figure = Callable[[Result], float]


class Goal(NamedTuple):
    """A figure to reach; ``fewer`` where less is better."""

    against: str
    at_least: float
    aim: float
    measured: Sequence[float]
    unit: str = " x"
    fewer: bool = False

    def verdict(self) -> str:
        """Return which goal the median reached: the aim, the minimum, or none."""
        sign = -1 if self.fewer else 1
        reached = sign * median(self.measured)
        if reached >= sign * self.aim:
            return "aim"
        return "reached" if reached >= sign * self.at_least else "SHORT"


def rate(result: Result) -> float:
    """Return calls a second."""
    return result.calls_per_second


def p50(result: Result) -> float:
    """Return what half of the calls took at most, in milliseconds."""
    return result.p50_milliseconds


def cpu(result: Result) -> float:
    """Return the microseconds of a call, of server and PostgreSQL together."""
    return result.server_microseconds + result.postgres_microseconds


_FIGURES: Mapping[Figure, str] = {rate: "", p50: ", p50", cpu: ", CPU of server + PostgreSQL"}


def ratios(ones: Sequence[Result], others: Sequence[Result], figure: Figure = rate) -> list[float]:
    """Divide a figure of each round by that of the run beside it: what slowed the machine down slowed both."""
    return [figure(one) / figure(other) for one, other in zip(ones, others, strict=True)]


def spread(values: Sequence[float], unit: str = "") -> str:
    """Write the median, and from where to where the rounds lie."""
    digits = 2 if max(values) < 100 else 0
    middle = f"{median(values):,.{digits}f}{unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def goals(rounds: Rounds) -> list[Goal]:
    """Hold what was measured of us against others to what is to be reached."""

    def against(
        group: str, case: str, other: str, at_least: float, aim: float, figure: Figure = rate, *, fewer: bool = False
    ) -> list[Goal]:
        ones, others = rounds.get((group, case, OURS)), rounds.get((group, case, other))
        if not ones or not others:
            return []
        name = f"{other}: {SHORT[case]}{_FIGURES[figure]}" + ("" if group == MANY else f", {group}")
        return [Goal(name, at_least, aim, ratios(ones, others, figure), fewer=fewer)]

    return [
        *(goal for case in MUTATIONS for goal in against(MANY, case, MERCURIUS, 1.3, 2)),
        *against(MANY, ONE.name, MERCURIUS, 1.8, 3),
        *against(MANY, LIST.name, MERCURIUS, 2, 3),
        *(goal for case in MUTATIONS for goal in against(MANY, case, POSTGRAPHILE, 5, 8)),
        *against(MANY, ONE.name, POSTGRAPHILE, 3.5, 6),
        *against(MANY, LIST.name, POSTGRAPHILE, 2.3, 4),
        *(goal for case in (CREATE.name, ADJUST.name) for goal in against(MANY, case, ASYNCPG, 1.4, 2)),
        *(goal for case in MUTATIONS for goal in against(MANY, case, PGBENCH, 0.7, 1)),
        *(goal for case in (CREATE.name, ADJUST.name) for goal in against(HOT, case, PGBENCH, 3.5, 5)),
        *(goal for case in (CREATE.name, ADJUST.name) for goal in against(HOT, case, MERCURIUS, 4, 8)),
        *against(MANY, CREATE.name, MERCURIUS, 0.5, 0.35, cpu, fewer=True),
        *(goal for case in COMPARED for goal in against(ALONE, case.name, MERCURIUS, 1, 1, p50, fewer=True)),
    ]


def goal_table(reached: Sequence[Goal]) -> str:
    """Write what was to be reached, and what was."""
    lines = [
        [
            goal.against,
            *(f"{'at most ' if goal.fewer else ''}{each:g}{goal.unit}" for each in (goal.at_least, goal.aim)),
            spread(goal.measured, goal.unit),
            goal.verdict(),
        ]
        for goal in reached
    ]
    return table(["against", "at least", "aim", "measured (rounds)", ""], lines)


def tables(rounds: Rounds) -> str:
    """Write what every contender came to, a case to a column; each figure is the median of the rounds."""
    written = []
    for group in dict.fromkeys(group for group, _, _ in rounds):
        of = {(case, each): results for (name, case, each), results in rounds.items() if name == group}
        written.append(_by_case(f"Calls a second, {group}", of, lambda results, _: f"{middle(results)[0]:,.0f}"))
        if any(contender == STRAWBERRY for _, contender in of):
            written.append(_by_case(f"Relative to {STRAWBERRY}", of, _relative))
        written.append(_by_case(f"p50 / p99, ms, {group}", of, lambda results, _: _latency(middle(results))))
        written.append(_by_case(CPU_SHARES, of, lambda results, _: cpu_shares(middle(results))))
    return "\n".join(written)


def _by_case(
    head: str,
    results: Mapping[tuple[str, str], Sequence[Result]],
    show: Callable[[Sequence[Result], Sequence[Result]], str],
) -> str:
    cases = list(dict.fromkeys(case for case, _ in results))
    contenders = dict.fromkeys(contender for _, contender in results)
    lines = [
        [each, *(show(results[case, each], results.get((case, STRAWBERRY), ())) for case in cases)]
        for each in contenders
    ]
    return table([head, *(SHORT[case] for case in cases)], lines)


def _relative(results: Sequence[Result], plain: Sequence[Result]) -> str:
    return f"{median(ratios(results, plain)):,.1f}"


def middle(results: Sequence[Result]) -> Result:
    """Return the median of each figure."""
    return Result(*map(median, zip(*results, strict=True)))


def _latency(result: Result) -> str:
    return f"{result.p50_milliseconds:,.1f} / {result.p99_milliseconds:,.1f}"


def cpu_shares(result: Result) -> str:
    """Write who used how many microseconds of a call."""
    server, postgres = result.server_microseconds, result.postgres_microseconds
    return f"{server:,.0f} + {postgres:,.0f}; {result.load_microseconds:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose first column is text and whose others are figures."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    cells = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in (head, rule, *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
