"""Health checks: /livez answers while the process runs, /readyz while it can serve requests."""

import asyncio

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.connection_pool import PoolConnection
from db.database import Database
from db.migrate import unfit_reason

READY_SECONDS_MAX = 2  # A load balancer wants to know soon, and a full pool is as good as no database.

log = structlog.get_logger()


async def livez(_: Request) -> Response:
    """Answer whether the process runs."""
    return JSONResponse({"status": "ok"})


class Readiness:
    """Answers whether requests can be served, and logs the reason when that changes."""

    def __init__(self) -> None:
        self._last_reason: str | None = None
        self._probe: asyncio.Task[str | None] | None = None

    async def readyz(self, request: Request) -> Response:
        """Answer 200, or 503 with what is wrong."""
        error = None
        try:
            reason = await self._unready_reason(request.app)
        except TimeoutError:
            reason = f"The database has not answered for {READY_SECONDS_MAX} seconds: it is busy, or cannot be reached."
        except Exception as fault:  # noqa: BLE001 - no fault is a reason to serve
            reason, error = "The database cannot be reached.", f"{type(fault).__name__}: {fault}"
        if reason != self._last_reason:
            self._last_reason = reason
            if reason is None:
                log.info("ready_again")
            else:
                log.warning("not_ready", reason=reason, error=error)
        return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)

    async def _unready_reason(self, app: Starlette) -> str | None:
        if app.state.streams.stopping:
            return "The server is stopping."
        database: Database = app.state.database
        if database.is_disk_full:
            return "The database's disk is full."
        # No rate limit holds here, so all requests share one connection to the database.
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(database.probe(_database_reason, READY_SECONDS_MAX))
        return await asyncio.shield(self._probe)


async def _database_reason(connection: PoolConnection) -> str | None:
    reason = await unfit_reason(connection)
    settings = connection.get_settings()  # PostgreSQL has reported changes of these two with the last answer.
    if reason is None and getattr(settings, "in_hot_standby", "off") == "on":
        return "The database is in recovery: it is a standby, and takes no changes."
    if reason is None and getattr(settings, "default_transaction_read_only", "off") == "on":
        return "The database is read-only."
    return reason
