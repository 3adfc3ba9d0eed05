"""The ASGI application: routes, middleware, and the lifespan that owns the database."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import db.database
import server.pages.graphiql
import server.pages.quickstart
import server.process.logging
from db.change_feed import ChangeFeed
from db.migrate import connecting
from resolvers.live import Live
from server.auth.tokens import TokenVerifier
from server.gates.admission import Admission
from server.gates.backlog import Backlog
from server.gates.rate_limit import RateLimits, open_redis
from server.gates.sockets import SocketLimits, raise_descriptor_limit
from server.gates.streams import Streams
from server.gates.unread_bytes import UnreadBytes
from server.health import Readiness, livez
from server.operations.run import Runner
from server.pipeline import Pipeline
from server.process.settings import Settings, StartError
from server.serve import Application, exit_unstarted
from server.transports.endpoint import Endpoint
from server.transports.fast_path import FastPath
from server.transports.middleware import LogRequest, RequestMiddleware
from server.transports.websocket import Sockets
from server.wire.answer import refusal
from server.wire.headers import cors, forwarded
from server.wire.request import Refused

# A statement ends before its request's deadline, so that nothing is still running when its client gets RETRY.
STATEMENT_SHARE = 0.9


def create_app(settings: Settings | None = None, *, dsn: str | None = None) -> Starlette:
    """Make the application for these settings and this database.

    Raises StartError when a setting is wrong, or there is no database to use. Without settings, as an ASGI server calls
    its factory, it reads the environment's, and ends the process with that error's sentence.
    """
    if settings is None:
        try:
            return create_app(Settings.from_environment(os.environ), dsn=dsn)
        except StartError as error:
            exit_unstarted(error)
    dsn = dsn or settings.database_url
    if dsn is None:
        raise StartError(
            "VIDEOCREDITS_DATABASE_URL is missing: set it, or run `videocredits serve`, which has its own PostgreSQL."
        )
    server.process.logging.configure(settings.log_format, settings.log_level)

    redis = open_redis(settings.rate_limit_storage)
    verifier = TokenVerifier(settings)
    runner = Runner(settings)
    admission = Admission(settings.requests_at_once_max, settings.requests_waiting_max)
    pipeline = Pipeline(verifier, RateLimits(settings, redis), admission, runner)
    streams = Streams(settings.streams_max, settings.streams_per_identity_max)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise_descriptor_limit()
        async with connecting():
            app.state.database = database = await db.database.connect(
                dsn,
                pool_size=settings.database_pool_size,
                timeout_seconds=STATEMENT_SHARE * settings.request_timeout_seconds,
            )
        app.state.live = live = Live(database)
        runner.database, runner.live = database, live
        feed = ChangeFeed(
            dsn,
            notify=settings.notify == "on",
            subjects=live.subjects,
            follows_queue=live.follows_queue,
            heard=live.wake,
            queue_moved=live.wake_queue,
        )

        def changed(wallet_id: UUID) -> None:
            live.wake([wallet_id])
            feed.announce(wallet_id)

        database.on_change = changed
        async with feed.running():
            yield
            await database.close()  # What has begun is announced too.
        if redis is not None:
            await redis.close()

    endpoint = Endpoint(settings, verifier, pipeline, streams)
    log_request = server.process.logging.request_logger(settings.log_format, settings.log_level)
    app = Application(
        settings,
        routes=[
            Route("/graphql", endpoint, name="graphql"),
            WebSocketRoute("/graphql", Sockets(settings, verifier, pipeline, streams), name="sockets"),
            *server.pages.graphiql.routes(settings),
            *server.pages.quickstart.routes(settings),
            # Health checks are answered however busy the server is.
            Route("/livez", livez),
            Route("/readyz", Readiness().readyz),
        ],
        lifespan=lifespan,
    )
    app.state.runner = runner
    app.state.pipeline = pipeline
    app.state.streams = streams
    app.state.socket_limits = SocketLimits(settings)
    app.state.unread_bytes = UnreadBytes(settings.response_bytes_max)
    app.state.body_memory = endpoint.body_memory
    app.state.backlog = Backlog(lambda: admission.is_busy)
    app.state.fast_path = FastPath(settings, pipeline, log_request)
    app.middleware_stack = _middleware(app.router, endpoint, settings, log_request)
    return app


def _middleware(router: Router, endpoint: Endpoint, settings: Settings, log_request: LogRequest) -> ASGIApp:
    """Wrap the router, from the innermost layer to the outermost; of Starlette's own, in what answers 404 and 405."""
    app: ASGIApp = ExceptionMiddleware(router, {HTTPException: _not_found})
    app = Shortcut("/graphql", endpoint, app)
    app = cors(app, settings.cors_origins)
    app = forwarded(app, settings.trusted_proxies)
    return RequestMiddleware(app, log_request)


class Shortcut:
    """Leads requests for one path to its endpoint, without asking one route after the other."""

    def __init__(self, path: str, target: ASGIApp, otherwise: ASGIApp) -> None:
        self._path = path
        self._target = target
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        here = scope["type"] == "http" and scope["path"] == self._path and not scope.get("root_path")
        await (self._target if here else self._otherwise)(scope, receive, send)


async def _not_found(request: Request, error: Exception) -> Response:
    """Refuse a request that no route takes, in the shape of every other error."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's type for handlers of any exception is wider.
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        message = f"{request.url.path} takes only {' and '.join(sorted(headers['Allow'].split(', ')))}."
    else:
        message = "There is nothing here: GraphQL is at /graphql."
    return refusal(Refused(error.status_code, message, **headers), request.state.request_id)
