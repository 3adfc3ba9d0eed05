"""One run: a case driven through one contender, counted, and held against what it must have done to the tables."""

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import click

import benchmarks.pgbench
from benchmarks.cases import Case
from benchmarks.load import Answer, drive, ready
from benchmarks.stage import Stage, cpu_seconds
from db.statement import statement
from resolvers.identity import Role

ASYNCPG, PGBENCH = "asyncpg", "pgbench"
PGBENCH_CLIENTS_MAX = 16  # More of them slow each other down on few processors.
WARM_UP_SECONDS = 0.4  # At a run's begin, when connections are opened, nothing is counted;
END_SECONDS = 0.1  # nor at its end, when they are closed.

_PREPARE = """
UPDATE video_data SET
  status = $1, attempt = $4, render_progress = 0, queue_id = NULL,
  trashed_at = CASE WHEN $2 THEN now() END
WHERE id < $3 AND (status, attempt, render_progress, trashed_at IS NOT NULL) IS DISTINCT FROM ($1, $4, 0, $2)
"""
# Of the users who are called, and so soon told, however many others there are.
_TOTALS = """
SELECT
  sum(wallets.version) + (SELECT sum(version) FROM video_data WHERE wallet_id = any($1)),
  sum(wallets.credits),
  sum(newest.balance_after)
FROM wallets
INNER JOIN credit_entries AS newest ON wallets.wallet_id = newest.wallet_id AND wallets.entry_count = newest.number
WHERE wallets.wallet_id = any($1)
"""
# The invariants of the ledger, which the benchmark's own videos, made without a charge, do not touch.
_LEDGER = ("balances_are_newest", "balances_are_sums", "entry_balances", "entry_counts", "entry_numbers")


class Result(NamedTuple):
    """What one run came to; processor time is that of a call."""

    calls_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    load_microseconds: float
    server_microseconds: float
    postgres_microseconds: float


class _Cpu(NamedTuple):
    """Processor time used so far, in seconds, at a time."""

    time: float
    load: float
    server: float
    postgres: float


@dataclass
class Runner:
    """Runs one case after another."""

    connection: "asyncpg.Connection[asyncpg.Record]"
    generator: ProcessPoolExecutor
    _shapes: dict[str, Any] = field(default_factory=dict)  # of the answers to each case
    _attempts: int = 1

    async def run(self, stage: Stage, case: Case, contender: str, run: str) -> Result:
        """Drive a case through a server, asyncpg or pgbench; ClickException if anything was not as it should be."""
        # Reports are about the first attempt; what charges or refunds one needs an attempt that no run had.
        self._attempts += 1
        attempt = 1 if case.role is Role.WORKER else self._attempts
        ids_end = UUID(f"{stage.video_count:032}")
        await self.connection.execute(_PREPARE, case.status, case.trashed, ids_end, attempt)
        users = [identity.user_id for identity in stage.identities]
        before = await self.connection.fetchrow(_TOTALS, users)
        if contender == PGBENCH:
            stage = stage._replace(connections=min(stage.connections, PGBENCH_CLIENTS_MAX))
            process = await benchmarks.pgbench.start(stage, case, run, self.connection)
            begin, end = await _counted(stage, process.pid)
            _, errors = await asyncio.wait_for(process.communicate(), 30)
            if process.returncode != 0:
                raise click.ClickException(f"pgbench failed: {errors.decode()}")
            answers = benchmarks.pgbench.answers(stage, run)
        else:
            pid = await asyncio.wrap_future(self.generator.submit(ready))
            driven = asyncio.wrap_future(self.generator.submit(drive, stage, case, run, http=contender != ASYNCPG))
            begin, end = await _counted(stage, pid)
            answers, body = await driven
            if contender != ASYNCPG:
                self._compare(case, contender, body)
        after = await self.connection.fetchrow(_TOTALS, users)
        assert before is not None
        assert after is not None
        versions, balances, explained = (now - earlier for now, earlier in zip(after, before, strict=True))
        calls = len(answers)
        if (versions, balances, explained) != (case.raised * calls, case.amount * calls, case.amount * calls):
            raise click.ClickException(
                f"{run}: {calls} calls raised versions by {versions} in all and not by {case.raised} each, or changed "
                f"balances by {balances} and what explains them by {explained} and not by {case.amount} each: some "
                f"were refused, or {stage.video_count} videos were too few; give fewer --connections."
            )
        return _result(run, answers, begin, end)

    def _compare(self, case: Case, contender: str, body: bytes) -> None:
        """See to it that all servers answer with the same fields."""
        shape = _shape(json.loads(body))
        if self._shapes.setdefault(case.name, shape) != shape:
            raise click.ClickException(f"{contender} answers {case.name} in another form: {body.decode()}")

    async def verify(self) -> None:
        """Check the ledger, once all is over; ClickException if a balance is not explained."""
        for invariant in _LEDGER:
            if broken := await self.connection.fetch(statement(f"verify/{invariant}"), None):
                raise click.ClickException(f"After all that, {invariant} does not hold: {broken[:3]}")


def _shape(value: Any) -> Any:
    match value:
        case {"wallet": dict(wallet), **rest}:  # An object of its own in PostGraphile.
            return _shape({**rest, **wallet})
        case dict():
            return {name: _shape(each) for name, each in value.items()}
        case list():
            return [_shape(each) for each in value]
        case _:
            return None


def _result(run: str, answers: Sequence[Answer], begin: _Cpu, end: _Cpu) -> Result:
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


async def _counted(stage: Stage, load_pid: int) -> tuple[_Cpu, _Cpu]:
    """Let a run pass; tell the processor time at the begin and end of what is counted of it."""

    def now() -> _Cpu:
        return _Cpu(time.time(), cpu_seconds(load_pid), *stage.cpu())

    await asyncio.sleep(WARM_UP_SECONDS)
    begin = now()
    await asyncio.sleep(stage.seconds - WARM_UP_SECONDS - END_SECONDS)
    return begin, now()
