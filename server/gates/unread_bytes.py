"""A limit on the memory that responses take which clients do not read."""

import asyncio

import structlog

UNREAD_BYTES_MAX = 268_435_456

log = structlog.get_logger()


class UnreadBytes:
    """The connections whose clients read too slowly, in the order in which they began to.

    Each has a deadline of its own, but within it one user could leave thousands of large responses unread.
    """

    def __init__(self, response_bytes_max: int) -> None:
        self._bytes_max = max(UNREAD_BYTES_MAX, 2 * response_bytes_max)  # Two of the longest responses always fit.
        self._transports: dict[asyncio.WriteTransport, None] = {}

    def add(self, transport: asyncio.WriteTransport) -> None:
        """Count a connection until it is removed; break the first ones off where all have too much unread."""
        self._transports[transport] = None
        unread = sum(each.get_write_buffer_size() for each in self._transports)
        while unread > self._bytes_max:
            first = next(iter(self._transports))
            unread -= first.get_write_buffer_size()
            self.remove(first)
            first.abort()
            log.info("unread_response_dropped")

    def remove(self, transport: asyncio.WriteTransport) -> None:
        """Count a connection no more: its client has read most of its response, or it is closed."""
        self._transports.pop(transport, None)
