"""WebSocket on one connection: uvicorn's protocol, without what a client could have it log, keep or wait for."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import CTRL_OPCODES, CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from server.gates.backlog import Backlog
from server.gates.body_memory import BodyBytes, BodyMemory
from server.gates.unread_bytes import UnreadBytes
from server.wire.answer import refusal
from server.wire.headers import with_security
from server.wire.request import Refused
from server.wire.request_id import new_request_id

# Pings and parts of messages cost as much to parse as messages do, and the limit on messages does not count them.
FRAMES_PER_SECOND_MAX = 200
# Pings and pongs, over 5 seconds. Clients send one in several seconds; a socket that sends many wants to keep us busy.
CONTROL_FRAMES_PER_SECOND_MAX = 20
_CONTROL_SECONDS = 5

# A message that exceeds the limit by less is refused in the protocol's words; a longer one is not even read.
MESSAGE_BYTES_MORE = 4096

# This may hold a hundred frames, which take a millisecond to parse. Meanwhile every other client waits.
_PIECE_BYTES = 512

log = structlog.get_logger()
# For uvicorn's and the library's own lines, which are about what clients do.
_silent = logging.getLogger("websocket_protocol")
_silent.setLevel(logging.CRITICAL + 1)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket. Nothing more is parsed or read while its client does not read, or sends too many frames.

    It is closed with 1008 if its client sends too many pings or pongs.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        release: Callable[[], None],
        all_unread: UnreadBytes | None,
        backlog: Backlog,
        address: Hashable,
        body_memory: BodyMemory | None,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._release = release
        self._all_unread = all_unread
        self._backlog = backlog
        self._address = address
        self.logger = _silent
        self.conn: _Connection = _Connection(max_size=config.ws_max_size, logger=_silent)
        self.app_state = {**app_state, "connection": self.conn}  # The application sets how long its messages may be.
        self._message_bytes = None if body_memory is None else BodyBytes(body_memory)
        self._queued_bytes = 0  # of messages that the application has not received
        self._unparsed = b""
        self._paced = 0.0  # when the next frame would be parsed if all came at the same pace
        self._control_paced = 0.0  # the same of pings and pongs
        self._pause: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._release()
        if self._all_unread is not None:
            self._all_unread.remove(self.transport)
        self._unparsed = b""
        if self._message_bytes is not None:
            self._message_bytes.release()
        error: BaseException | None = self.conn.handshake_exc
        while error is not None:  # Frames of these tracebacks refer back: see `Protocol._drop_references`.
            error.__traceback__ = None
            error = error.__context__
        if self._pause is not None:
            self._pause.cancel()
            self._backlog.discard(self._address, self._end_pause)

    def data_received(self, data: bytes) -> None:
        if self.handshake_complete:
            self._unparsed += data
            self._go_on()
            return
        if self.handshake_initiated:
            self.transport.abort()  # A client has to wait for the response to its handshake.
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def _may_parse(self) -> bool:
        return not self.read_paused and self._pause is None and self.writable.is_set()

    def _go_on(self) -> None:
        """Parse what has come, piece by piece, then read on, as far as that is possible now."""
        unparsed, self._unparsed = self._unparsed, b""
        start = 0
        while start < len(unparsed) and self._may_parse() and not self.transport.is_closing():
            frames, control_frames = self.conn.frames, self.conn.control_frames
            start, piece = start + _PIECE_BYTES, unparsed[start : start + _PIECE_BYTES]
            super().data_received(piece)
            self._pace(self.conn.frames - frames, self.conn.control_frames - control_frames)
        self._unparsed = unparsed[start:]
        self._count_messages()
        if self._may_parse():
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _pace(self, frames: int, control_frames: int) -> None:
        now = self.loop.time()
        if control_frames:
            begun = max(self._control_paced, now - _CONTROL_SECONDS)
            self._control_paced = begun + control_frames / CONTROL_FRAMES_PER_SECOND_MAX
            if self._control_paced > now and not self.close_sent:
                self.conn.fail(CloseCode.POLICY_VIOLATION, "Too many pings and pongs: send fewer.")
                self.handle_parser_exception()
                return
        self._paced = max(self._paced, now - 1) + frames / FRAMES_PER_SECOND_MAX
        if self._paced > now:
            self._pause = self.loop.call_at(self._paced, self._backlog.add, self._address, self._end_pause)

    def _count_messages(self) -> None:
        """Count the bytes of messages that are incomplete or not received; close where all clients send too much."""
        if self._message_bytes is None or self.transport.is_closing():
            return
        self._message_bytes.release()
        try:
            self._message_bytes.add(self._queued_bytes + (self.conn.current_size or 0) + len(self.conn.reader.buffer))
        except Refused as refused:
            self.conn.fail(CloseCode.TRY_AGAIN_LATER, refused.message)
            self.handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        self._queued_bytes += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    def _end_pause(self) -> None:
        self._pause = None
        self._go_on()

    def _refuse_handshake(self) -> None:
        """Answer a handshake that cannot be read, and for which the library may have an answer."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send()) or self.conn.reject(400, "The handshake is invalid.").serialize()
        self.transport.write(answer)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()
        if self._all_unread is not None:
            self._all_unread.add(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._all_unread is not None:
            self._all_unread.remove(self.transport)
        self._go_on()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        if not self.writable.is_set():
            self.transport.abort()  # Its client does not read, and closing would wait for that.

    async def run_asgi(self) -> None:
        """Run the application; that its client has left, or was refused, is no fault of it."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            log.exception("fault")
            self.send_500_response()
        if self.close_timer is None:
            self.transport.close()

    async def send(self, message: ASGISendEvent) -> None:
        while not self.writable.is_set():  # Of several that wait, the first may fill the buffer again.
            await self.writable.wait()
        if self.transport.is_closing():
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close":  # What the client answers may be among what has come.
            self._go_on()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._queued_bytes = 0
            self._go_on()
        return message


class _Connection(ServerProtocol):
    """Counts frames, and refuses handshakes as every other request is refused."""

    frames = control_frames = 0

    def recv_frame(self, frame: Frame) -> None:
        self.frames += 1
        self.control_frames += frame.opcode in CTRL_OPCODES
        super().recv_frame(frame)

    def reject(self, status: int, text: str) -> Response:
        status = HTTPStatus(status)
        reason = text.strip().partition("\n")[0]
        request_id = new_request_id()
        log.info("connection_refused", status=status.value, reason=reason, request_id=request_id)
        answer = refusal(Refused(status, reason), request_id)
        own = ((b"x-request-id", request_id.encode()), (b"connection", b"close"))
        headers = Headers({"Date": formatdate(usegmt=True)})
        for name, value in with_security(None, answer.raw_headers, *own):
            headers[name.decode()] = value.decode()
        return Response(status.value, status.phrase, headers, bytes(answer.body))
