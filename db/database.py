"""How statements are run: pooled, once if all is well, and again where that is safe and needed."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar
from uuid import UUID

import asyncpg

# Quoted: asyncpg's classes are generic only to type checkers.
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Answer = TypeVar("Answer")

# Nothing was decided, or nobody can know whether it was: every statement here may be run again (DESIGN: its key tells).
TRANSIENT = (
    asyncpg.SerializationError,  # 40001
    asyncpg.DeadlockDetectedError,  # 40P01
    asyncpg.LockNotAvailableError,  # 55P03
    asyncpg.PostgresConnectionError,  # 08xxx
    asyncpg.AdminShutdownError,  # 57P01
    asyncpg.CrashShutdownError,  # 57P02
    asyncpg.CannotConnectNowError,  # 57P03
    asyncpg.IdleSessionTimeoutError,  # 57P05
    asyncpg.TooManyConnectionsError,  # 53300
    OSError,
)

SESSION_SETTINGS = {
    "jit": "off",  # No statement here runs long enough to be worth compiling.
    # Planned once for each connection: the arguments change no plan, and those that take arrays would otherwise
    # be planned anew for each call (PostgreSQL's CPU for one video: 163 µs, then 55).
    "plan_cache_mode": "force_generic_plan",
    # Hot rows are in memory. With the default of 4, a page of a user's 1,600 videos was found by reading and
    # sorting them all (9 ms) instead of walking the primary key (0.2 ms).
    "random_page_cost": "1.1",
}


class RetryLaterError(Exception):
    """The database gave no answer in time: what was asked may or may not have happened; ask again with the same key."""


class Database:
    """A pool of connections to one database, and the two ways to run a statement on it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", timeout_seconds: float) -> None:
        self.pool = pool
        self._timeout_seconds = timeout_seconds
        self._settling: set[asyncio.Task[asyncpg.Record]] = set()
        self.on_change: Callable[[UUID], None] | None = None  # called with each user whose rows may have changed

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return what a reading statement finds; raise RetryLaterError when the database does not answer in time."""
        return await self._until_deadline(lambda connection: connection.fetch(query, *arguments))

    async def answer(self, query: str, user_id: UUID, *arguments: object) -> asyncpg.Record:
        """Return the one row of a statement that changes a user's rows, its first argument.

        It is run again while it is 'stale' or the fault is a passing one.
        What has begun is finished although the caller is cancelled: it commits or not, and the idempotency key tells.
        Raises RetryLaterError when the database does not answer in time.
        """
        task = asyncio.create_task(self._settle(query, user_id, arguments))
        self._settling.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Let what has begun finish, then close the connections."""
        if self._settling:
            await asyncio.wait(self._settling)
        await self.pool.close()

    async def _settle(self, query: str, user_id: UUID, arguments: tuple[object, ...]) -> asyncpg.Record:
        try:
            return await self._until_deadline(lambda connection: _settled(connection, query, user_id, *arguments))
        finally:
            # Whatever came of it, since what got no answer may have been done: a needless notice changes nothing.
            if self.on_change is not None:
                self.on_change(user_id)

    def _forget(self, task: asyncio.Task[asyncpg.Record]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # Retrieved here, since a caller that was cancelled will not do it.

    async def _until_deadline(self, run: Callable[[PoolConnection], Awaitable[Answer]]) -> Answer:
        pause_seconds = 0.002
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while True:
                    try:
                        async with self.pool.acquire() as connection:
                            try:
                                return await run(connection)
                            except asyncpg.InternalClientError:
                                # The server ended the connection while it was idle, which asyncpg has half noticed.
                                connection.terminate()
                            except asyncpg.InterfaceError:
                                if not connection.is_closed():
                                    raise  # The statement was called wrongly: running it again would not help.
                    except TRANSIENT:
                        pass
                    await asyncio.sleep(pause_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads retries
                    pause_seconds = min(2 * pause_seconds, 0.25)
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise RetryLaterError from error


async def _settled(connection: PoolConnection, query: str, *arguments: object) -> asyncpg.Record:
    """Run a statement until its refusal is final: 'stale' says that its snapshot was older than its wait for a lock."""
    while True:
        try:
            record = await connection.fetchrow(query, *arguments)
        except asyncpg.UniqueViolationError as error:
            # Two first attempts under one key have met; the second one's next look is a replay.
            if error.constraint_name not in {"credit_entries_idempotency_key_once", "video_data_idempotency_key_once"}:
                raise
        else:
            assert record is not None  # noqa: S101 - every statement answers with exactly one row
            if record["outcome"] != "stale":
                return record


async def connect(dsn: str, *, pool_size: int, timeout_seconds: float) -> Database:
    """Open a database with at most ``pool_size`` connections whose statements take at most ``timeout_seconds``."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=min(2, pool_size),
        max_size=pool_size,
        init=_teach_json,
        reset=_keep,
        server_settings={
            "application_name": "videocredits",
            "statement_timeout": str(round(timeout_seconds * 1000)),
            **SESSION_SETTINGS,
        },
    )
    return Database(pool, timeout_seconds)


async def _teach_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


async def _keep(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare the round trip by which asyncpg resets a session after each use: no statement leaves anything to reset."""
