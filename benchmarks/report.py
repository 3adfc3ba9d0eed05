"""The tables: to be read in a terminal, and as Markdown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

PATHS = ("HTTP", "asyncpg", "pgbench")


class Result(NamedTuple):
    """One case through one path in one round; CPU time is that of a call."""

    calls_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    load_microseconds: float
    server_microseconds: float
    postgres_microseconds: float


def tables(results: Mapping[tuple[str, str], Sequence[Result]]) -> str:
    """Write three tables, a case to a line; each figure is the median of the rounds, a ratio the median of ratios."""
    rates, latencies, cpu = [], [], []
    for name in dict.fromkeys(name for name, _ in results):
        rounds = list(zip(*(results[name, path] for path in PATHS), strict=True))
        http, asyncpg, pgbench = (Result(*map(median, zip(*results[name, path], strict=True))) for path in PATHS)
        medians = (http, asyncpg, pgbench)
        ratios = [
            median(each[one].calls_per_second / each[two].calls_per_second for each in rounds)
            for one, two in ((0, 1), (0, 2), (1, 2))
        ]
        rates.append(
            [name, *(f"{each.calls_per_second:,.0f}" for each in medians), *(f"{each:.2f}" for each in ratios)]
        )
        latencies.append(
            [name, *(f"{ms:,.1f}" for each in medians for ms in (each.p50_milliseconds, each.p99_milliseconds))]
        )
        microseconds = [http.server_microseconds, *(each.postgres_microseconds for each in medians)]
        microseconds += [each.load_microseconds for each in medians]
        cpu.append([name, *(f"{each:,.0f}" for each in microseconds)])
    return "\n".join(
        [
            table(["Calls a second", *PATHS, "HTTP/asyncpg", "HTTP/pgbench", "asyncpg/pgbench"], rates),
            table(["Latency, ms", *(f"{path} {part}" for path in PATHS for part in ("p50", "p99"))], latencies),
            table(["CPU, µs a call", "server", *(f"{of}, {path}" for of in ("PG", "load") for path in PATHS)], cpu),
        ]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table whose first column is text and whose others are figures."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    cells = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in (head, rule, *rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
