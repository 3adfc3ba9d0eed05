"""A pool's connections, of which a few are kept at hand."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeAlias, TypeVar

import asyncpg

# Quoted: asyncpg's classes are generic only to type checkers.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
PoolConnection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Answer = TypeVar("Answer")

AT_HAND_SECONDS_MAX = 240  # Routers on the way forget what is idle for longer, and tell nobody. (asyncpg: 300.)


class ConnectionPool:
    """Runs statements on a pool's connections, none of which has anything to reset after one.

    To take one from the pool and give it back takes as long as all else of a small statement. So a few that were used
    last are not given back, but at hand for the next.
    """

    def __init__(self, pool: Pool, at_hand_max: int) -> None:
        self.pool = pool
        self._at_hand_max = at_hand_max
        self._at_hand: list[tuple[PoolConnection, float]] = []  # with the time since when each is idle

    async def run(self, run: Callable[[PoolConnection], Awaitable[Answer]]) -> Answer:
        """Return what is made of a connection; raise ConnectionError where the server had ended it before."""
        connection = await self._take(monotonic())
        is_sound = False
        try:
            answer = await run(connection)
            is_sound = True
        except asyncpg.InternalClientError as error:
            # The server ended the connection while it was idle, which asyncpg has half noticed.
            connection.terminate()
            raise ConnectionError from error
        except asyncpg.InterfaceError as error:
            if not _is_gone(connection):
                raise  # The statement was called wrongly: running it again would not help.
            raise ConnectionError from error
        finally:
            if is_sound and len(self._at_hand) < self._at_hand_max:
                self._at_hand.append((connection, monotonic()))
            else:
                await self.pool.release(connection)
        return answer

    async def close(self) -> None:
        """Let what has begun finish, then close the connections."""
        self._at_hand_max = 0
        while self._at_hand:
            await self.pool.release(self._at_hand.pop()[0])
        await self.pool.close()

    async def _take(self, now: float) -> PoolConnection:
        while self._at_hand:
            connection, since = self._at_hand.pop()
            if now - since < AT_HAND_SECONDS_MAX and not _is_gone(connection):
                return connection
            if not _is_gone(connection):
                connection.terminate()
            await self.pool.release(connection)
        return await self.pool.acquire()


def _is_gone(connection: PoolConnection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # The pool took it back when it was closed.
        return True
