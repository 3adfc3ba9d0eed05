"""An app's log, parsed line by line."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

from server.process.settings import Settings
from tests.api import Api, serving


class Log:
    """The JSON lines of a log; a token in one fails the test."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> list[dict[str, Any]]:
        """Return the lines since the last call, without the test client's and those of a change feed that timed out.

        On a busy machine the feed's poll may time out in any test; it then logs the loss and the recovery.
        """
        return [line for line in self.read_all() if not _is_slow_change_feed(line)]

    def read_all(self) -> list[dict[str, Any]]:
        """Return the lines since the last call, without the test client's."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        assert "eyJ" not in text  # The beginning of every bearer token.
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if not line["logger"].startswith(("httpx2", "httpcore2"))]


def _is_slow_change_feed(line: dict[str, Any]) -> bool:
    lost = line["event"] == "change_feed_lost" and str(line.get("reason")).startswith("TimeoutError")
    return lost or line["event"] == "change_feed_back"


@asynccontextmanager
async def serving_logged(dsn: str, settings: Settings, **changed: Any) -> AsyncIterator[tuple[Api, Log]]:
    """Serve a database with changed settings, and capture the log."""
    log = Log()
    async with AsyncExitStack() as stack:
        with redirect_stderr(log.stream):  # An app logs to the standard error at its creation.
            wanted: dict[str, Any] = {"log_format": "json", "log_level": "info", **changed}
            api = await stack.enter_async_context(serving(dsn, replace(settings, **wanted)))
        yield api, log
