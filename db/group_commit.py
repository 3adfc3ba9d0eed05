"""Group commit: calls of one mutation that arrive while other batches run share one round trip and one commit.

The states of a call, and what leads from one to the next:

    QUEUED ──── a writer takes it ──────────────────────────────► RUNNING
    QUEUED ──── its caller has left, or its time is up ──────────► dropped: nothing was done
    QUEUED ──── its wallet has become stuck ──────────────────────► ALONE
    RUNNING ─── its batch has a record for it ──────────────────► ANSWERED
    RUNNING ─── its batch failed ───────────────────────────────► ALONE: the database runs it by itself

Each of the WRITERS connections is IDLE, or a task runs batch after batch on it until no queued call can run (WORKING).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter, methodcaller
from uuid import UUID

import asyncpg

from db.connection_pool import ConnectionPool, PoolConnection
from db.mutation import Mutation

# A connection plans a function's statements once, perhaps while the tables are almost empty, and keeps the plans.
WRITERS_SESSION_SETTINGS = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}

WRITERS = 3  # While one batch waits for its commit, the next can run.
BATCH_MAX = 64
# A video and a profile keep the ids of their 16 newest changes (`with_request_id`): those of a whole batch, and as many
# others that come before a rerun.
ROW_CALLS_MAX = 8
BATCH_SECONDS_MAX = 2  # A batch that never ends would hold its connection for ever.
LOCK_MILLISECONDS_MAX = 50  # A call that waits for a lock delays all others of its batch.


@dataclass(slots=True, eq=False)
class Call:
    """One call of a mutation.

    ``answered`` resolves to the record or, if the batch has none for this call, to the task that runs it alone.
    """

    mutation: Mutation
    wallet_id: UUID
    arguments: tuple[object, ...]  # The first is the wallet's id.
    deadline: float
    answered: "asyncio.Future[asyncpg.Record | asyncio.Task[asyncpg.Record]]"
    row: tuple[int, ...] = field(init=False)  # The row that the call is about: a wallet, or a wallet's video.

    def __post_init__(self) -> None:
        """Read the row from the arguments, as integers: they compare and hash faster than UUIDs."""
        self.row = tuple([argument.int for argument in self.arguments[:2] if isinstance(argument, UUID)])

    def expire(self) -> None:
        """Raise TimeoutError to the caller, if it still waits."""
        if not self.answered.done():
            self.answered.set_exception(TimeoutError())


class GroupCommit:
    """Runs calls in batches of one mutation each, on connections of its own, in the order of arrival.

    A call runs at once if a writer is idle, its wallet is in no running batch, and no running batch has several rows:
    each batch pays for a commit of its own, and small batches would delay large ones. There is no timer: queued calls
    start when there are at least 2n - 1 of them (n = the rows of the largest running batch), or when a batch ends.
    A batch has the effect of its calls run one after the other. A wallet is in one running batch at a time, so batches
    of one process never wait for each other; those of several lock their rows in one order.

    ``ended`` is called once for each call that is not dropped: with its record, or with None if it has to run alone.
    A call without a record has done nothing, unless the connection was lost: then the rerun recognizes its own work.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: ConnectionPool,
        ended: Callable[[Call, asyncpg.Record | None], None],
        stuck_wallets: Mapping[UUID, int],
    ) -> None:
        self._loop = loop
        self.connections = connections
        self._ended = ended
        self._stuck_wallets = stuck_wallets  # Their calls would make their batches fail.
        self._queued: dict[Mutation, list[Call]] = {}  # the mutation that has waited longest is first
        self._idle_writers = WRITERS
        self._running_wallets: set[int] = set()
        self._running_sizes: list[int] = []  # the number of rows of each running batch
        self._working: set[asyncio.Task[None]] = set()

    def submit(self, call: Call) -> None:
        """Queue a call, and start a writer if the call may run now."""
        self._queued.setdefault(call.mutation, []).append(call)
        if self._idle_writers and call.row[0] not in self._running_wallets and self._are_enough_queued():
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
                wallets = {call.row[0] for call in batch}
                size = len({call.row for call in batch})
                assert wallets.isdisjoint(self._running_wallets)  # noqa: S101 - or two batches could wait for each other
                self._running_wallets |= wallets
                self._running_sizes.append(size)
                try:
                    records = await run_batch(self.connections, batch[0].mutation, batch)
                finally:
                    self._running_wallets -= wallets
                    self._running_sizes.remove(size)
                for call, record in zip(batch, records, strict=True):
                    self._ended(call, record)
        finally:
            self._idle_writers += 1

    def _next_batch(self) -> list[Call]:
        """Take calls of the mutation that has waited longest, at most BATCH_MAX; the others stay queued, last in turn.

        Of those on one row at most ROW_CALLS_MAX are taken, unless each has an idempotency key.
        Calls whose wallet is in a running batch stay queued until it ends. In PostgreSQL they would wait for it too,
        and a transaction that waits there for a busy row can be overtaken again and again.
        """
        for mutation in list(self._queued):
            calls = self._still_queued(self._queued[mutation])
            batch = [call for call in calls if call.row[0] not in self._running_wallets]
            if len(batch) > ROW_CALLS_MAX and not mutation.has_idempotency_key:
                batch = _first_of_each_row(batch)
            batch = batch[:BATCH_MAX]
            if batch or not calls:
                del self._queued[mutation]
            if batch:
                taken = set(map(id, batch))
                if rest := [call for call in calls if id(call) not in taken]:
                    self._queued[mutation] = rest
                return sorted(batch, key=attrgetter("row"))
        return []

    def _still_queued(self, calls: list[Call]) -> list[Call]:
        """Drop the calls whose callers have left, and hand over those of stuck wallets to run alone."""
        if self._stuck_wallets:
            for call in calls:
                if call.wallet_id in self._stuck_wallets and not call.answered.done():
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


async def run_batch(
    connections: ConnectionPool, mutation: Mutation, batch: Sequence[Call]
) -> Sequence[asyncpg.Record | None]:
    """Return each call's record, or None for each if the transaction failed or took too long."""
    records: list[asyncpg.Record | None] = [None] * len(batch)
    with suppress(Exception):  # The call at fault raises it again when it runs alone.
        if len(batch) == 1:
            return [await connections.run(partial(run_alone, batch[0]))]
        columns = zip(*[call.arguments for call in batch], strict=True)
        for record in await connections.run(methodcaller("fetch", mutation.text, *columns)):
            records[record["place"] - 1] = record
    return records


async def run_alone(call: Call, connection: PoolConnection) -> asyncpg.Record:
    """Return the record of one call."""
    record = await connection.fetchrow(call.mutation.text_for_one, *call.arguments)
    assert record is not None  # noqa: S101 - every call is answered
    return record
