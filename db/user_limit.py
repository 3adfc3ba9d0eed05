"""A limit on how many connections the calls of one user hold at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

USER_CONNECTIONS_FRACTION = 4  # One user may hold a quarter of a pool's connections.


class UserLimit:
    """Lets so many calls of each user run at the same time; the user's others wait, in the order of their arrival.

    Calls of one user wait for each other's locks, or for a stranger's, each on a connection. Beyond a few, more
    connections do not help that user, and are missing for everybody else.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._slots: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()  # of users with calls

    @asynccontextmanager
    async def slot(self, user_id: UUID) -> AsyncIterator[None]:
        """Wait until fewer than the maximum of the user's calls run, and count as one of them."""
        slots = self._slots.get(user_id)
        if slots is None:
            slots = self._slots[user_id] = asyncio.Semaphore(self._maximum)
        async with slots:
            yield
