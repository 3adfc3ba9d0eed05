"""HTTP as uvicorn speaks it, but that a whole answer is written at once, and what is the same for all is made once."""

from collections.abc import Coroutine, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from server.headers import Header
from server.short_way import PATH, ShortWay, Written

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGISendEvent, HTTPResponseStartEvent

_PATH = PATH.encode()


class Protocol(HttpToolsProtocol):
    """A connection. What is usual of our application goes its short way; all else is uvicorn's, but how it is written.

    A request is held back until it has come whole, or what has come so far is known not to be all of it.
    """

    _held: bytes | None = None  # the body so far of a request that may go the short way

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._short_way: ShortWay | None = getattr(getattr(self.app, "state", None), "short_way", None)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None and not self.transport.is_closing():
            self._go_the_long_way(self._held)

    def on_headers_complete(self) -> None:
        if self._may_go_the_short_way():
            self._held = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        if self._held is not None:
            assert self._short_way is not None  # noqa: S101 - else none is held back
            writing = self._short_way.begin(self.headers, self._held, self.client, self.scheme)
            if writing is not None:
                self._held = None
                self.cycle = cycle = _ShortCycle()  # type: ignore[assignment]  # It is all that uvicorn asks of one.
                task = self.loop.create_task(self._go_the_short_way(cycle, writing))
                task.add_done_callback(self.tasks.discard)
                self.tasks.add(task)
                return
            self._go_the_long_way(self._held)
        super().on_message_complete()

    def _may_go_the_short_way(self) -> bool:
        parser = self.parser
        return (
            self._short_way is not None
            and self.url == _PATH
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and self._is_idle()
            and self.limit_concurrency is None
            and not self.root_path
            and not self.access_log
        )

    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # None at first, which its type does not say
        return cycle is None or cycle.response_complete

    def _go_the_long_way(self, body: bytes) -> None:
        self._held = None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    async def _go_the_short_way(self, cycle: "_ShortCycle", writing: Coroutine[Any, Any, Written]) -> None:
        status, headers, body = await writing
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        head = _head(status, self.server_state.default_headers, headers, body)
        assert head is not None  # noqa: S101 - they are ours, and in order
        self.transport.write((head if cycle.keep_alive else head[:-2] + b"connection: close\r\n\r\n") + body)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        cycle.__class__ = _Cycle  # Uvicorn says which class it is only in the midst of what reads a request.
        super()._start_asgi_task(cycle, app)


class _ShortCycle:
    """What uvicorn's connection knows of a request on its short way, and tells it."""

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    @property
    def message_event(self) -> "_ShortCycle":
        """What is set when the client leaves, to wake who listens to it."""
        return self

    def set(self) -> None:
        """Wake nobody."""


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
