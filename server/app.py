"""The ASGI application: routes, the lifespan that owns the database, and one log line per request."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import structlog
from cross_web import HTTPException
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse
from strawberry.types import ExecutionResult

import db.database
import server.graphiql
import server.logging
from db.migrate import unfit_reason
from resolvers.context import Context, Terms
from server.errors import present
from server.graphql import build_schema
from server.identity import InvalidToken, TokenVerifier
from server.overload import Admission
from server.settings import Settings, StartError

log = structlog.get_logger()

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

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.database = await db.database.connect(
            dsn, pool_size=settings.database_pool_size, timeout_seconds=settings.request_timeout_seconds
        )
        yield
        await app.state.database.close()

    return Starlette(
        routes=[
            # Health checks are answered however busy the server is.
            Route("/graphql", Endpoint(settings), name="graphql", middleware=_protection(settings)),
            Route("/livez", _livez),
            Route("/readyz", _readyz),
        ],
        middleware=[Middleware(RequestLog)],
        lifespan=lifespan,
    )


def _protection(settings: Settings) -> list[Middleware]:
    """List what a GraphQL request has to pass, outermost first."""
    return [
        Middleware(
            Admission,
            at_once_max=settings.requests_at_once_max,
            waiting_max=settings.requests_waiting_max,
            wait_seconds_max=settings.request_timeout_seconds,
        )
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


class Endpoint(GraphQL[Context, None]):
    """`/graphql`: GraphQL over HTTP, and GraphiQL for browsers."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            build_schema(development=settings.development_keys, url_hosts=settings.url_hosts), subscription_protocols=()
        )
        self._verifier = TokenVerifier(settings)
        self._terms = Terms(settings.signup_credits, settings.video_cost)
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response: Response
        request = Request(scope, receive)
        try:
            response = await self.run(request)
        except HTTPException as error:
            response = _refusal(request, GraphQLError(error.reason), error.status_code)
        except InvalidToken as error:
            response = _refusal(request, GraphQLError(error.message, original_error=error), 401)
            response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        except ClientDisconnect:
            response = Response(status_code=499)  # For the log alone: whoever asked left before the request was whole.
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            response = _refusal(request, GraphQLError("", original_error=error), 500)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: object) -> Context:  # noqa: ARG002 - Strawberry's
        given = request.headers.getlist("authorization")  # Two are one that is malformed: which to believe?
        identity = await self._verifier.identify(", ".join(given) if given else None)
        return Context(request.app.state.database, self._terms, identity)

    def parse_json(self, data: str | bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:  # Not UTF-8, not JSON, a number of 5,000 digits, nested too deep.
            raise HTTPException(400, "The request cannot be read: send JSON in UTF-8.") from error

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        shown: GraphQLHTTPResponse = {"data": result.data}
        if result.errors:
            shown["errors"] = [present(error, request.state.request_id) for error in result.errors]
        return shown

    async def render_graphql_ide(self, request: Request) -> Response:
        return await server.graphiql.page(request.app.state.database, self._settings, request.headers.get("host"))


def _refusal(request: Request, error: GraphQLError, status: int) -> Response:
    """Answer a request that did not come as far as GraphQL."""
    return JSONResponse({"errors": [present(error, request.state.request_id)]}, status)


class RequestLog:
    """Gives each request an id, which its response, log line and errors carry, and logs it when it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = uuid4().hex
        status = 500
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round(1000 * (time.perf_counter() - started), 1),
            )
            structlog.contextvars.unbind_contextvars("request_id")
