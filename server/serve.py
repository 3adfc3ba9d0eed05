"""How the process serves: limits of connections, shutdown, garbage collection and log, whichever command started it.

`videocredits serve` and `uvicorn --factory server.app:create_app` both run uvicorn. When uvicorn starts the lifespan,
the application configures the server that runs it: uvicorn reads its configuration for each connection, and accepts
none before. So nothing depends on the command line. Under another ASGI server that server's own limits apply.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any, Never, TypeVar

import click
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from db.migrate import DatabaseUnfit
from server.process.environment import is_loopback
from server.process.garbage_collection import collect_seldom
from server.process.settings import JWKS_URL, JWT_SECRET, JWT_SECRET_FILE, Settings, StartError
from server.transports.http_protocol import Protocol
from server.transports.websocket_protocol import MESSAGE_BYTES_MORE, WebSocketProtocol

Result = TypeVar("Result")

# Longer than the 60 seconds of common load balancers: they must not send a request while we close the connection.
IDLE_SECONDS_MAX = 75
PING_SECONDS = 20  # The interval between a WebSocket's pings, and the time that the client has to answer one.
# Containers are given 10 seconds to stop. Requests in flight have the first 5 of them. One second before these end,
# what has not finished is answered RETRY. Then the database is closed.
STOP_SECONDS_MAX = 5
RETRY_SECONDS_BEFORE = 1
CONNECTION_CLOSE_SECONDS_MAX = 1
APPLICATION_CLOSE_SECONDS_MAX = 3
POLL_SECONDS = 0.05

log = structlog.get_logger(__name__)


class Application(Starlette):
    """Starlette's application, which also sets up the uvicorn that runs it."""

    def __init__(self, settings: Settings, **given: Any) -> None:
        super().__init__(**given)
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start, and stop, when the ASGI server says so; what prevents the start is reported in a sentence."""
        await receive()
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(_set_up(self, self._settings, receive))
            await stack.enter_async_context(self.router.lifespan_context(self))
        except Exception as error:
            await stack.aclose()
            if not isinstance(error, StartError | DatabaseUnfit):
                log.exception("start_failed")
                error = StartError("The server cannot start, because of an error in its code: the log has it.")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        log.info("started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            async with asyncio.timeout(APPLICATION_CLOSE_SECONDS_MAX):
                await stack.aclose()
        except TimeoutError:
            log.warning("close_timed_out", seconds=APPLICATION_CLOSE_SECONDS_MAX)
        except Exception:
            log.exception("close_failed")
        await send({"type": "lifespan.shutdown.complete"})


def exit_unstarted(error: StartError) -> Never:
    """End a process that cannot start, for the reason given, as uvicorn does when it cannot load an application.

    The exit code is uvicorn's own: a parent of several workers starts no more of them.
    """
    for sentence in str(error).splitlines():
        click.echo(f"Error: {sentence}", err=True)
    sys.exit(STARTUP_FAILURE)


@asynccontextmanager
async def _set_up(app: Application, settings: Settings, receive: Receive) -> AsyncIterator[None]:
    """Set up the uvicorn that has called the application with ``receive``; under another server, do nothing."""
    config, server = _uvicorn(receive)
    if config is None:
        yield
        return
    _refuse_public_development_keys(config, settings)
    _configure(config, settings)
    asyncio.get_running_loop().set_default_executor(_DaemonThreads())
    if server is not None:
        server.shutdown = partial(_shut_down, server, app)  # type: ignore[method-assign]  # There is no hook for it.
        # Uvicorn's own handler notes the signal, and uvicorn kills the process by it once it has shut down well.
        signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    collecting = asyncio.create_task(collect_seldom())
    try:
        yield
    finally:
        collecting.cancel()
        with suppress(asyncio.CancelledError):
            await collecting


def _uvicorn(receive: Receive) -> tuple[uvicorn.Config | None, uvicorn.Server | None]:
    """Find the configuration and the server of the uvicorn that runs us: it hands over neither.

    The server is the one that handles SIGTERM; there is none in a thread, which receives no signals.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not isinstance(server, uvicorn.Server):
        server = None
    lifespan = getattr(receive, "__self__", None)
    if not isinstance(lifespan, LifespanOn):  # Another server, or a uvicorn that traces messages by a layer of its own.
        return (None, None) if server is None else (server.config, server)
    return lifespan.config, server if server and server.config is lifespan.config else None


