"""The log: one line per event on standard error, as JSON or for reading, without secrets and personal texts."""

import asyncio
import json
import logging
import math
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import PurePath
from time import perf_counter, time_ns
from typing import Any, Literal, TextIO
from uuid import UUID

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

WITHHELD = "[withheld]"
TEXT_CHARACTERS_MAX = 16_384
DEPTH_MAX = 5
TARGET_CHARACTERS_REMEMBERED = 255  # A longer path is not cached.
PIPE_BYTES = 4096  # A longer write to a pipe may be interleaved with other processes' writes.

# The id that each event of a request has on its line, a socket's operations and streams having their own. Not one of
# structlog's, which are bound and unbound by way of all that there are: a twentieth of a small query's time.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# How the name of a private value ends, in lower case without underscores and hyphens.
_PRIVATE_NAMES = (
    *("authorization", "cookie", "token", "jwt", "secret", "password", "dsn", "databaseurl"),
    *("variables", "script", "caption", "captions", "captionjson", "images", "imageprompts"),
)
# A JSON Web Token starts with the base64 of `{"`. Whole runs of its characters are looked at, not every place in them
# where one may start, so that the time stays linear in the text.
_RUN = re.compile(r"[A-Za-z0-9_.=-]{12,}")
_BEARER = re.compile(r"(?i)\bbearer +[^\s'\"]+")
_URL_USER = re.compile(r"(?<=://)[^\s/@'\"]*@")
# PostgreSQL quotes the row that it refuses, and a row has scripts and captions; it may have line breaks too.
_QUOTED_ROW = re.compile(r"\bDETAIL: .*?(?=\n\n(?:The above exception was|During handling of the above)|\Z)", re.DOTALL)
# graphql-core quotes the lines of the document that an error is about, and they may have a script.
_QUOTED_QUERY = re.compile(r"(GraphQL request:\d+:\d+)(?:\n *\d* *\|.*)+")


def _without_token(run: re.Match[str]) -> str:
    before, start, rest = run[0].partition("eyJ")
    return f"{before}{WITHHELD}" if rest.count(".") >= 2 else before + start + rest


def clean_text(text: str) -> str:
    """Return the text cut to size, without tokens, passwords in addresses, or rows and queries that an error quotes."""
    # Most texts are a word or two: what cannot be in them is not looked for, which spares a tenth of a request's time.
    if "eyJ" in text:
        text = _RUN.sub(_without_token, text)
    if "bearer" in text.lower():
        text = _BEARER.sub(f"Bearer {WITHHELD}", text)
    if "://" in text:
        text = _URL_USER.sub(f"{WITHHELD}@", text)
    if "DETAIL: " in text:
        text = _QUOTED_ROW.sub(f"DETAIL: {WITHHELD}", text)
    if "GraphQL request:" in text:
        text = _QUOTED_QUERY.sub(r"\1", text)
    missing = len(text) - TEXT_CHARACTERS_MAX
    if missing <= 0:
        return text
    half = TEXT_CHARACTERS_MAX // 2  # A traceback's end is its most useful part.
    return f"{text[:half]}… {missing} characters more …{text[-half:]}"


def _is_private(name: str) -> bool:
    return name.lower().replace("_", "").replace("-", "").endswith(_PRIVATE_NAMES)


