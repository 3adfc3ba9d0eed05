"""A limit on the memory that request bodies and socket messages take until they are read."""

from typing import Self

from server.wire.request import RETRY_SECONDS, Refused

# All bodies and messages together. The first part of each does not count, so that ordinary requests are never refused
# for it.
BODIES_BYTES_MAX = 67_108_864
UNCOUNTED_BYTES = 65_536


class BodyMemory:
    """The memory that is left for bodies."""

    def __init__(self, body_bytes_max: int) -> None:
        self.free = max(BODIES_BYTES_MAX, 2 * body_bytes_max)  # Two of the longest bodies always fit.


class BodyBytes:
    """The memory that one body takes, while the block lasts or until it is released."""

    __slots__ = ("_memory", "_taken", "received")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._taken = 0
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def add(self, count: int) -> None:
        """Count more bytes; Refused where there is no memory for them."""
        self.received += count
        more = max(0, self.received - UNCOUNTED_BYTES) - self._taken
        if more > self._memory.free:
            message = f"The server is receiving too much: send the request again in {RETRY_SECONDS} second."
            raise Refused(503, message, code="RETRY", connection="close")
        self._memory.free -= more
        self._taken += more

    def release(self) -> None:
        """Free the memory."""
        self._memory.free += self._taken
        self._taken = self.received = 0
