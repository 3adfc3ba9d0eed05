"""HTTP as uvicorn speaks it, but that a whole answer is written at once, and what is the same for all is made once."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseStartEvent

Header = tuple[bytes, bytes]


class Protocol(HttpToolsProtocol):
    """A connection. What its answers are written by is uvicorn's, wherever they are not the usual ones."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        cycle.__class__ = _Cycle  # Uvicorn says which class it is only in the midst of what reads a request.
        super()._start_asgi_task(cycle, app)


class _Cycle(RequestResponseCycle):
    """A request and its response, whose beginning waits for its body, which every application sends next."""

    _start: "HTTPResponseStartEvent | None" = None

    async def send(self, message: "ASGISendEvent") -> None:
        start, self._start = self._start, None
        if start is None:
            if message["type"] == "http.response.start" and not self.response_started:
                self._start = message
                self.response_started = True  # So that an application that fails now has nothing sent in its place.
                return
        else:
            if message["type"] == "http.response.body" and self._is_usual() and not message.get("more_body"):
                body = message.get("body", b"")
                head = _head(start["status"], self.default_headers, start["headers"], body)
                if head is not None:
                    self.transport.write(head + body)
                    self.response_complete = True
                    self.message_event.set()
                    self.on_response()
                    return
            self.response_started = False
            await super().send(start)
        await super().send(message)

    def _is_usual(self) -> bool:
        return (
            self.keep_alive
            and not self.disconnected
            and not self.flow.write_paused
            and not self.access_log
            and self.scope["method"] != "HEAD"
        )


def _head(status: int, defaults: Iterable[Header], headers: Iterable[Header], body: bytes) -> bytes | None:
    """Write the beginning of a response with this body, or return None where it takes more than to write it.

    The application's headers begin with an id and the body's length: all else is the same as for other responses.
    """
    (first, request_id), (second, length), *others = *headers, _NOTHING, _NOTHING
    if first != b"x-request-id" or not request_id.isalnum():
        return None
    if second != b"content-length" or length != b"%d" % len(body):
        return None
    before, after = _lines(tuple(defaults)), _lines(tuple(others[:-2]))
    if before is None or after is None:
        return None
    own = b"x-request-id: %b\r\ncontent-length: %b\r\n" % (request_id, length)
    return b"".join((STATUS_LINE[status], before, own, after, b"\r\n"))


_NOTHING = (b"", b"")


@lru_cache(256)
def _lines(headers: tuple[Header, ...]) -> bytes | None:
    lines = []
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            return None
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
        if lines[-1].startswith(_CHANGING):
            return None
    return b"".join(lines)


# They change what else is to be done.
_CHANGING = (b"connection:", b"content-length:", b"transfer-encoding:")
