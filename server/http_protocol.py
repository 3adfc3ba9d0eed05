"""HTTP as uvicorn speaks it, but that a whole answer is written at once, and its headers are not checked anew."""

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
                head = _head(start["status"], [*self.default_headers, *start["headers"]], body)
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


def _head(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes | None:
    """Write the beginning of a response with this body, or return None where it takes more than to write it."""
    lines = [STATUS_LINE[status]]
    has_length = False
    for name, value in headers:
        if name == b"x-request-id" and value.isalnum():
            line: bytes | None = b"x-request-id: %b\r\n" % value
        elif name == b"content-length":
            if value != b"%d" % len(body):
                return None
            has_length = True
            line = b"content-length: %b\r\n" % value
        else:
            line = _line(name, value)
        if line is None:
            return None
        lines.append(line)
    lines.append(b"\r\n")
    return b"".join(lines) if has_length else None


@lru_cache(256)
def _line(name: bytes, value: bytes) -> bytes | None:
    name = name.lower()
    if name in {b"connection", b"content-length", b"transfer-encoding"}:  # They change what else is to be done.
        return None
    return None if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) else b"%b: %b\r\n" % (name, value)
