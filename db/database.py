"""How statements are run: pooled, once if all is well, and again where that is safe and needed."""

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import methodcaller
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from db.connection_pool import ConnectionPool, PoolConnection
from db.deadline import Deadlines, Section
from db.group_commit import (
    BATCH_SECONDS_MAX,
    LOCK_MILLISECONDS_MAX,
    WRITERS,
    WRITERS_SESSION_SETTINGS,
    Call,
    GroupCommit,
    run_alone,
)
from db.json_text import json_text
from db.mutation import Mutation
from db.shared_data_loader import READERS, SharedDataLoader
from db.transient import transient
from db.wallet_limit import WALLET_CONNECTIONS_FRACTION, WalletLimit

Answer = TypeVar("Answer")
Argument = TypeVar("Argument")
Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")

# A statement that gets no answer is canceled and rerun, on another connection if this one is dead. Each attempt may
# take four times as long as the one before, which may only have waited for a lock, or read a lot. (Deadlocks are
# resolved after 1 s.)
ATTEMPT_SECONDS = 1.5
FINISH_SECONDS_MAX = 2  # What is being changed when the database is closed has so long to finish.
DISK_FULL_SECONDS = 5.0  # For so long after the last report of a full disk it is taken for full.

SESSION_SETTINGS = {
    "jit": "off",  # No statement here runs long enough to be worth compiling.
    # Planned once for each connection: the arguments change no plan, and those that take arrays would otherwise
    # be planned anew for each call (PostgreSQL's CPU for one video: 163 µs, then 55).
    "plan_cache_mode": "force_generic_plan",
    # Hot rows are in memory. With the default of 4, a page of a wallet's 1,600 videos was found by reading and
    # sorting them all (9 ms) instead of walking the primary key (0.2 ms).
    "random_page_cost": "1.1",
    # Points in time are read as PostgreSQL writes them (see `_teach_types`), whatever is set for the database.
    "datestyle": "ISO",
    "timezone": "UTC",
}

GROUPED_POOL_SIZE_MIN = 2 * WRITERS  # With fewer connections, none can be set apart.


class RetryLaterError(Exception):
    """The database gave no answer in time: what was asked may or may not have happened; ask again with the same key."""


