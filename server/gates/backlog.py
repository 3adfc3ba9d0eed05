"""A limit on how much of the event loop's time goes to what clients have sent ahead."""

import asyncio
from collections import deque
from collections.abc import Callable

# Of all connections together. Most pieces take half a millisecond, so three quarters of the event loop's time are left.
PIECES_PER_SECOND_MAX = 500


class Backlog:
    """Takes up what clients have sent ahead of their turn: piece by piece, in the order of their arrival.

    A piece is a pipelined request, or a part of what has come on a socket that sends too many frames. Without this, a
    hundred connections that pipeline would each have a request answered in every iteration of the event loop, and all
    other clients would wait for all of those. (No browser, proxy or GraphQL client pipelines.)
    """

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def add(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once, after what was added before."""
        self.waiting.append(go_on)
        if len(self.waiting) == 1:
            asyncio.get_running_loop().call_later(1 / PIECES_PER_SECOND_MAX, self._take_up)

    def _take_up(self) -> None:
        go_on = self.waiting.popleft()
        if self.waiting:
            asyncio.get_running_loop().call_later(1 / PIECES_PER_SECOND_MAX, self._take_up)
        go_on()
