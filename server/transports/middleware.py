"""The outermost ASGI middleware: request ids, security headers, the request log, and answers to faults."""

import asyncio
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.process.logging import request_id as id_in_log
from server.wire.answer import refusal
from server.wire.headers import with_security
from server.wire.request import stopped
from server.wire.request_id import new_request_id

# Called with a request's method, path, status (None if it had no response), when it began by `perf_counter`, and id.
LogRequest = Callable[[str, str, int | None, float, str], None]


class RequestMiddleware:
    """Gives each request an id, which its response, log line and errors carry, and logs it once it is answered.

    One middleware and not one for each purpose: each costs a request as much time as reading its body.
    """

    def __init__(self, app: ASGIApp, log_request: LogRequest) -> None:
        self._app = app
        self._log_request = log_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._answer(scope, receive, send)
            case "websocket":
                await self._connect(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = new_request_id()
        status: int | None = None
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["arrived"] = asyncio.get_running_loop().time()
        before = id_in_log.set(request_id)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (b"x-request-id", request_id.encode())
                message["headers"] = with_security(scope.get("scheme"), message["headers"], own)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status is not None:  # The response has begun: it can only be broken off.
                raise
            await refusal(error, request_id)(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # The server stops and waits no longer.
            if status is not None:
                raise
            await refusal(stopped(), request_id)(scope, receive, send_with_headers)
        finally:
            self._log_request(scope["method"], scope["path"], status, started, request_id)
            id_in_log.reset(before)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "websocket.http.response.start":
                message["headers"] = with_security(scope.get("scheme"), message["headers"])
            await send(message)

        await self._app(scope, receive, send_with_headers)
