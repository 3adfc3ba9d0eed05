"""Group commit: calls of one statement that arrive while other batches run share one round trip and one commit.

The states of a call, and what leads from one to the next:

    QUEUED ──── a writer takes it ──────────────────────────────► RUNNING
    QUEUED ──── its caller has left, or its time is up ──────────► dropped: nothing was done
    QUEUED ──── its user has become stuck ──────────────────────► ALONE
    RUNNING ─── its batch has a record for it ──────────────────► ANSWERED
    RUNNING ─── its batch failed, or its record is 'stale' ─────► ALONE: the database runs it by itself

Each of the WRITERS connections is IDLE, or a task runs batch after batch on it until no queued call can run (WORKING).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from uuid import UUID

import asyncpg

from db.connection_pool import ConnectionPool, PoolConnection
from db.json_text import json_text
from db.statement import statement

# Statements with a batched form, in ``queries/batched``, and the index of their JSON argument, if they have one: a
# batched form takes JSON as text, since asyncpg has no arrays of types with a custom codec.
BATCHED = {
    statement(name): (statement(f"batched/{name}"), json_argument)
    for name, json_argument in (
        ("adjust_user_credits", None),
        ("create_video_data", 9),
        ("update_render_progress", None),
        ("update_video_record_status", 3),
    )
}
# A connection plans a batched form once, perhaps while the tables are almost empty, and keeps the plan when they grow.
WRITERS_SESSION_SETTINGS = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}

WRITERS = 3  # While one batch waits for its commit, the next can run.
BATCH_MAX = 64
# A video and a profile keep the ids of their 16 newest changes (`with_request_id`): those of a whole batch, and as many
# others that come before a rerun.
ROW_CALLS_MAX = 8
# Their calls write entries, each of which keeps its request's id: so there may be any number for one row.
ENTRY_WRITERS = frozenset({statement("adjust_user_credits"), statement("create_video_data")})
BATCH_SECONDS_MAX = 2  # A batch that never ends would hold its connection for ever.
LOCK_MILLISECONDS_MAX = 50  # A call that waits for a lock delays all others of its batch.


@dataclass(slots=True, eq=False)
class Call:
    """One call of a statement that changes a user's rows.

    ``answered`` resolves to the record or, if the batch has none for this call, to the task that runs it alone.
    """

    query: str
    user_id: UUID
    arguments: tuple[object, ...]  # The first is the user's id.
    deadline: float
    answered: "asyncio.Future[asyncpg.Record | asyncio.Task[asyncpg.Record]]"
    row: tuple[int, ...] = field(init=False)  # The row that the call locks: a user, or a user's video.

    def __post_init__(self) -> None:
        """Read the row from the arguments, as integers: they compare and hash faster than UUIDs."""
        self.row = tuple([argument.int for argument in self.arguments[:2] if isinstance(argument, UUID)])

    def expire(self) -> None:
        """Raise TimeoutError to the caller, if it still waits."""
        if not self.answered.done():
            self.answered.set_exception(TimeoutError())


class GroupCommit:
    """Runs calls in batches of one statement each, on connections of its own, in the order of arrival.

    A call runs at once if a writer is idle, its row is in no running batch, and no running batch has several rows:
    each batch pays for a commit of its own, and small batches would delay large ones. There is no timer: queued calls
    start when there are at least 2n - 1 of them (n = the rows of the largest running batch), or when a batch ends.
    A batch has the effect of its calls run one after the other. It takes its rows in one order, and a row is in one
    running batch at a time, so batches never wait for each other.

    ``ended`` is called once for each call that is not dropped: with its record, or with None if it has to run alone.
    A call without a record has done nothing, unless the connection was lost: then the rerun recognizes its own work.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: ConnectionPool,
        ended: Callable[[Call, asyncpg.Record | None], None],
        stuck_users: Mapping[UUID, int],
    ) -> None:
        self._loop = loop
        self.connections = connections
        self._ended = ended
        self._stuck_users = stuck_users  # Their calls would make their batches fail.
        self._queued: dict[str, list[Call]] = {}  # by statement; the statement that has waited longest is first
        self._idle_writers = WRITERS
        self._running_rows: set[tuple[int, ...]] = set()
        self._running_sizes: list[int] = []  # the number of rows of each running batch
        self._working: set[asyncio.Task[None]] = set()

    def submit(self, call: Call) -> None:
        """Queue a call, and start a writer if the call may run now."""
        self._queued.setdefault(call.query, []).append(call)
        if self._idle_writers and call.row not in self._running_rows and self._are_enough_queued():
            self._idle_writers -= 1
            task = self._loop.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    def _are_enough_queued(self) -> bool:
        """Return whether enough calls are queued to run beside the running batches: 1 beside 1, 3 beside 2."""
        return sum(map(len, self._queued.values())) >= min(2 * max(self._running_sizes, default=1) - 1, BATCH_MAX)

    async def finish(self, seconds: float) -> None:
        """Let batches finish, and break off those that do not within this time."""
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _work(self) -> None:
        """Run batch after batch until no queued call can run."""
        try:
            while batch := self._next_batch():
                rows = {call.row for call in batch}
                assert rows.isdisjoint(self._running_rows)  # noqa: S101 - or two batches could wait for each other
                self._running_rows |= rows
                self._running_sizes.append(len(rows))
                try:
                    records = await run_batch(self.connections, batch[0].query, batch)
                finally:
                    self._running_rows -= rows
                    self._running_sizes.remove(len(rows))
                for call, record in zip(batch, records, strict=True):
                    self._ended(call, record)
        finally:
            self._idle_writers += 1

    def _next_batch(self) -> list[Call]:
        """Take calls of the statement that has waited longest, at most BATCH_MAX; the others stay queued, last in turn.

        Of those on one row at most ROW_CALLS_MAX are taken, unless the statement is one of the ENTRY_WRITERS.
        Calls whose row is in a running batch stay queued until it ends. In PostgreSQL they would wait for it too, and a
        transaction that waits there for a busy row can be overtaken again and again.
        """
        for query in list(self._queued):
            calls = self._still_queued(self._queued[query])
            batch = [call for call in calls if call.row not in self._running_rows]
            if query not in ENTRY_WRITERS and len(batch) > ROW_CALLS_MAX:
                batch = _first_of_each_row(batch)
            batch = batch[:BATCH_MAX]
            if batch or not calls:
                del self._queued[query]
            if batch:
                taken = set(map(id, batch))
                if rest := [call for call in calls if id(call) not in taken]:
                    self._queued[query] = rest
                return sorted(batch, key=attrgetter("row"))
        return []

    def _still_queued(self, calls: list[Call]) -> list[Call]:
        """Drop the calls whose callers have left, and hand over those of stuck users to run alone."""
        if self._stuck_users:
            for call in calls:
                if call.user_id in self._stuck_users and not call.answered.done():
                    self._ended(call, None)
        return [call for call in calls if not call.answered.done()]


