"""A limit on how many connections the calls of one wallet hold at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

WALLET_CONNECTIONS_FRACTION = 4  # One wallet may hold a quarter of a pool's connections.


class WalletLimit:
    """Lets so many calls of each wallet run at the same time; the wallet's others wait, in the order of their arrival.

    Calls of one wallet wait for each other's locks, or for a stranger's, each on a connection. Beyond a few, more
    connections do not help that wallet, and are missing for everybody else.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._slots: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()  # of wallets with calls

    @asynccontextmanager
    async def slot(self, wallet_id: UUID) -> AsyncIterator[None]:
        """Wait until fewer than the maximum of the wallet's calls run, and count as one of them."""
        slots = self._slots.get(wallet_id)
        if slots is None:
            slots = self._slots[wallet_id] = asyncio.Semaphore(self._maximum)
        async with slots:
            yield
