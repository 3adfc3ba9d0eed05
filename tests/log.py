"""What an app logs, read line by line."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

from server.process.settings import Settings
from tests.api import Api, serving


class Log:
    """The lines that were logged as JSON; a token among them fails the test."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> list[dict[str, Any]]:
        """Return the lines since the last call, except the test client's and the change feed's.

        On a busy machine a feed's poll may time out in any test, and the feed logs that it was lost and is back.
        """
        return [line for line in self.read_all() if line["logger"] != "db.change_feed"]

    def read_all(self) -> list[dict[str, Any]]:
        """Return the lines since the last call, except the test client's."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        assert "eyJ" not in text  # The beginning of every bearer token.
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if not line["logger"].startswith(("httpx2", "httpcore2"))]


@asynccontextmanager
async def serving_logged(dsn: str, settings: Settings, **changed: Any) -> AsyncIterator[tuple[Api, Log]]:
    """Serve a database with these settings, some of them changed, and note all that is logged."""
    log = Log()
    async with AsyncExitStack() as stack:
        with redirect_stderr(log.stream):  # An app logs to the standard error that it finds when it is made.
            wanted: dict[str, Any] = {"log_format": "json", "log_level": "info", **changed}
            api = await stack.enter_async_context(serving(dsn, replace(settings, **wanted)))
        yield api, log
