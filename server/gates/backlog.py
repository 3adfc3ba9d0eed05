"""A limit on how much of the event loop's time goes to what clients have sent ahead."""

import asyncio
from collections import deque
from collections.abc import Callable

# Of all connections together. Most pieces take half a millisecond, so they take an eighth of the event loop's time.
PIECES_PER_SECOND_MAX = 250
# While requests are being answered, a piece waits for them, but for no longer than this allows.
PIECES_PER_SECOND_MIN = 25


class Backlog:
    """Takes up what clients have sent ahead of their turn: piece by piece, in the order of their arrival.

    A piece is a pipelined request, or a part of what has come on a socket that sends too many frames. Without this, a
    hundred connections that pipeline would each have a request answered in every iteration of the event loop, and all
    other clients would wait for all of those. (No browser, proxy or GraphQL client pipelines.)
    """

    def __init__(self, is_busy: Callable[[], bool] = lambda: False) -> None:
        """``is_busy`` tells whether requests are being answered."""
        self.waiting: deque[Callable[[], None]] = deque()
        self._is_busy = is_busy
        self._postponed = 0  # how often in a row the next piece was

    def add(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once, after what was added before."""
        self.waiting.append(go_on)
        if len(self.waiting) == 1:
            self._wait()

    def _wait(self) -> None:
        asyncio.get_running_loop().call_later(1 / PIECES_PER_SECOND_MAX, self._take_up)

    def _take_up(self) -> None:
        if self._is_busy() and self._postponed < PIECES_PER_SECOND_MAX // PIECES_PER_SECOND_MIN - 1:
            self._postponed += 1
            self._wait()
            return
        self._postponed = 0
        go_on = self.waiting.popleft()
        if self.waiting:
            self._wait()
        go_on()