def _clean(value: Any, depth: int = 0) -> Any:
    cleaned: Any
    match value:
        case None | bool() | int():
            cleaned = value
        case float():
            cleaned = value if math.isfinite(value) else str(value)  # JSON has no infinity.
        case str() | UUID() | date() | PurePath():
            cleaned = clean_text(str(value))
        case BaseException():
            cleaned = clean_text(f"{type(value).__name__}: {value}")
        case Mapping() if depth < DEPTH_MAX:
            cleaned = {
                clean_text(str(name)): WITHHELD if _is_private(str(name)) else _clean(inner, depth + 1)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < DEPTH_MAX:
            cleaned = [_clean(inner, depth + 1) for inner in value]
        case _:
            cleaned = f"<{type(value).__name__}>"  # Named and not shown: a row's repr would show its script.
    return cleaned


def _clean_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first = {name: event.pop(name, None) for name in ("time", "level", "event")}
    rest: dict[str, Any] = _clean(event)
    return first | rest | {"event": clean_text(str(first["event"]))}


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    present = request_id.get()
    if present is not None:
        event.setdefault("request_id", present)
    return event


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - The standard library's name.
        """Say that an event was lost; the standard library's own handling prints all that it held."""
        lost = self.format(logging.LogRecord(record.name, logging.ERROR, "", 0, "event_not_logged", None, None))
        with suppress(OSError, ValueError):  # Standard error itself may be gone; a request must not fail for that.
            self.stream.write(lost + self.terminator)


def configure(log_format: Literal["console", "json"], log_level: str) -> None:
    """Send all that is logged, ours and the libraries', to standard error in one format; may be called again."""
    before: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    if log_format == "json":
        render: Processor = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,  # For eyes too: pretty tracebacks show what variables hold.
                structlog.processors.StackInfoRenderer(),
                _clean_event,  # Last, because by now the traceback is text.
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log_level.upper())
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # Uvicorn's command gives them handlers of their own.
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # Each request has a line of ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # Below are lines for each WebSocket, with its URL.
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class _LineBatch:
    """Log lines that are formatted and written in one batch per iteration of the event loop, after their responses.

    A system call takes as long as formatting a line. Without a running loop, each line is written immediately. All are
    ASCII.
    """

    def __init__(self, stream: TextIO, line: Callable[..., str]) -> None:
        """Write to a stream; ``line`` formats the added fields."""
        self._stream = stream
        self._line = line
        self._added: list[tuple[object, ...]] = []

    def add(self, *fields: object) -> None:
        self._added.append(fields)
        if len(self._added) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:
                self._write()

    def _write(self) -> None:
        added, self._added = self._added, []
        text = ""
        with suppress(OSError, ValueError):  # Standard error itself may be gone; a request must not fail for that.
            for fields in added:
                line = self._line(*fields)
                if text and len(text) + len(line) > PIPE_BYTES:
                    self._stream.write(text)
                    text = ""
                text += line
            self._stream.write(text)


def request_logger(
    log_format: Literal["console", "json"], log_level: str
) -> Callable[[str, str, int | None, float, str], None]:
    """Return the function that logs an answered request; see `LogRequest` in `server.transports.middleware`.

    For each request, structlog and the standard library would take longer than everything else in a small query except
    its statement. So the JSON line is written here, with the same fields, to the current standard error.
    """
    log = structlog.get_logger("server.app")
    batch = _LineBatch(sys.stderr, _request_line)

    def through_all(method: str, path: str, status: int | None, started: float, request_id: str) -> None:
        milliseconds = _milliseconds(perf_counter() - started)
        log.info("request", method=method, path=path, status=status, milliseconds=milliseconds, request_id=request_id)

    def as_json(method: str, path: str, status: int | None, started: float, request_id: str) -> None:
        batch.add(time_ns(), method, path, status, perf_counter() - started, request_id)

    def not_at_all(*_: object) -> None:
        pass

    if logging.getLevelNamesMapping()[log_level.upper()] > logging.INFO:
        return not_at_all
    return as_json if log_format == "json" else through_all


def _request_line(nanoseconds: int, method: str, path: str, status: int | None, seconds: float, request_id: str) -> str:
    second, microsecond = divmod(nanoseconds // 1000, 1_000_000)
    target = _usual_target(method, path) if len(path) <= TARGET_CHARACTERS_REMEMBERED else _target(method, path)
    return (
        f'{{"time": "{_shown(second)}.{microsecond:06}Z", "level": "info", "event": "request", '
        f'{target}, "status": {"null" if status is None else status}, '
        f'"milliseconds": {_milliseconds(seconds)}, "request_id": "{request_id}", "logger": "server.app"}}\n'
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)


@lru_cache(1)
def _shown(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _target(method: str, path: str) -> str:
    return f'"method": {json.dumps(clean_text(method))}, "path": {json.dumps(clean_text(path))}'


_usual_target = lru_cache(64)(_target)
