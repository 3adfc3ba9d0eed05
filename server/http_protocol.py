"""HTTP as uvicorn speaks it, but that what is usual goes the short way."""

from collections.abc import Coroutine, Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.headers import Header
from server.short_way import PATH, ShortWay, Written

_PATH = PATH.encode()
_BROKEN_OFF = (
    STATUS_LINE[500]
    + b"content-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\nconnection: close\r\n\r\n"
    + b"Internal Server Error"
)


class Protocol(HttpToolsProtocol):
    """A connection. What is usual goes the short way of our application; all else is uvicorn's, and goes by ASGI.

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
            and not self.config.access_log
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
        try:
            status, headers, body = await writing
        except BaseException:  # It is broken off, or not even a fault can be told: what uvicorn says of both.
            if not cycle.disconnected:
                self.transport.write(_BROKEN_OFF)
                self.transport.close()
            raise
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        head = _head(status, self.server_state.default_headers, headers, last=not cycle.keep_alive)
        self.transport.write(head + body)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


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


def _head(status: int, defaults: Iterable[Header], headers: Iterable[Header], *, last: bool) -> bytes:
    """Write the beginning of a response, of which all but the first two headers are the same for many."""
    (_, request_id), (_, length), *others = headers
    own = b"x-request-id: %b\r\ncontent-length: %b\r\n" % (request_id, length)
    end = b"connection: close\r\n\r\n" if last else b"\r\n"
    return b"".join((STATUS_LINE[status], _lines(tuple(defaults)), own, _lines(tuple(others)), end))


@lru_cache(256)
def _lines(headers: tuple[Header, ...]) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)
