"""The head of a connection's last request, so that the next one with the same head need not be parsed."""

import re
from typing import NamedTuple

from server.transports.fast_path import Head

REMEMBERED_HEAD_BYTES_MAX = 8192  # There may be thousands of connections, and each remembers one.

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_DIGITS_MAX = 15


class RememberedHead(NamedTuple):
    """A request's head that has been parsed, with its bytes before and after the length of its body."""

    head: Head
    before: bytes
    after: bytes

    def body(self, data: bytes) -> bytes | None:
        """Return the body if this is all of one request with this head, None if it is anything else."""
        if not data.startswith(self.before):
            return None
        digits = len(self.before)
        end = data.find(b"\r\n", digits, digits + _DIGITS_MAX)
        start = end + len(self.after)
        if end < 0 or not data.startswith(self.after, end) or data[digits:end] != b"%d" % (len(data) - start):
            return None
        return data[start:]


def remembered(data: bytes, head: Head, body: bytes) -> RememberedHead | None:
    """Remember the head of a request that is not too long, if the request is all that there is in what has come."""
    end = len(data) - len(body)
    length = _LENGTH.search(data, 0, end)
    if length is None or end > REMEMBERED_HEAD_BYTES_MAX or data.find(_END) + len(_END) != end:
        return None
    return RememberedHead(head, data[: length.start(1)], data[length.end(1) : end])
