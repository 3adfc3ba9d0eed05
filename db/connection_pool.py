"""Pooled connections: the last few used are kept at hand, dead ones are given up, and every wait is bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from db.transient import READ_ONLY, TRANSIENT

# Quoted: asyncpg's classes are generic only to type checkers.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Proxy: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Answer = TypeVar("Answer")
Prepare: TypeAlias = Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[object]]

AT_HAND_SECONDS_MAX = 240  # Routers silently drop connections that are idle for longer. (asyncpg: 300.)
POOL_CONNECT_SECONDS_MAX = 3
CONNECT_AGAIN_SECONDS = 0.75  # A server that is back is found within this time, even if earlier attempts hang.
# A healthy server takes milliseconds to confirm that it has canceled a statement.
RELEASE_SECONDS_MAX = 0.5
READ_ONLY_SECONDS_MAX = 1  # By then the address may lead to a server that takes changes.
READ_ONLY_CHECK_SECONDS = 0.25
CLOSE_SECONDS_MAX = 1

log = structlog.get_logger()


class PoolConnection(asyncpg.Connection):
    """A connection, and what the pool decides by whether to go on using it."""

    __slots__ = ("answered_at", "opened_at", "proxy", "refused_change")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened_at = self.answered_at = monotonic()
        self.refused_change = False  # whether it did, though the server's settings do not say that it is read-only
        # The pool's proxy, which it takes back. Statements are run without it: it passes each call on, which takes as
        # long as sending a small statement.
        self.proxy: Proxy | None = None

    @property
    def raw(self) -> Self:
        """This connection: the pool's proxy passes attributes on that it does not have, so this one leads behind it."""
        return self

    def is_outdated(self, now: float) -> bool:
        """Tell whether a new connection might lead to a server that takes changes, as this one does not."""
        return (self.refused_change or is_read_only(self)) and now - self.opened_at >= READ_ONLY_SECONDS_MAX


