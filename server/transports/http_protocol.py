"""HTTP as uvicorn speaks it, but that what is usual takes the fast path."""

import re
from asyncio import Task
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.transports.fast_path import PATH, FastPath, FastRequest, Head
from server.wire.headers import lines

_PATH = PATH.encode()
_BROKEN_OFF = (
    STATUS_LINE[500]
    + b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\nconnection: close\r\n\r\n"
    + b"Internal Server Error"
)
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_DIGITS_MAX = 15
HEAD_BYTES_MAX = 8192  # A longer one is not remembered: there may be thousands of connections.


class Protocol(HttpToolsProtocol):
    """A connection. What is usual takes the fast path of our application; all else is uvicorn's, and goes by ASGI.

    A request is held back until it has come whole, or what has come so far is known not to be all of it. One whose head
    is that of the last one, byte by byte but for the length of its body, is not parsed again.
    """

    _held: bytes | None = None  # the body so far of a request that may take the fast path
    _head: Head | None = None  # and its head
    _data: bytes = b""  # what is being parsed, if it begins with a request
    _known: "_KnownHead | None" = None  # the head of the last request that came by itself and took the fast path
    _parses: bool = False  # whether the parser is within a request
    _idle_since: float = 0.0

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._fast_path: FastPath | None = getattr(getattr(self.app, "state", None), "fast_path", None)

    def data_received(self, data: bytes) -> None:
        known = self._known
        if known is not None and not self._parses and self._is_idle():
            body = known.body(data)
            if body is not None and self._begin(known.head, body):
                return
        self._data = b"" if self._parses else data
        super().data_received(data)
        self._data = b""
        if self._held is not None and not self.transport.is_closing():
            self._take_asgi_path(self._held)

    def on_message_begin(self) -> None:
        self._parses = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._fast_path is not None and self._may_take_fast_path():
            self._head = self._fast_path.head(self.headers)
            if self._head is not None:
                self._held = b""
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        self._parses = False
        if self._held is not None:
            assert self._head is not None  # noqa: S101 - else nothing is held back
            if self._begin(self._head, self._held):
                self._known = _known_head(self._data, self._head, self._held) or self._known
                self._held = None
                return
            self._take_asgi_path(self._held)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, whose timer is set anew after each request; here, it runs on while one follows another."""
        if self.timeout_keep_alive_task is None:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._is_idle():  # It is set again by the answer.
            return
        seconds = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if seconds > 0:
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _may_take_fast_path(self) -> bool:
        parser = self.parser
        return (
            self.url == _PATH
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and self._is_idle()
            and self.limit_concurrency is None
            and not self.root_path
            and not self.config.access_log
        )

    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # None at first, which its type does not say
        return cycle is None or cycle.response_complete

    def _begin(self, head: Head, body: bytes) -> bool:
        """Begin to answer a request by the fast path, if it takes it."""
        assert self._fast_path is not None  # noqa: S101 - else it may not go it
        request = self._fast_path.begin(head, body, self.client, self.scheme, self.loop.time())
        if request is None:
            return False
        self.cycle = cycle = _FastPathCycle(request)  # type: ignore[assignment]  # It is all that uvicorn asks of one.
        cycle.task = self.loop.create_task(self._take_fast_path(cycle))
        self.tasks.add(cycle.task)
        return True

    def _take_asgi_path(self, body: bytes) -> None:
        self._held = None
        super().on_headers_complete()
        if body:
            super().on_body(body)

    async def _take_fast_path(self, cycle: "_FastPathCycle") -> None:
        try:
            status, head, body = await cycle.request.write()
            if self.flow.write_paused and not cycle.disconnected:
                await self.flow.drain()
        except BaseException:  # It is broken off, or not even a fault can be told: what uvicorn says of both.
            if not cycle.disconnected:
                self.transport.write(_BROKEN_OFF)
                self.transport.close()
            raise
        finally:
            self.tasks.discard(cycle.task)
        if cycle.disconnected:
            return
        defaults = lines(tuple(self.server_state.default_headers))
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], defaults, head, end, body)))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


class _FastPathCycle:
    """What uvicorn's connection knows of a request on its fast path, and tells it."""

    __slots__ = ("disconnected", "keep_alive", "request", "response_complete", "task")

    task: "Task[None]"

    def __init__(self, request: FastRequest) -> None:
        self.request = request
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    @property
    def message_event(self) -> "_FastPathCycle":
        """What is set when the client leaves, to wake who listens to it."""
        return self

    def set(self) -> None:
        """Have a request that still waits for admission give up its place."""
        self.request.leave()


class _KnownHead(NamedTuple):
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


def _known_head(data: bytes, head: Head, body: bytes) -> _KnownHead | None:
    """Remember the head of a request that is not too long, if the request is all that there is in what has come."""
    end = len(data) - len(body)
    length = _LENGTH.search(data, 0, end)
    if length is None or end > HEAD_BYTES_MAX or data.find(_END) + len(_END) != end:
        return None
    return _KnownHead(head, data[: length.start(1)], data[length.end(1) : end])
