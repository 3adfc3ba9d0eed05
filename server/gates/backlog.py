"""A limit on how much of the event loop's time goes to what clients have sent ahead."""

import asyncio
from collections.abc import Callable, Hashable

# Of all connections together. A turn takes half a millisecond to one, so turns take at most a quarter of the event
# loop's time.
TURNS_PER_SECOND_MAX = 250
# While admitted requests run, a turn waits until they are done, but for no longer than this allows.
TURNS_PER_SECOND_WHILE_BUSY = 25


class Backlog:
    """Gives turns to connections that have sent ahead, to one address after the other.

    In its turn, a connection begins its next pipelined request, or parses a part of what has come on a socket that
    sends too many frames. Without this, a hundred connections that pipeline would each have a request answered in every
    iteration of the event loop, and all other clients would wait for all of those. (No browser, proxy or GraphQL client
    pipelines.)
    """

    def __init__(self, is_busy: Callable[[], bool] = lambda: False) -> None:
        """``is_busy`` tells whether admitted requests run."""
        # By address; the one whose turn is next is the first. A dictionary in place of a set keeps the order.
        self.waiting: dict[Hashable, dict[Callable[[], None], None]] = {}
        self._is_busy = is_busy
        self._postponed = 0  # how often the next turn was
        self._timer: asyncio.TimerHandle | None = None

    def add(self, address: Hashable, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once, in a turn of its address."""
        self.waiting.setdefault(address, {})[go_on] = None
        if self._timer is None:
            self._wait()

    def discard(self, address: Hashable, go_on: Callable[[], None]) -> None:
        """Give ``go_on`` no turn, if it waits for one: its connection is lost."""
        if address in self.waiting:
            calls = self.waiting[address]
            calls.pop(go_on, None)
            if not calls:
                del self.waiting[address]

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1 / TURNS_PER_SECOND_MAX, self._take_turn)

    def _take_turn(self) -> None:
        self._timer = None
        if not self.waiting:
            return
        if self._is_busy() and self._postponed < TURNS_PER_SECOND_MAX // TURNS_PER_SECOND_WHILE_BUSY - 1:
            self._postponed += 1
            self._wait()
            return
        self._postponed = 0
        address = next(iter(self.waiting))
        calls = self.waiting.pop(address)
        go_on = next(iter(calls))
        del calls[go_on]
        if calls:
            self.waiting[address] = calls
        try:
            go_on()
        finally:
            if self.waiting and self._timer is None:
                self._wait()
