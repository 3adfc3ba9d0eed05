"""Measure what following costs: memory, delay, processor time, and what is left for mutations."""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import NamedTuple, ParamSpec, TypeVar
from uuid import UUID

import asyncpg
import click

from benchmarks import followers
from benchmarks.cases import CASES
from benchmarks.changes import Changed, change
from benchmarks.followers import Followed, Subscriber
from benchmarks.load import drive, ready
from benchmarks.report import table
from benchmarks.stage import Stage, cpu_seconds, resident_mib, staged
from resolvers.identity import Identity, Role
from schema.node import VideoKey, encode_id

VIEWER = "subscription { viewerUpdated { entry { number amount balanceAfter } user { credits version } } }"
VIDEO = "subscription($id: ID!) { videoDataUpdated(id: $id) { script version } }"
SLOW = 50
RECONNECTS = 1_000
CREATORS = 32  # So many connections create videos,
CREATION_FOLLOWERS = 1_000  # while so many follow.
CREATION_ROUNDS = 5
CREATION_SECONDS = 3

WARM_UP_SECONDS = 1.0  # At a run's begin nothing is counted;
END_SECONDS = 0.2  # nor at its end.
SETTLE_SECONDS = 3.0  # By then, all that was promised within 2 seconds has come.
P99_MILLISECONDS_AIM = 200
SLOWER = 0.7  # Where that is missed, so much slower is tried,
SLOWER_TIMES_MAX = 4  # so often.

