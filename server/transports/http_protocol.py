"""HTTP/1.1 on one connection: parses requests, limits what they cost, and leads them to the fast path or to ASGI."""

import asyncio
import logging
import socket
import sys
from asyncio import CancelledError, TimerHandle, current_task
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from heapq import nsmallest
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from server.gates.backlog import Backlog
from server.gates.sockets import SocketLimits
from server.gates.unread_bytes import UnreadBytes
from server.transports.fast_path import PATH, FastPath, FastRequest, Head
from server.transports.remembered_head import RememberedHead, remembered
from server.transports.websocket_protocol import WebSocketProtocol
from server.wire.answer import refusal
from server.wire.headers import Header, lines, with_security
from server.wire.request import Refused, fault, stopped
from server.wire.request_id import new_request_id

HEAD_BYTES_MAX = 65_536
HEAD_LINES_MAX = 100
FRAMING_BYTES_MAX = 65_536  # What a chunked body may have beside its content, beyond as many bytes as that has.
HEAD_SECONDS_MAX = 10
PIPELINED_BYTES_MAX = 65_536
# A client that reads nothing for so long, or less than this on average, loses its connection. Without this it would
# keep what waits to be sent for good.
UNREAD_SECONDS_MAX = 40
READ_BYTES_PER_SECOND_MIN = 1024
REFUSED_SECONDS_MAX = 1
REFUSED_BYTES_MAX = 1_048_576
BODY_BUFFER_BYTES_MAX = 65_536

# What has come is parsed in pieces: between two of them the limits are checked, and the parser can be left alone while
# a request is being answered. Common requests fit into one.
_PIECE_BYTES = 4096
# A piece that holds several heads is shorter: all of its requests are parsed, and each takes 2 KB until it is answered.
_PIPELINED_PIECE_BYTES = 256
_BLANK_LINE = b"\r\n\r\n"
_PATH = PATH.encode()
_TOO_LONG = f"The head is longer than {HEAD_BYTES_MAX} bytes or {HEAD_LINES_MAX} lines: send fewer or shorter headers."

log = structlog.get_logger()
_uvicorn_log = logging.getLogger("uvicorn.error")
_access_log = logging.getLogger("uvicorn.access")