def is_read_only(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Tell whether the server takes no changes: it reports these two whenever they change, after the next statement."""
    settings = connection.get_settings()
    return "on" in (getattr(settings, "in_hot_standby", ""), getattr(settings, "default_transaction_read_only", ""))


async def open_connection(dsn: str | None, prepare: Prepare | None = None, **options: Any) -> PoolConnection:
    """Connect, and prepare the connection, within POOL_CONNECT_SECONDS_MAX.

    While an attempt gets no answer, another begins every CONNECT_AGAIN_SECONDS: those before may never get one, if the
    server was frozen or cut off when they began, while a server that is merely slow answers one of them.
    """

    async def attempt() -> PoolConnection:
        async with asyncio.timeout(POOL_CONNECT_SECONDS_MAX):
            connection: PoolConnection = await asyncpg.connect(dsn, **options | {"connection_class": PoolConnection})
            try:
                if prepare is not None:
                    await prepare(connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

    attempts: list[asyncio.Task[PoolConnection]] = []
    try:
        while True:
            attempts.append(asyncio.create_task(attempt()))
            done, _ = await asyncio.wait(attempts, timeout=CONNECT_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if done:
                first = done.pop()
                attempts.remove(first)
                return first.result()
    finally:
        for other in attempts:
            other.cancel()
            other.add_done_callback(_end_attempt)


def _end_attempt(attempt: asyncio.Task[PoolConnection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


class ConnectionPool:
    """Runs statements on pooled connections. Statements never change session state, so connections are not reset.

    Taking one from the pool and giving it back takes as long as all else of a small statement. So the last few used
    are not given back, but kept at hand for the next call, unless others wait for the pool already.
    """

    def __init__(self, pool: Pool, at_hand_max: int) -> None:
        self.pool = pool
        self._at_hand_max = at_hand_max
        self._at_hand: list[tuple[PoolConnection, float]] = []  # with the time since when each is idle
        self._silent_since = 0.0  # Connections that have not answered since then may be dead, as another one was.
        self._checked_at = 0.0  # When those at hand were last looked through for outdated ones.
        self._releasing: set[asyncio.Task[None]] = set()
        self._waiting = 0  # How many calls wait for the pool to have a connection.

    @classmethod
    async def open(cls, dsn: str, size: int, at_hand_max: int, prepare: Prepare, **options: Any) -> "ConnectionPool":
        """Open a pool, with one connection at first."""
        is_lost = False

        async def connect(dsn: str | None = None, **options: Any) -> PoolConnection:
            nonlocal is_lost
            try:
                connection = await open_connection(dsn, prepare, **options)
            except Exception as error:
                if not is_lost:
                    log.warning("database_lost", reason=f"{type(error).__name__}: {error}")
                is_lost = True
                raise
            if is_lost:
                log.info("database_back")
            is_lost = False
            return connection

        # asyncpg would keep up a minimum by itself, with a traceback for each attempt that fails.
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            init_size=1,
            max_size=size,
            connect=connect,
            reset=_keep,
            connection_class=PoolConnection,
            **options,
        )
        return cls(pool, at_hand_max)

    async def run(self, run: Callable[[PoolConnection], Awaitable[Answer]]) -> Answer:
        """Return the result of ``run`` on a connection; raise ConnectionError where there is none, or it is lost.

        When ``run`` fails or is cancelled, its connection is released in the background.
        """
        connection = await self._take()
        began = monotonic()
        is_sound = False
        try:
            answer = await run(connection)
            is_sound = True
        except asyncpg.InternalClientError as error:
            # The server ended the connection while it was idle, which asyncpg has half noticed.
            connection.terminate()
            raise ConnectionError from error
        except asyncpg.InterfaceError as error:
            if not connection.is_closed():
                raise  # The statement was called wrongly: running it again would not help.
            raise ConnectionError from error
        except asyncpg.PostgresError as error:
            _judge(connection, error)
            raise
        finally:
            if is_sound and len(self._at_hand) < self._at_hand_max and not self._waiting:
                self._at_hand.append((connection, monotonic()))
            elif is_sound:
                await self._release(connection, began)
            else:
                releasing = asyncio.create_task(self._release(connection, began))
                self._releasing.add(releasing)
                releasing.add_done_callback(self._releasing.discard)
        return answer

    async def close(self) -> None:
        """Let statements finish and close the connections, within CLOSE_SECONDS_MAX; then end those that are left."""
        self._at_hand_max = 0
        with suppress(Exception):  # asyncpg has ended all of them then.
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                while self._at_hand:
                    await self._release(self._at_hand.pop()[0], monotonic())
                await self.pool.close()
        self.pool.terminate()

    async def _take(self) -> PoolConnection:
        connection: PoolConnection
        now = monotonic()
        if now - self._checked_at >= READ_ONLY_CHECK_SECONDS:
            self._drop_outdated(now)
        while self._at_hand:
            connection, since = self._at_hand.pop()
            if now - since < AT_HAND_SECONDS_MAX and since >= self._silent_since and not connection.is_closed():
                return connection
            connection.terminate()
        while True:
            self._waiting += 1
            try:
                proxy = await self.pool.acquire()
            except (asyncpg.PostgresError, asyncpg.InternalClientError, asyncpg.InterfaceError) as error:
                # Whatever the reason, such as a password that is being changed: no statement has begun.
                raise ConnectionError(f"No connection: {type(error).__name__}: {error}") from error
            finally:
                self._waiting -= 1
            connection = proxy.raw  # type: ignore[attr-defined]  # passed on
            connection.proxy = proxy
            if connection.answered_at >= self._silent_since and not connection.is_outdated(monotonic()):
                return connection
            connection.terminate()

    def _drop_outdated(self, now: float) -> None:
        self._checked_at = now
        for each in list(self._at_hand):
            if not each[0].is_closed() and each[0].is_outdated(now):
                self._at_hand.remove(each)
                each[0].terminate()

    async def _release(self, connection: PoolConnection, began: float) -> None:
        """Give a connection back to the pool; one that does not even confirm a cancellation is dead.

        Then others may be dead too, and nobody should wait for each to find out: those that have not answered since
        are replaced when they are taken.
        """
        proxy, connection.proxy = connection.proxy, None
        assert proxy is not None  # noqa: S101 - it was taken
        try:
            if not connection.is_closed():
                connection.answered_at = monotonic()
            await self.pool.release(proxy, timeout=RELEASE_SECONDS_MAX)
        except TimeoutError:
            self._silent_since = max(self._silent_since, began)
        except Exception as error:  # noqa: BLE001 - asyncpg ends the connection after any error
            log.debug("connection_ended", reason=repr(error))


def _judge(connection: PoolConnection, error: asyncpg.PostgresError) -> None:
    fault = TRANSIENT.get(error.sqlstate or "")
    if fault is None or not fault.drops_connection:
        return
    if error.sqlstate == READ_ONLY:
        connection.refused_change = True  # Dropped when it is older, so that there is one new connection a second.
    else:
        connection.terminate()


async def _keep(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare the round trip by which asyncpg resets a session after each use: no statement leaves anything to reset."""