def _configure(config: uvicorn.Config, settings: Settings) -> None:
    """Set how uvicorn serves; connections that it makes from now on heed it."""
    config.http_protocol_class = Protocol  # It has its own limits, and its own class for WebSockets.
    config.ws_max_size = settings.body_bytes_max + MESSAGE_BYTES_MORE
    config.ws_per_message_deflate = False  # It would take more memory for each socket than everything else together.
    config.ws_ping_interval = PING_SECONDS
    config.ws_ping_timeout = PING_SECONDS
    config.timeout_keep_alive = IDLE_SECONDS_MAX
    config.timeout_graceful_shutdown = CONNECTION_CLOSE_SECONDS_MAX  # `_shut_down` has waited for requests before.
    config.encoded_headers = [each for each in config.encoded_headers if each != (b"server", b"uvicorn")]
    if (
        config.proxy_headers
    ):  # By default it believes X-Forwarded-For of 127.0.0.1; we have a setting for whom to believe.
        assert isinstance(config.loaded_app, ProxyHeadersMiddleware)  # noqa: S101 - uvicorn has put it there
        config.loaded_app = config.loaded_app.app
        config.proxy_headers = False
    config.access_log = False  # Each request has a line of our own.


def _refuse_public_development_keys(config: uvicorn.Config, settings: Settings) -> None:
    """Raise StartError if others than this machine might be given the tokens that pages show in development."""
    if not settings.development_keys or (config.uds is None and config.fd is None and is_loopback(config.host)):
        return
    if config.uds is not None or config.fd is not None:
        address = "a Unix socket or a file descriptor, through which a proxy may let other machines in"
    else:
        address = f"{config.host or 'every address'}, which other machines can reach"
    raise StartError(
        f"The server is to listen on {address}, and there are only development keys: "
        f"set {JWT_SECRET}, {JWT_SECRET_FILE} or {JWKS_URL}, or listen on 127.0.0.1."
    )


async def _shut_down(server: uvicorn.Server, app: Application, sockets: list[socket.socket] | None = None) -> None:
    """Stop accepting connections, end streams, let requests finish, and leave the rest to uvicorn."""
    for listener in server.servers:
        listener.close()
    connections = server.server_state.connections
    for connection in list(connections):
        if not isinstance(connection, WebSocketProtocol):  # The application ends WebSockets, when they are done.
            connection.shutdown()
    now = asyncio.get_running_loop().time
    end = now() + STOP_SECONDS_MAX
    stopping = asyncio.create_task(app.state.streams.stop())
    await _idle(server, end - RETRY_SECONDS_BEFORE)
    app.state.pipeline.expire()
    await _idle(server, end)
    stopping.cancel()
    for connection in list(connections):
        if connection.transport.is_closing():  # Its client does not read what is left to send.
            connection.transport.abort()
    await uvicorn.Server.shutdown(server, sockets)


async def _idle(server: uvicorn.Server, deadline: float) -> None:
    """Wait until no connection is open and no request in flight, or the deadline has passed, or somebody insists."""
    now = asyncio.get_running_loop().time
    state = server.server_state
    while (state.connections or state.tasks) and now() < deadline and not server.force_exit:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(POLL_SECONDS)


class _DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread: those of a pool are joined, so a call that hangs would delay the stop."""

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        future: Future[Result] = Future()
        Thread(target=_settle, args=(future, partial(fn, *args, **kwargs)), daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            future.set_exception(error)