class Protocol(asyncio.Protocol):
    """A connection. What is usual takes the fast path of our application; all else goes by ASGI.

    One request is answered at a time: while one is, what follows it is not parsed, and while its response is not read,
    the next is not begun. A request is held back until it has come whole, or what has come so far is known not to be
    all of it. One whose head is that of the last one, byte by byte but for the length of its body, is not parsed again.

    Uvicorn's server makes it and calls `shutdown`; uvicorn's `RequestResponseCycle` speaks ASGI, to which this is also
    the flow control.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.server_state = server_state
        self.app = config.loaded_app
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # There is one from connection_made on.
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.scheme = "http"
        self.tasks = server_state.tasks
        state = getattr(self.app, "state", None)
        self._fast_path: FastPath | None = getattr(state, "fast_path", None)
        self._limits: SocketLimits | None = getattr(state, "socket_limits", None)
        self._all_unread: UnreadBytes | None = getattr(state, "unread_bytes", None)
        self._backlog: Backlog = getattr(state, "backlog", None) or Backlog()
        self._admitted: str | None = None  # the key that the socket is counted by
        # The request that is being parsed
        self._parser = self._new_parser()
        self._url = b""
        self._headers: list[Header] = []
        self._is_expecting_100 = False
        self._is_in_head = False
        self._is_in_message = False
        self._refused: Refused | None = None  # why a method that the parser calls has failed
        self._received_bytes = 0  # of its head so far, then of its body so far
        self._content_bytes = 0
        self._trailer_lines = 0
        self._receiving: RequestResponseCycle | None = None  # the one whose body is incomplete
        self._head: Head | None = None
        self._held: list[bytes] | None = None  # the body so far of a request that may take the fast path
        self._data = b""  # what is being parsed, if it begins with a request
        self._remembered: RememberedHead | None = None  # of the last request that came alone and took the fast path
        # The requests that have been parsed
        self.cycle: RequestResponseCycle | FastRequest | None = None  # the one that is being answered
        self._is_queued = False  # whether it has been answered, and what follows waits for a turn in the backlog
        self._is_new = True  # whether none has been answered
        self._waiting: deque[RequestResponseCycle] = deque()
        self._unparsed = b""  # what came while it was answered
        self._defaults: list[Header] = []  # the headers that the server adds to each response
        self._written_defaults = b""
        self._then: Callable[[], None] | None = None  # what to do instead of parsing on, once all of these are answered
        self._is_refused = False
        self._refused_bytes = 0
        # Deadlines and flow control
        self.timeout_keep_alive = config.timeout_keep_alive
        self._since = 0.0  # when the connection was made, the last response was complete, or the last head began
        self.timer: TimerHandle | None = None
        self._unread_bytes = 0
        self._unread_timer: TimerHandle | None = None
        self.read_paused = False
        self.write_paused = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as asyncio itself
        """Limit the sockets of one address, and make room if file descriptors run out."""
        self.transport = transport
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        if is_ssl(transport):
            self.scheme = "https"
        self._since = self.loop.time()
        if self._limits is not None and self.client is not None:
            self._admitted = self._limits.admit(self.client[0])
            if self._admitted is None:
                self._is_refused = True
                message = "Too many connections are open from your address: use those that you have."
                transport.write(self._refusal(Refused(429, message, code="LIMIT_EXCEEDED", retry_after="10")))
                transport.close()
                return
            if self._limits.are_scarce(transport.get_extra_info("socket").fileno()):
                _shed(self.server_state.connections)
            if sys.platform == "linux":  # Elsewhere the system gives up by itself, though not on a client that stalls.
                timeout = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNREAD_SECONDS_MAX))
                with suppress(OSError):  # The client may have left.
                    transport.get_extra_info("socket").setsockopt(*timeout)
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # Uvicorn calls its `shutdown`, no more.
        self._set_timer(HEAD_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self.server_state.connections.discard(self)
        if self._all_unread is not None:
            self._all_unread.remove(self.transport)
        self._backlog.discard(self._admitted, self._end_request)
        self._stop_timers()
        for cycle in (self.cycle, *self._waiting):
            if isinstance(cycle, FastRequest):
                cycle.leave()
            elif cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self._writable.set()
        self._unparsed = b""
        self._then = None
        self._release()
        self._drop_references()

    def _drop_references(self) -> None:
        """Drop what refers back to this, when it is no longer used: else it is left to the garbage collector.

        That stops everything else for tens of milliseconds if thousands of connections have come and gone.
        """
        del self._parser
        self.cycle = self._receiving = self._refused = None
        self._waiting.clear()

    def shutdown(self) -> None:
        """End the connection, once the request that is being answered has been."""
        if self.cycle is None or self._is_queued:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # What comes

    def data_received(self, data: bytes) -> None:
        remembered_head = self._remembered
        if remembered_head is not None and not self._is_in_message and not self._unparsed and self.cycle is None:
            body = remembered_head.body(data)
            if body is not None and self._begin(remembered_head.head, body):
                return
        if self._is_refused:
            self._refused_bytes += len(data)
            if self._refused_bytes > REFUSED_BYTES_MAX:
                self.pause_reading()
        elif self._unparsed or self._may_not_parse():
            self._keep(data)
        else:
            self._parse(data)

    def _may_not_parse(self) -> bool:
        """Return whether what comes now belongs to a request that has to wait until another is answered and read."""
        if self.cycle is None:
            return self.write_paused
        return self._receiving is None or self._receiving is not self.cycle

    def _keep(self, data: bytes) -> None:
        """Keep what is not to be parsed now. Reading goes on for a while, since it shows whether the client leaves."""
        if self._then is None:
            self._unparsed += data
        if self._then is not None or len(self._unparsed) >= PIPELINED_BYTES_MAX:
            self.pause_reading()

    def _parse(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        self._data = b"" if self._is_in_message else data
        start = end = 0
        try:
            while end < len(data):
                if end and self._may_not_parse():
                    self._keep(data[end:])
                    break
                start, end = end, end + _PIECE_BYTES
                head_end = data.find(_BLANK_LINE, start, end)
                if head_end >= 0 and data.find(_BLANK_LINE, head_end + len(_BLANK_LINE), end) >= 0:
                    end = start + _PIPELINED_PIECE_BYTES
                self._parser.feed_data(data[start:end])
                if self._is_in_message:
                    self._received_bytes += min(end, len(data)) - start
                    self._check_size()
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[start + upgrade.args[0] :])
        except (httptools.HttpParserError, Refused) as error:
            self._refuse(self._reason(error))
        self._data = b""
        if self._held is not None and not self.transport.is_closing():
            self._take_asgi_path(self._held)
        if self._is_in_head and not was_in_head and self.cycle is None and not self._is_new:
            self._since = self.loop.time()
            self._set_timer(HEAD_SECONDS_MAX)

    def _check_size(self) -> None:
        """Refuse an incomplete request whose head is too long, or whose body has too much beside its content.

        Of a request that begins within a piece, the whole piece counts.
        """
        if not self._is_in_head:
            if (
                self._received_bytes >= 2 * self._content_bytes + FRAMING_BYTES_MAX
                or self._trailer_lines > HEAD_LINES_MAX
            ):
                message = "The body has too much in it beside its content: send larger chunks, and no trailers."
                raise Refused(431, message, code="LIMIT_EXCEEDED")
        elif len(self._url) >= HEAD_BYTES_MAX // 2 and self._received_bytes >= HEAD_BYTES_MAX:
            raise Refused(414, f"The URL is longer than {HEAD_BYTES_MAX} bytes: use POST.", code="LIMIT_EXCEEDED")
        elif self._received_bytes >= HEAD_BYTES_MAX or len(self._headers) > HEAD_LINES_MAX:
            raise Refused(431, _TOO_LONG, code="LIMIT_EXCEEDED")

    # What the parser calls

    def on_message_begin(self) -> None:
        self._is_in_message = self._is_in_head = True
        self._url = b""
        self._headers = []
        self._is_expecting_100 = False
        self._received_bytes = self._content_bytes = self._trailer_lines = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            self._trailer_lines += 1
            return
        name = name.lower()
        value = value.strip(b" \t")
        if name == b"content-length":
            value = value.lstrip(b"0") or b"0"  # As our own reader of it has it: a number of few digits.
        elif name == b"expect" and value.lower() == b"100-continue":
            self._is_expecting_100 = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._received_bytes = 0
        if len(self._headers) > HEAD_LINES_MAX:
            self._refused = Refused(431, _TOO_LONG, code="LIMIT_EXCEEDED")
            raise self._refused
        if self._parser.should_upgrade():  # Here the parser stops, and says where.
            return
        if self._fast_path is not None and self._may_take_fast_path():
            self._head = self._fast_path.head(self._headers)
            if self._head is not None:
                self._held = []
                return
        self._begin_by_asgi()

    def on_body(self, body: bytes) -> None:
        self._content_bytes += len(body)
        if self._held is not None:
            self._held.append(body)
        elif self._receiving is not None and not self._receiving.response_complete:
            self._receiving.body += body
            if len(self._receiving.body) > BODY_BUFFER_BYTES_MAX:
                self.pause_reading()
            self._receiving.message_event.set()

    def on_message_complete(self) -> None:
        self._is_in_message = False
        if self._held is not None:
            assert self._head is not None  # noqa: S101 - else nothing is held back
            body = b"".join(self._held)
            if self._begin(self._head, body):
                self._remembered = remembered(self._data, self._head, body) or self._remembered
                self._held = None
                return
            self._take_asgi_path(self._held)
        if self._receiving is not None:
            self._receiving.more_body = False
            self._receiving.message_event.set()
            self._receiving = None
            if self.cycle is None:
                self._forget_request()

    # Requests

    def _forget_request(self) -> None:
        """Keep nothing of a request that is done: thousands of connections may be idle."""
        self._url, self._headers, self._head = b"", [], None

    def _may_take_fast_path(self) -> bool:
        parser = self._parser
        return (
            self._url == _PATH
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self._is_expecting_100
            and self.cycle is None
            and not self.config.root_path
            and not self.config.access_log
        )

    def _begin(self, head: Head, body: bytes) -> bool:
        """Begin to answer a request by the fast path, if it takes it."""
        assert self._fast_path is not None  # noqa: S101 - else it may not go it
        request = self._fast_path.begin(head, body, self.client, self.scheme, self.loop.time())
        if request is None:
            return False
        self.cycle = request
        self.tasks.add(self.loop.create_task(self._take_fast_path(request)))
        return True

    def _take_asgi_path(self, body: list[bytes]) -> None:
        self._held = None
        self._begin_by_asgi()
        for part in body:
            self.on_body(part)

    async def _take_fast_path(self, request: FastRequest) -> None:
        try:
            status, head, body = await request.write()
        except BaseException as error:  # The server stops and waits no longer, or the response cannot be written.
            if not request.gone:
                self.transport.write(self._refusal(stopped() if isinstance(error, CancelledError) else fault()))
                self.transport.close()
            raise
        finally:  # Not by a callback of the task, which takes the event loop a microsecond of 65 for a small query.
            self.tasks.discard(current_task(self.loop))  # Without the loop it costs a call of the system.
        if request.gone:
            return
        if self._defaults is not self.server_state.default_headers:  # Uvicorn makes new ones each second: the date.
            self._defaults = self.server_state.default_headers
            self._written_defaults = lines(tuple(self._defaults))
        end = b"\r\n" if request.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], self._written_defaults, head, end, body)))
        self.on_response_complete()

    def _begin_by_asgi(self) -> None:
        """Begin to answer a request by ASGI, or have it wait until those before it are answered."""
        try:
            url = httptools.parse_url(self._url)
            path = (url.path or b"/").decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError) as error:
            self._refused = Refused(400, "The request's URL is invalid.")
            raise self._refused from error
        method, http_version = self._parser.get_method(), self._parser.get_http_version()
        scope: Scope = {
            "type": "http",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.3"},
            "http_version": http_version,
            "method": method.decode("ascii"),
            "scheme": self.scheme,
            "path": self.config.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.config.root_path.encode("ascii") + path.encode("ascii"),
            "query_string": url.query or b"",
            "root_path": self.config.root_path,
            "headers": self._headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
        }
        self._receiving = cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]  # Uvicorn has a type of its own for it.
            transport=self.transport,
            flow=self,  # type: ignore[arg-type]  # It has all the attributes that the cycle uses.
            logger=_uvicorn_log,
            access_logger=_access_log,
            access_log=self.config.access_log and _access_log.hasHandlers(),
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self._is_expecting_100,
            keep_alive=http_version != "1.0" and self._parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if self.cycle is None and not self._waiting:
            self._start(cycle)
        else:
            self._waiting.append(cycle)

    def _start(self, cycle: RequestResponseCycle) -> None:
        self.cycle = cycle
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Go on with what has come meanwhile when its turn comes, or wait for the next request."""
        self.server_state.total_requests += 1
        ends = self.cycle is None or not self.cycle.keep_alive or self.transport.is_closing()
        if (self._waiting or self._unparsed) and not ends:
            self._is_queued = True
            self._backlog.add(self._admitted, self._end_request)
        else:
            self._end_request()

    def _end_request(self) -> None:
        """Be ready for the next request.

        The timer runs on from one request to the next: it is set only where there is none, or where it would be late.
        """
        if self.cycle is not None and not self.cycle.keep_alive:
            self.transport.close()
        self.cycle = None
        self._is_new = self._is_queued = False
        if self.transport.is_closing():
            self._limit_closing()
            return
        self._since = self.loop.time()
        if self._is_in_message:
            self._set_timer(HEAD_SECONDS_MAX)
        else:
            if self._url:
                self._forget_request()
            if self.timer is None:
                self._set_timer(self.timeout_keep_alive)
        if self.read_paused or self._waiting or self._unparsed or self._then is not None:
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next request or parse on, unless a request is being answered or its response is not yet read."""
        if self.write_paused or self.cycle is not None:
            return
        if self._waiting:
            self._start(self._waiting.popleft())
            if self._receiving is not self.cycle:
                return
        elif self._then is not None:
            then, self._then = self._then, None
            then()
            return
        data, self._unparsed = self._unparsed, b""
        self.resume_reading()
        if data:
            self._parse(data)

    # Refusals and upgrades

    def _refuse(self, refused: Refused) -> None:
        """Answer what is no valid request, or came too slowly, and close the connection.

        What the client is still sending is read for a moment: else the system would break the connection off, and the
        client might not see the answer.
        """
        incomplete, self._receiving, self._held = self._receiving, None, None
        is_answered = incomplete is not None and incomplete.response_complete
        self._remembered = None  # Nothing that follows is a request.
        self._is_in_head = self._is_in_message = False
        if incomplete is not None and incomplete is self.cycle:
            if incomplete.response_started:
                self.transport.close()
                return
            incomplete.disconnected = True  # Its application gives up, and we answer instead.
            incomplete.message_event.set()
        elif self._waiting or self.cycle is not None:
            if incomplete is not None:
                self._waiting.remove(incomplete)
            self._unparsed = b""
            self._then = partial(self._refuse, refused)
            return
        self._is_refused = True
        self._stop_timers()
        if not is_answered:  # A second response would be taken for that to another request.
            self.transport.write(self._refusal(refused))
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.resume_reading()
            self.timer = self.loop.call_later(REFUSED_SECONDS_MAX, self._close)
        else:
            self.transport.close()

    def _reason(self, error: Exception) -> Refused:
        """Say why a request cannot be parsed.

        The parser's own error does not say what one of our methods has raised: its context is replaced by any error
        that is being handled meanwhile.
        """
        if isinstance(error, Refused):
            return error
        if not isinstance(error, httptools.HttpParserCallbackError):
            return Refused(400, "This is not a valid HTTP/1.1 request.")
        if self._refused is not None:
            return self._refused
        log.error("fault", exc_info=error)
        return fault()

    def _refusal(self, refused: Refused) -> bytes:
        request_id = new_request_id()
        log.info("connection_refused", status=refused.status, reason=refused.message, request_id=request_id)
        answer = refusal(refused, request_id)
        own = ((b"x-request-id", request_id.encode()), (b"connection", b"close"))
        headers = [*self.server_state.default_headers, *with_security(self.scheme, answer.raw_headers, *own)]
        return b"".join((STATUS_LINE[refused.status], lines(tuple(headers)), b"\r\n", answer.body))

    def _upgrade(self, rest: bytes) -> None:
        """Become a WebSocket, or ignore that anything else was asked for (RFC 9110, 7.8)."""
        parser = self._parser
        upgrades = [value.lower() for name, value in self._headers if name == b"upgrade"]
        if parser.get_method() == b"CONNECT":
            self._refuse(Refused(400, "This is no proxy: CONNECT is not supported."))
        elif parser.get_method() == b"GET" and parser.get_http_version() == "1.1" and upgrades == [b"websocket"]:
            head = self._written_head(self._headers)
            self._is_in_message = False
            if self._waiting or self.cycle is not None:
                self._then = partial(self._become_a_websocket, head, rest)
            else:
                self._become_a_websocket(head, rest)
        else:
            head = self._written_head((name, value) for name, value in self._headers if name != b"upgrade")
            self._is_in_message = False
            self._parser = self._new_parser()
            self._parse(head)
            if self._is_refused:
                return
            if self._may_not_parse():  # A client may send thousands of these at once: parsing on here would recurse.
                self._keep(rest)
            else:
                self._parse(rest)

    def _written_head(self, headers: Iterable[Header]) -> bytes:
        first = b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, self._parser.get_http_version().encode())
        return b"\r\n".join((first, *(b"%b: %b" % header for header in headers), b"", b""))

    def _become_a_websocket(self, head: bytes, rest: bytes) -> None:
        self._stop_timers()
        self.server_state.connections.discard(self)
        self._is_refused = True  # Callbacks that are still to come do nothing.
        self.resume_reading()
        protocol = WebSocketProtocol(
            self.config,
            self.server_state,
            self.app_state,
            self._release,
            self._all_unread,
            self._backlog,
            self._admitted,
            getattr(getattr(self.app, "state", None), "body_memory", None),
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self._drop_references()
        protocol.data_received(head)
        if rest and not self.transport.is_closing():
            protocol.data_received(rest)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A request that ends the connection is answered even if data follow it.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _release(self) -> None:
        if self._limits is not None and self._admitted is not None:
            self._limits.release(self._admitted)
            self._admitted = None

    # Deadlines

    def _set_timer(self, seconds: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.check_deadline)

    def check_deadline(self) -> None:
        """Close the connection where a request's head, the rest of its body or the next request is overdue."""
        self.timer = None
        if self.cycle is not None:
            return  # The response sets the timer again.
        seconds_max = HEAD_SECONDS_MAX if self._is_new or self._is_in_message else self.timeout_keep_alive
        seconds = self._since + seconds_max - self.loop.time()
        if seconds > 0:
            self._set_timer(seconds)
        elif self._is_in_head and not self.write_paused:
            self._refuse(Refused(408, f"The head took longer than {HEAD_SECONDS_MAX} seconds."))
        else:
            self._close()

    def _close(self) -> None:
        """Close the connection now: its client has had the time to read what it was sent."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _limit_closing(self) -> None:
        """Limit how long a connection that is being closed waits for its client to read the rest."""
        if not self.write_paused and self.transport.get_write_buffer_size():
            self._stop_timers()
            self.timer = self.loop.call_later(UNREAD_SECONDS_MAX, self.transport.abort)

    def _stop_timers(self) -> None:
        for timer in (self.timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        self.timer = self._unread_timer = None

    @property
    def is_without_request(self) -> bool:
        """Whether no request is being received or answered but for its head."""
        is_answering = self.cycle is not None and not self._is_queued
        return not is_answering and not self.write_paused and (self._is_in_head or not self._is_in_message)

    @property
    def shed_order(self) -> tuple[bool, float]:
        """The sort key of connections without a request: the first are closed first when descriptors run out."""
        return self._is_in_head, self._since

    # Flow control

    def pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.read_paused and not self.write_paused and len(self._unparsed) < PIPELINED_BYTES_MAX:
            self.read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Neither read nor begin anything more until the client has read most of what it was sent."""
        self.write_paused = True
        self._writable.clear()
        self.pause_reading()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS_MAX, self._check_unread)
        if self._all_unread is not None:
            self._all_unread.add(self.transport)

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._all_unread is not None:
            self._all_unread.remove(self.transport)
        self._writable.set()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        if self.transport.is_closing():
            self._limit_closing()
            return
        self.resume_reading()
        self._go_on()

    async def drain(self) -> None:
        await self._writable.wait()

    def _check_unread(self) -> None:
        """Break the connection off if the client has read too little of what it was sent."""
        unread = self.transport.get_write_buffer_size()
        if self._unread_bytes - unread < READ_BYTES_PER_SECOND_MIN * UNREAD_SECONDS_MAX:
            self._unread_timer = None
            self.transport.abort()
            return
        self._unread_bytes = unread
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS_MAX, self._check_unread)


def _shed(connections: Iterable[object]) -> None:
    """Close one in sixteen of the connections without a request, beginning with the longest idle."""
    closable = [each for each in connections if isinstance(each, Protocol) and each.is_without_request]
    for connection in nsmallest(max(8, len(closable) // 16), closable, key=lambda each: each.shed_order):
        connection.transport.abort()
