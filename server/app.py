"""The ASGI application: routes, what is in front of them, and the lifespan that owns the database."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import db.database
import server.pages.graphiql
import server.pages.quickstart
import server.process.logging
from db.change_feed import ChangeFeed
from db.migrate import unfit_reason
from resolvers.live import Live
from schema.error import RequestError
from server.auth.tokens import TokenVerifier
from server.gates.admission import Admission, Streams, Turns
from server.gates.rate_limit import Quotas, RateLimit, open_redis
from server.operations.run import Runner
from server.process.settings import Settings, StartError
from server.transports.endpoint import Endpoint
from server.transports.fast_path import FastPath
from server.transports.front import Front, LogRequest
from server.transports.websocket import Sockets
from server.wire.answer import refusal
from server.wire.headers import cors, forwarded

log = structlog.get_logger()

# A statement ends before its request has to be answered: what was told to be sent again is then not still under way.
STATEMENT_SHARE = 0.9
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
    server.process.logging.configure(settings.log_format, settings.log_level)

    redis = open_redis(settings.rate_limit_storage)
    verifier = TokenVerifier(settings)
    operations = Runner(settings)
    quotas = Quotas(settings, redis)
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
        operations.database, operations.live = database, live
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
        if redis is not None:
            await redis.close()

    endpoint = Endpoint(settings, verifier, operations)
    graphql = _protected(endpoint, settings, quotas, turns, verifier)
    log_request = server.process.logging.request_logger(settings.log_format, settings.log_level)
    app = Starlette(
        routes=[
            Route("/graphql", graphql, name="graphql"),
            WebSocketRoute("/graphql", Sockets(settings, verifier, operations, quotas, turns, streams), name="sockets"),
            *server.pages.graphiql.routes(settings),
            *server.pages.quickstart.routes(settings),
            # Health checks are answered however busy the server is.
            Route("/livez", _livez),
            Route("/readyz", _readyz),
        ],
        lifespan=lifespan,
    )
    app.state.streams = streams
    app.state.fast_path = FastPath(settings, verifier, operations, quotas, turns, endpoint, log_request)
    app.middleware_stack = _in_front(app.router, graphql, settings, log_request)
    return app


def _protected(
    endpoint: Endpoint, settings: Settings, quotas: Quotas, turns: Turns, verifier: TokenVerifier
) -> ASGIApp:
    """Put before the endpoint what a GraphQL request has to pass."""
    admission = Admission(endpoint, turns=turns, wait_seconds_max=settings.request_timeout_seconds)
    return RateLimit(admission, quotas=quotas, verifier=verifier) if quotas else admission


def _in_front(router: Router, graphql: ASGIApp, settings: Settings, log_request: LogRequest) -> ASGIApp:
    """Put before the router what every request has to pass; of Starlette's own layers, only what answers 404 and 405.

    A fault is answered in front of all that may raise one.
    """
    app: ASGIApp = Shortcut("/graphql", graphql, ExceptionMiddleware(router, {HTTPException: _nothing_there}))
    app = cors(app, settings.cors_origins)
    return Front(forwarded(app, settings.trusted_proxies), log_request)


class Shortcut:
    """Leads the requests to one path to where its route would, without asking one route after the other."""

    def __init__(self, path: str, target: ASGIApp, otherwise: ASGIApp) -> None:
        self._path = path
        self._target = target
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["path"] == self._path and not scope.get("root_path")
        await (self._target if here else self._otherwise)(scope, receive, send)


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
