"""The ASGI application: routes, the lifespan that owns the database, and one log line per request."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import structlog
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import db.database
import server.logging
from db.change_feed import ChangeFeed
from db.migrate import unfit_reason
from resolvers.live import Live
from schema.error import RequestError
from server.answer import refusal
from server.endpoint import Endpoint
from server.headers import SecurityHeaders, cors
from server.identity import TokenVerifier
from server.media_type import GRAPHQL_RESPONSE
from server.operations import Operations
from server.overload import Admission, Streams, Turns
from server.rate_limit import Quotas, RateLimit, Redis, open_store
from server.settings import Settings, StartError
from server.websocket import Sockets

log = structlog.get_logger()

# A statement ends before its request has to be answered: what was told to be sent again is then not still under way.
STATEMENT_SHARE = 0.9
COMPRESSED_BYTES_MIN = 1024  # Below, an answer fits into a packet anyway.
READY_SECONDS_MAX = 2  # Whoever asks wants to know soon, and a full pool is as good as no database.


def create_app(settings: Settings | None = None, *, dsn: str | None = None) -> Starlette:
    """Make the application for these settings (the environment's, if none are given) and this database.

    Raises StartError when a setting is wrong, or there is no database to use.
    """
    settings = settings or Settings.from_environment(os.environ)
    dsn = dsn or settings.database_url
    if dsn is None:
        raise StartError(
            "VIDEOCREDITS_DATABASE_URL is missing: set it, or run `videocredits serve`, which has its own PostgreSQL."
        )
    server.logging.configure(settings.log_format, settings.log_level)

    store = open_store(settings.rate_limit_storage)
    verifier = TokenVerifier(settings)
    operations = Operations(settings)
    quotas = Quotas(settings, store)
    turns = Turns(settings.requests_at_once_max, settings.requests_waiting_max)
    streams = Streams(settings.streams_max, settings.streams_per_identity_max)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.database = database = await db.database.connect(
            dsn,
            pool_size=settings.database_pool_size,
            timeout_seconds=STATEMENT_SHARE * settings.request_timeout_seconds,
        )
        app.state.operations = operations
        app.state.live = live = Live(database)
        feed = ChangeFeed(
            dsn,
            notify=settings.notify == "on",
            subjects=live.subjects,
            follows_queue=live.follows_queue,
            heard=live.wake,
            queue_moved=live.wake_queue,
        )

        def changed(user_id: UUID) -> None:
            live.wake([user_id])
            feed.announce(user_id)

        database.on_change = changed
        async with feed.running():
            yield
            await database.close()  # What has begun is announced too.
        if isinstance(store, Redis):
            await store.close()

    app = Starlette(
        routes=[
            # Health checks are answered however busy the server is.
            Route(
                "/graphql",
                Endpoint(settings, verifier, operations),
                name="graphql",
                middleware=_protection(settings, quotas, turns, verifier),
            ),
            WebSocketRoute("/graphql", Sockets(settings, verifier, operations, quotas, turns, streams), name="sockets"),
            Route("/livez", _livez),
            Route("/readyz", _readyz),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(RequestLog),
            Middleware(ProxyHeadersMiddleware, list(settings.trusted_proxies or ())),
            *cors(settings.cors_origins),
        ],
        exception_handlers={HTTPException: _nothing_there},
        lifespan=lifespan,
    )
    app.state.streams = streams
    return app


def _protection(settings: Settings, quotas: Quotas, turns: Turns, verifier: TokenVerifier) -> list[Middleware]:
    """List what a GraphQL request has to pass, outermost first."""
    add_compress_type(GRAPHQL_RESPONSE)
    # A compressor keeps more memory for each stream than all else, and gains little in small results, one by one.
    for media_type in ("text/event-stream", "multipart/mixed"):
        remove_compress_type(media_type)
    return [
        Middleware(CompressMiddleware, minimum_size=COMPRESSED_BYTES_MIN),
        Middleware(RateLimit, quotas=quotas, verifier=verifier),
        Middleware(Admission, turns=turns, wait_seconds_max=settings.request_timeout_seconds),
    ]


async def _livez(_: Request) -> Response:
    """Answer whether the process runs."""
    return JSONResponse({"status": "ok"})


async def _readyz(request: Request) -> Response:
    """Answer whether requests can be served: the database is reachable, and migrated to what this code expects."""
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            reason = await unfit_reason(request.app.state.database.pool)
    except TimeoutError:
        reason = f"The database has not answered for {READY_SECONDS_MAX} seconds: it is busy, or cannot be reached."
    except Exception as error:
        log.warning("not_ready", exc_info=error)
        reason = "The database cannot be reached."
    return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)


async def _nothing_there(request: Request, error: Exception) -> Response:
    """Refuse what no route takes, as every other error is told."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's type for handlers of any exception is wider.
    if error.status_code == 405:
        message = f"{request.url.path} is asked by {' or '.join(sorted((error.headers or {})['Allow'].split(', ')))}."
    else:
        message = "There is nothing here: GraphQL is at /graphql."
    shown = RequestError("BAD_USER_INPUT", message)
    return refusal(shown, request.state.request_id, error.status_code, headers=error.headers)


class RequestLog:
    """Gives each request an id, which its response, log line and errors carry, and logs it when it is answered.

    A fault that nobody has answered is answered here, so that its id is known too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = uuid4().hex
        status: int | None = None
        scope.setdefault("state", {}).update(request_id=request_id, arrived=asyncio.get_running_loop().time())
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status is not None:  # It was being answered: all that is left is to break off.
                raise
            await refusal(GraphQLError("", original_error=error), request_id, 500)(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(1000 * (time.perf_counter() - started), 1),
            )
            structlog.contextvars.unbind_contextvars("request_id")