class Database:
    """A pool of connections to one database, and the ways to run a statement on it."""

    def __init__(
        self, connections: ConnectionPool, timeout_seconds: float, writers: ConnectionPool | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()  # Kept, since to ask for it is a call of the system in Python 3.11.
        self.pool = connections.pool
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._deadlines = Deadlines()
        self._reading_deadlines = Deadlines()
        self._disk_full_until = -math.inf
        self._wallet_limit = WalletLimit(max(1, connections.pool.get_max_size() // WALLET_CONNECTIONS_FRACTION))
        # Wallets by how many of their calls left a batch that failed, and still run. Most such batches fail because a
        # row is locked: the next call of that wallet would make the next batch fail.
        self._stuck_wallets: Counter[UUID] = Counter()
        self._group_commit = (
            None if writers is None else GroupCommit(self._loop, writers, self._ended, self._stuck_wallets)
        )
        self._settling: set[asyncio.Task[asyncpg.Record]] = set()
        self._loaders: dict[object, SharedDataLoader[Any, Any]] = {}  # by `fetch` and terms
        self.on_change: Callable[[UUID], None] | None = None  # called with each wallet whose rows may have changed

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return what a reading statement finds; raise RetryLaterError when the database does not answer in time."""
        deadline = self._loop.time() + self._timeout_seconds
        fetch = methodcaller("fetch", query, *arguments)
        return await self._until(deadline, self._reading_deadlines, self._connections.run, fetch)

    async def probe(self, run: Callable[[PoolConnection], Awaitable[Answer]], seconds: float) -> Answer:
        """Return the result of ``run`` on a connection; raise TimeoutError, or whatever else shows that there is none.

        Only a connection that was lost before is replaced.
        """
        with Section(self._reading_deadlines, self._loop.time() + seconds):
            try:
                return await self._connections.run(run)
            except ConnectionError:
                return await self._connections.run(run)

    @property
    def is_disk_full(self) -> bool:
        """Whether the server has reported a full disk within the last DISK_FULL_SECONDS."""
        return self._loop.time() < self._disk_full_until

    def row(
        self, fetch: "Callable[..., Awaitable[Mapping[Key, Row]]]", key: Key, *terms: Hashable
    ) -> "asyncio.Future[Row | None]":
        """Load one row, batched with other requests for rows of the same ``fetch`` and terms.

        ``fetch`` is called with this database, a list of keys, and the terms.
        """
        kind = (fetch, terms)
        loader = self._loaders.get(kind)
        if loader is None:
            # Without terms there are as many loaders as functions; with terms, as many as clients think of.
            on_idle = partial(self._loaders.pop, kind, None) if terms else None
            loader = self._loaders[kind] = SharedDataLoader(self._loop, lambda keys: fetch(self, keys, *terms), on_idle)
        return loader.row(key)

    async def answer(self, mutation: Mutation, wallet_id: UUID, *arguments: object) -> Sequence[Any]:
        """Run a mutation and return its outcome and rows. Its first argument is the id of the wallet that it changes.

        The call may share a transaction with others. It is run again after a transient fault, and then recognizes its
        own work. A call that has begun is finished even if its caller is cancelled: it commits or not, and the
        idempotency key shows which. Raises RetryLaterError if the database does not answer in time.
        """
        deadline = self._loop.time() + self._timeout_seconds
        # Names the request: by it a rerun finds what the first run did (docs/decisions/0016-request-ids.md).
        request_id = random.getrandbits(63)
        call = Call(mutation, wallet_id, (wallet_id, *arguments, request_id), deadline, self._loop.create_future())
        if self._group_commit is None or (self._stuck_wallets and wallet_id in self._stuck_wallets):
            return mutation.rows(await asyncio.shield(self._run_alone(call)))
        self._deadlines.add(call, self._loop)
        self._group_commit.submit(call)
        try:
            answer = await call.answered
        except TimeoutError as error:
            raise RetryLaterError from error
        finally:
            self._deadlines.remove(call)
        return mutation.rows(await asyncio.shield(answer) if isinstance(answer, asyncio.Task) else answer)

    async def close(self) -> None:
        """Let changes finish, break off reads, then close the connections, whether the server answers or not.

        What has not finished within FINISH_SECONDS_MAX ends in RetryLaterError, as does whatever is asked later.
        """
        now = self._loop.time()
        self._reading_deadlines.end_by(now)
        self._deadlines.end_by(now + FINISH_SECONDS_MAX)
        pools = [self._connections]
        if self._group_commit is not None:
            await self._group_commit.finish(FINISH_SECONDS_MAX)
            pools.append(self._group_commit.connections)
        if self._settling:
            await asyncio.wait(self._settling)
        await asyncio.gather(*(pool.close() for pool in pools))

    def _ended(self, call: Call, record: asyncpg.Record | None) -> None:
        """Return a batch's record to the caller of one of its calls, or run the call alone."""
        self._changed(call)
        if call.answered.done() and not call.answered.cancelled():
            return  # Its time is up.
        answer: asyncpg.Record | asyncio.Task[asyncpg.Record] | None = record
        if answer is None:
            answer = self._run_alone(call)
            self._stuck_wallets[call.wallet_id] += 1
            answer.add_done_callback(partial(self._no_longer_stuck, call.wallet_id))
        if not call.answered.cancelled():
            call.answered.set_result(answer)

    def _no_longer_stuck(self, wallet_id: UUID, _: asyncio.Task[asyncpg.Record]) -> None:
        self._stuck_wallets[wallet_id] -= 1
        if not self._stuck_wallets[wallet_id]:
            del self._stuck_wallets[wallet_id]

    def _changed(self, call: Call) -> None:
        # Whatever came of it, since what got no answer may have been done: a needless notice changes nothing.
        if self.on_change is not None:
            self.on_change(call.wallet_id)

    def _run_alone(self, call: Call) -> "asyncio.Task[asyncpg.Record]":
        task = self._loop.create_task(self._settle(call))
        self._settling.add(task)
        task.add_done_callback(self._forget)
        return task

    async def _settle(self, call: Call) -> asyncpg.Record:
        try:
            return await self._until(call.deadline, self._deadlines, self._run_within_limit, call)
        finally:
            self._changed(call)

    async def _run_within_limit(self, call: Call) -> asyncpg.Record:
        async with self._wallet_limit.slot(call.wallet_id):
            return await self._connections.run(partial(run_alone, call))

    def _forget(self, task: asyncio.Task[asyncpg.Record]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # Retrieved here, since a caller that was cancelled will not do it.

    async def _until(
        self, deadline: float, deadlines: Deadlines, run: Callable[[Argument], Awaitable[Answer]], argument: Argument
    ) -> Answer:
        now = began = self._loop.time()
        pause_seconds = 0.002
        attempt_seconds = ATTEMPT_SECONDS
        last_fault: Exception | None = None
        while True:
            try:
                with Section(deadlines, min(deadline, now + attempt_seconds)):
                    return await run(argument)
            except Exception as error:
                fault = transient(error)
                if fault is None:
                    raise
                now = self._loop.time()
                if isinstance(error, asyncpg.DiskFullError):
                    self._disk_full_until = now + DISK_FULL_SECONDS
                if last_fault is None or not isinstance(error, TimeoutError):
                    last_fault = error
                if now - began >= fault.rerun_seconds or now >= min(deadline, deadlines.latest):
                    raise RetryLaterError from last_fault
            await asyncio.sleep(min(pause_seconds * random.uniform(0.5, 1.5), deadline - now))  # noqa: S311 - only spreads retries
            pause_seconds = min(2 * pause_seconds, 0.25)
            attempt_seconds *= 4
            now = self._loop.time()


async def connect(dsn: str, *, pool_size: int, timeout_seconds: float) -> Database:
    """Open a database with at most ``pool_size`` connections whose statements take at most ``timeout_seconds``."""
    settings = {
        "application_name": "videocredits",
        "statement_timeout": str(round(timeout_seconds * 1000)),
        **SESSION_SETTINGS,
    }
    grouped = pool_size >= GROUPED_POOL_SIZE_MIN
    size = pool_size - WRITERS if grouped else pool_size
    # Of few, none is kept at hand: others may want one of the pool.
    connections = await ConnectionPool.open(dsn, size, min(READERS, size // 4), _teach_types, server_settings=settings)
    if not grouped:
        return Database(connections, timeout_seconds)
    try:
        writers = await ConnectionPool.open(
            dsn,
            WRITERS,
            WRITERS,
            _teach_types,
            server_settings=settings | WRITERS_SESSION_SETTINGS | {"lock_timeout": str(LOCK_MILLISECONDS_MAX)},
            command_timeout=BATCH_SECONDS_MAX,
        )
    except BaseException:
        await connections.close()
        raise
    return Database(connections, timeout_seconds, writers)


async def _teach_types(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json_text, decoder=json.loads)
    # As text, which the standard library reads in C: asyncpg's own takes four times as long, and a page has dozens.
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=datetime.isoformat, decoder=datetime.fromisoformat
    )
