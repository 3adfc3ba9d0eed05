"""WebSocket on one connection: uvicorn's protocol, without what a client could have it log, keep or wait for."""

import logging
from collections.abc import Callable
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
from websockets.http11 import Response
from websockets.server import ServerProtocol

from server.wire.answer import refusal
from server.wire.headers import with_security
from server.wire.request import Refused
from server.wire.request_id import new_request_id

log = structlog.get_logger()
# For uvicorn's and the library's own lines, which are about what clients do.
_silent = logging.getLogger("websocket_protocol")
_silent.setLevel(logging.CRITICAL + 1)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket. While its client does not read, nothing more is read from it."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], release: Callable[[], None]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._release = release
        self.logger = _silent
        self.conn = _Handshake(max_size=config.ws_max_size, logger=_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._release()

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()  # A client has to wait for the response to its handshake.
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse_handshake()

    def _refuse_handshake(self) -> None:
        """Answer a handshake that cannot be read, and for which the library may have an answer."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        answer = b"".join(self.conn.data_to_send()) or self.conn.reject(400, "The handshake is invalid.").serialize()
        self.transport.write(answer)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

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
        if self.transport.is_closing() and not self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self.writable.is_set():
                self.transport.resume_reading()
        return message


class _Handshake(ServerProtocol):
    """Refuses handshakes as every other request is refused."""

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