def _first_of_each_row(calls: list[Call]) -> list[Call]:
    """Return the first ROW_CALLS_MAX calls on each row."""
    counts: Counter[tuple[int, ...]] = Counter()
    first = []
    for call in calls:
        counts[call.row] += 1
        if counts[call.row] <= ROW_CALLS_MAX:
            first.append(call)
    return first


async def run_batch(connections: ConnectionPool, query: str, batch: Sequence[Call]) -> Sequence[asyncpg.Record | None]:
    """Return each call's record, or None for each call of a transaction that failed or took too long.

    The batched form of the statement, if it has one, runs first. It does the common case, and leaves refusals, replays
    and further calls on the same video undone. Those calls follow in a second transaction, as do all calls of a
    statement without a batched form: pipelined, one after the other.
    """
    records: list[asyncpg.Record | None] = [None] * len(batch)

    async def run(connection: PoolConnection) -> None:
        if query in BATCHED and len(batch) > 1:
            for record in await connection.fetch(*_batched(query, batch)):
                records[record["place"] - 1] = record
        rest = [place for place, record in enumerate(records) if record is None]
        if len(rest) == 1:  # The most common case, and `fetchrow` is cheaper.
            records[rest[0]] = await connection.fetchrow(query, *batch[rest[0]].arguments)
        elif rest:
            found = await connection.fetchmany(query, [batch[place].arguments for place in rest])
            for place, record in zip(rest, found, strict=True):
                records[place] = record

    with suppress(Exception):  # The call at fault raises it again when it runs alone.
        await connections.run(run)
    return records


def _batched(query: str, batch: Sequence[Call]) -> tuple[str, *tuple[Sequence[object], ...]]:
    """Return a statement's batched form and its arguments: an array for each parameter."""
    text, json_argument = BATCHED[query]
    columns: list[Sequence[object]] = list(zip(*[call.arguments for call in batch], strict=True))
    if json_argument is not None:
        columns[json_argument] = [None if each is None else json_text(each) for each in columns[json_argument]]
    return text, *columns