CALLS = (
    "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements "
    "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@click.command()
@click.option("--subscribers", default=5000, show_default=True, type=click.IntRange(100, 20_000), help="How many.")
@click.option("--users", default=1000, show_default=True, type=click.IntRange(64, 20_000), help="Whom they follow.")
@click.option("--seconds", default=10, show_default=True, type=click.IntRange(3, 30), help="How long one run takes.")
def live(subscribers: int, users: int, seconds: int) -> None:
    """Measure subscriptions: many sockets, users who each change once a second, slow readers, reconnects.

    A PostgreSQL of its own runs in a temporary directory, with the settings that keep data safe. What the processes use
    is read from /proc, so this needs Linux.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    identities = tuple(Identity(f"benchmark-{number}", Role.USER) for number in range(users + 1))
    spawn = get_context("spawn")
    with (
        staged(identities, users + 1, seconds, postgres={"shared_preload_libraries": "pg_stat_statements"}) as stage,
        ProcessPoolExecutor(1, spawn, followers.start) as crowd,
        ProcessPoolExecutor(1, spawn) as writer,
    ):
        asyncio.run(_Live(stage, crowd, writer, subscribers, users).measure())


class _Run(NamedTuple):
    """What came of changing all users in turn for a while; processor time is that of a second."""

    changes_per_second: float
    messages_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu: tuple[float, ...]  # of the server, PostgreSQL, the followers, the writer
    waited: float  # the share of the time in which the server was ready to run and had no processor
    settle_seconds: float  # from the last change until all had the last state


class _Live:
    """The measurements, in order; each adds its lines to the table."""

    def __init__(
        self, stage: Stage, crowd: ProcessPoolExecutor, writer: ProcessPoolExecutor, subscribers: int, users: int
    ) -> None:
        self._stage = stage
        self._crowd = crowd
        self._writer = writer
        self._users = users
        self._lines: list[list[str]] = []
        self._viewers = [
            Subscriber(number % users, stage.token(stage.identities[number % users]), VIEWER)
            for number in range(subscribers)
        ]
        self._pids: list[int] = []

    async def measure(self) -> None:
        """Measure everything and print the table."""
        conditions = await self._stage.conditions()
        self._pids = [await self._ask(ready), await self._write(ready)]
        await self._ask(followers.open_group, "first", self._stage.port, self._viewers[:1])
        await self._ask(followers.cut, "first")
        await self._idle()
        await self._slow(await self._load())
        await self._reconnect()
        await self._ask(followers.cut, "all")
        await self._mutations()
        print(
            f"{conditions}\n{len(self._viewers):,} subscribers, each on a socket of its own, of viewerUpdated of "
            f"{self._users:,} users; runs of {self._stage.seconds} s. `videocredits serve` is one process.\n\n"
            f"{table(['Live', 'measured', 'aim'], self._lines)}"
        )

    def _line(self, what: str, measured: str, aim: str = "") -> None:
        self._lines.append([what, measured, aim])
        click.echo(f"{what}: {measured}", err=True)

    async def _ask(
        self, function: Callable[Arguments, Result], *arguments: Arguments.args, **more: Arguments.kwargs
    ) -> Result:
        return await asyncio.wrap_future(self._crowd.submit(function, *arguments, **more))

    async def _write(
        self, function: Callable[Arguments, Result], *arguments: Arguments.args, **more: Arguments.kwargs
    ) -> Result:
        return await asyncio.wrap_future(self._writer.submit(function, *arguments, **more))

    def _resident_kib(self) -> float:
        return 1024 * resident_mib(self._stage.server_pid)

    async def _idle(self) -> None:
        """Count statements while nobody follows, and while all do and nothing changes."""
        connection = await asyncpg.connect(self._stage.dsn)
        await connection.execute("CREATE EXTENSION pg_stat_statements")

        async def statements(case: str) -> None:
            await asyncio.sleep(SETTLE_SECONDS)
            calls, begin = await connection.fetchval(CALLS), self._stage.cpu()
            await asyncio.sleep(self._stage.seconds)
            # One of them was the question itself.
            a_second = (await connection.fetchval(CALLS) - calls - 1) / self._stage.seconds
            used = [after - before for before, after in zip(begin, self._stage.cpu(), strict=True)]
            self._line(f"idle: statements a second, {case}", f"{a_second:.1f}", "the same")
            shares = " ".join(f"{each / self._stage.seconds:.1%}" for each in used)
            self._line(f"idle: CPU of server, PostgreSQL, {case}", shares)

        await statements("nobody follows")
        kib = self._resident_kib()
        seconds = await self._ask(followers.open_group, "all", self._stage.port, self._viewers)
        self._line("idle: subscribers that came a second", f"{len(self._viewers) / seconds:,.0f}")
        await statements("all follow")
        await connection.close()
        self._line("idle: KiB of memory a subscriber", self._kib_each(kib), "40")
        self._kib_before = kib

    def _kib_each(self, before: float) -> str:
        return f"{(self._resident_kib() - before) / len(self._viewers):,.1f}"

    async def _load(self) -> float:
        """Change every user once a second, or as often as is told in time; return how many changes a second that is."""
        a_second = float(self._users)
        for _ in range(SLOWER_TIMES_MAX):
            run = await self._run(a_second)
            case = f"load, {a_second:,.0f}/s"
            self._line(f"{case}: changes a second", f"{run.changes_per_second:,.0f}", f"{a_second:,.0f}")
            self._line(f"{case}: messages a second", f"{run.messages_per_second:,.0f}")
            self._line(f"{case}: from commit to socket, ms, p50", f"{run.p50_milliseconds:,.0f}", "20")
            self._line(f"{case}: the same, p99", f"{run.p99_milliseconds:,.0f}", str(P99_MILLISECONDS_AIM))
            shares = " ".join(f"{each:.0%}" for each in run.cpu)
            self._line(f"{case}: CPU of server, PostgreSQL, followers, writer", shares)
            self._line(f"{case}: time that the server waited for a processor", f"{run.waited:.0%}")
            self._line(f"{case}: s from the last change until all had it", f"{run.settle_seconds:.1f}", "2")
            if run.p99_milliseconds < P99_MILLISECONDS_AIM:
                break
            a_second *= SLOWER
        self._line("load: KiB of memory a subscriber, afterwards", self._kib_each(self._kib_before), "40")
        return a_second

    async def _run(self, per_second: float, video: tuple[UUID, UUID] | None = None) -> _Run:
        """Change users one after the other; check that each subscriber finally got the last state."""
        await self._ask(followers.take, "all")
        begin = time.monotonic() + WARM_UP_SECONDS
        writing = asyncio.create_task(self._write(change, self._stage, self._users, per_second, video))
        await asyncio.sleep(WARM_UP_SECONDS)
        before, waited = self._cpu(), self._stage.waited_seconds()
        await asyncio.sleep(self._stage.seconds - WARM_UP_SECONDS - END_SECONDS)
        seconds = time.monotonic() - begin
        cpu = tuple((after - earlier) / seconds for earlier, after in zip(before, self._cpu(), strict=True))
        waited = self._stage.waited_seconds() - waited
        changed = await writing
        versions = {each.subject: each.version for each in sorted(changed, key=lambda each: each.version)}
        settle_seconds = await self._ask(followers.until, "all", versions)
        followed = await self._ask(followers.take, "all")
        end = begin + seconds
        milliseconds = sorted(1000 * late for late in _delays(changed, followed, begin, end))
        messages = sum(begin <= told.time < end for each in followed for told in each.told)
        return _Run(
            sum(begin <= each.time < end for each in changed) / seconds,
            messages / seconds,
            milliseconds[len(milliseconds) // 2],
            milliseconds[len(milliseconds) * 99 // 100],
            cpu,
            waited / seconds,
            settle_seconds,
        )

    def _cpu(self) -> list[float]:
        return [*self._stage.cpu(), *map(cpu_seconds, self._pids)]

    async def _slow(self, per_second: float) -> None:
        """Have some follow a video that changes fast: first they read, then they stop reading."""
        identity, video_id = self._stage.identities[-1], UUID(f"{self._users:032}")
        variables = {"id": encode_id(VideoKey(identity.user_id, video_id))}
        slow = [Subscriber(0, self._stage.token(identity), VIDEO, variables, narrow=True)] * SLOW
        await self._ask(followers.open_group, "slow", self._stage.port, slow)
        kib = 0.0
        for case in "others read", "others do not":
            run = await self._run(per_second, (identity.user_id, video_id))
            counts = [len(each.told) for each in await self._ask(followers.take, "slow")]
            self._line(f"slow: ms to those who read, p50, while {SLOW} {case}", f"{run.p50_milliseconds:,.0f}")
            self._line("slow: the same, p99", f"{run.p99_milliseconds:,.0f}", "the same")
            self._line("slow: messages to each of the others", f"{min(counts)} to {max(counts)}")
            if case == "others read":
                kib = self._resident_kib()
                await self._ask(followers.pause, "slow")
        self._line("slow: MiB that the server grew while they did not", f"{(self._resident_kib() - kib) / 1024:,.1f}")
        await self._ask(followers.resume, "slow")
        await asyncio.sleep(SETTLE_SECONDS)
        told = await self._ask(followers.take, "slow")
        versions = {each.told[-1].version for each in told}
        if len(versions) != 1:
            raise click.ClickException(f"Subscribers that had stopped reading got different last states: {versions}")
        await self._ask(followers.cut, "slow")

    async def _reconnect(self) -> None:
        """Cut sockets, and have all of them come again at once."""
        again = self._viewers[: min(RECONNECTS, len(self._viewers))]
        await self._ask(followers.cut, "all")
        others = self._viewers[len(again) :]
        await self._ask(followers.open_group, "all", self._stage.port, others)
        await self._ask(followers.open_group, "again", self._stage.port, again)
        await asyncio.sleep(SETTLE_SECONDS)
        await self._ask(followers.cut, "again")
        seconds = await self._ask(followers.open_group, "again", self._stage.port, again, at_once=True)
        self._line(f"reconnect: s until {len(again):,} at once had their state, none failing", f"{seconds:.1f}")
        await self._ask(followers.cut, "again")

    async def _mutations(self) -> None:
        """Create videos without subscribers, with other users subscribed, and with the creators subscribed."""
        stage = self._stage._replace(
            identities=self._stage.identities[:CREATORS], connections=CREATORS, seconds=CREATION_SECONDS
        )
        size = min(CREATION_FOLLOWERS, len(self._viewers))
        idle = [each for each in self._viewers if each.subject >= CREATORS][:size]
        creating = [self._viewers[number % CREATORS] for number in range(size)]
        cases = {"nobody follows": [], f"{len(idle):,} others follow": idle, f"{size:,} follow who create": creating}
        rates: dict[str, list[float]] = {case: [] for case in cases}
        for number in range(CREATION_ROUNDS):
            for case, subscribers in list(cases.items())[:: 1 if number % 2 else -1]:  # No case always comes first.
                await self._ask(followers.open_group, "following", self._stage.port, subscribers)
                await asyncio.sleep(WARM_UP_SECONDS)
                begin = time.time() + WARM_UP_SECONDS
                answers = (await self._write(drive, stage, CASES[0], f"{number}-{case}", http=True)).answers
                end = begin + CREATION_SECONDS - WARM_UP_SECONDS - END_SECONDS
                rates[case].append(sum(begin < answer.time <= end for answer in answers) / (end - begin))
                await self._ask(followers.cut, "following")
                click.echo(f"mutations: round {number + 1}, {case}: {rates[case][-1]:,.0f}", err=True)
        alone, *more = rates
        self._line(f"mutations: creations a second, {alone}", f"{median(rates[alone]):,.0f}")
        for case in more:
            ratio = median(one / max(1, other) for one, other in zip(rates[case], rates[alone], strict=True))
            self._line(f"mutations: the same, {case}", f"{median(rates[case]):,.0f} (x {ratio:.2f})", "x 0.90")


def _delays(changed: Sequence[Changed], followed: Sequence[Followed], begin: float, end: float) -> Iterator[float]:
    """Return, for each change and follower, the time until the follower had that state or a later one."""
    changes: defaultdict[int, list[Changed]] = defaultdict(list)
    for each in changed:
        changes[each.subject].append(each)
    for subject, told in followed:
        arrivals = iter(told)
        arrived = next(arrivals, None)
        for each in sorted(changes[subject], key=lambda each: each.version):
            while arrived and arrived.version < each.version:
                arrived = next(arrivals, None)
            assert arrived is not None, "All have the last state."
            if begin <= each.time < end:
                yield max(0.0, arrived.time - each.time)
