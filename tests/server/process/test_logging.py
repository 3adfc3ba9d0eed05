"""What the log shows, and what it must not."""

import asyncio
import io
import json
import logging
import re
import select
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import asyncpg
import graphql
import hypothesis
import jwt
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import server.process.logging
from server.process.logging import WITHHELD, clean_text, configure, request_id, request_logger

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

TOKEN = jwt.encode({"sub": "ada"}, "0123456789abcdef0123456789abcdef", "HS256")
Lines = Callable[[], list[dict[str, Any]]]


def fail() -> None:
    raise RuntimeError(f"could not read {TOKEN}")


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the process's logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    request_id.set(None)
    structlog.reset_defaults()


@pytest.fixture
def lines(restored: None, capsys: pytest.CaptureFixture[str]) -> Lines:  # noqa: ARG001 - It is wanted for what it undoes.
    """Parse the log as JSON: nothing on standard output, one object per line on standard error."""

    def read() -> list[dict[str, Any]]:
        logged = capsys.readouterr()
        assert logged.out == ""
        return [json.loads(line) for line in logged.err.splitlines()]

    return read


def test_an_event_is_one_json_line(lines: Lines) -> None:
    """An event is one line of JSON: the time in UTC, the level, the event, then its fields."""
    configure("json", "info")
    request_id.set("r-1")
    user_id = UUID(int=1)
    structlog.get_logger("videos").warning("moved\nhouse", user_id=user_id, seconds=0.5, at=datetime.now(UTC))
    (line,) = lines()
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(line["time"])).days == 0
    assert (line["level"], line["event"], line["logger"]) == ("warning", "moved\nhouse", "videos")
    assert (line["request_id"], line["user_id"], line["seconds"]) == ("r-1", str(user_id), 0.5)
    assert datetime.fromisoformat(line["at"]).tzinfo is not None


def test_level(restored: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001 - It is wanted for what it undoes.
    """Events below the level are not logged, neither ours nor a library's."""
    for level, count in (("error", 2), ("info", 4), ("debug", 6)):
        configure("json", level)
        for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
            log.debug("one")
            log.info("two")
            log.error("three")
        assert len(capsys.readouterr().err.splitlines()) == count


@given(
    method=st.text(),
    path=st.text() | st.just(f"/graphql?token={TOKEN}") | st.just("x" * 20_000),
    status=st.none() | st.integers(100, 599),
    milliseconds=st.floats(0, 1e9).map(lambda number: round(number, 1)),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_request_line_equals_structlogs(
    restored: None,  # noqa: ARG001 - It is wanted for what it undoes.
    method: str,
    path: str,
    status: int | None,
    milliseconds: float,
) -> None:
    """A request's line, which is written without structlog, equals the one that structlog would write."""
    with redirect_stderr(io.StringIO()) as lines:
        configure("json", "info")
        with patch.object(server.process.logging, "perf_counter", lambda: milliseconds / 1000):
            request_logger("json", "info")(method, path, status, 0.0, "r-1")
        structlog.get_logger("server.app").info(
            "request", method=method, path=path, status=status, milliseconds=milliseconds, request_id="r-1"
        )
    ours, theirs = (re.sub('^{"time": "[0-9T:.-]+Z"', "", line) for line in lines.getvalue().splitlines())
    assert ours.startswith(', "level"')
    assert ours == theirs


def test_the_format_and_level_of_request_lines(restored: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001 - It is wanted for what it undoes.
    """In the readable format a request's line looks like all others; above `info` there is none."""
    for log_format, level, count in (("console", "info", 1), ("console", "warning", 0), ("json", "error", 0)):
        configure(log_format, level)  # type: ignore[arg-type]  # mypy takes what a loop goes through for any text
        request_logger(log_format, level)("GET", "/livez", 200, 0.1, "r-1")  # type: ignore[arg-type]  # as above
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == count
        assert all("request_id" in line and "/livez" in line and not line.startswith("{") for line in lines)


def test_a_request_is_answered_though_it_cannot_be_logged(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - as above
    """When standard error is closed, requests are answered without a log line."""
    gone = io.StringIO()
    monkeypatch.setattr(sys, "stderr", gone)
    log_request = request_logger("json", "info")
    gone.close()
    log_request("GET", "/livez", 200, 0.1, "r-1")


class Pieces(io.StringIO):
    """Keeps each piece that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


def test_request_lines_are_batched(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - as above
    """Request lines are written once per iteration of the event loop, in order, and none is lost when it ends."""
    written = Pieces()
    monkeypatch.setattr(sys, "stderr", written)
    log_request = request_logger("json", "info")

    async def answer(*ids: str) -> None:
        for request in ids:
            log_request("GET", "/livez", 200, 0.1, request)

    async def answer_twice() -> None:
        await answer("r-1", "r-2")
        assert written.pieces == []
        await asyncio.sleep(0)
        assert len(written.pieces) == 1
        await answer("r-3")

    asyncio.run(answer_twice())
    asyncio.run(answer("r-4"))
    log_request("GET", "/livez", 200, 0.1, "r-5")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == ["r-1", "r-2", "r-3", "r-4", "r-5"]


def test_lines_of_requests_are_never_torn(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - as above
    """Each write has whole lines, up to what a pipe takes atomically, whatever other processes write to it."""
    written = Pieces()
    monkeypatch.setattr(sys, "stderr", written)
    log_request = request_logger("json", "info")

    async def answer() -> None:
        for number in range(100):
            log_request("GET", "/livez", 200, 0.1, f"r-{number}")

    asyncio.run(answer())
    assert all(piece.endswith("}\n") and len(piece) <= select.PIPE_BUF for piece in written.pieces)
    assert len(written.pieces) < 10
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == [f"r-{number}" for number in range(100)]


def test_libraries_log_in_the_same_way(lines: Lines) -> None:
    """Warnings of uvicorn, asyncpg and Python have the same format, once each; connections have no lines."""
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.setLevel(logging.INFO)
    uvicorn.addHandler(logging.StreamHandler())
    uvicorn.propagate = False
    configure("json", "info")
    uvicorn.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:1", "/graphql?token=hush")
    logging.getLogger("uvicorn.access").info('%s - "%s"', "127.0.0.1:1", "/graphql?token=hush")
    uvicorn.warning("Started %s", "process", extra={"color_message": "\x1b[1mStarted"})
    logging.getLogger("asyncpg").warning("slow")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second, third = lines()
    assert (first["logger"], first["level"], first["event"]) == ("uvicorn.error", "warning", "Started process")
    assert (second["logger"], second["level"], second["event"]) == ("asyncpg", "warning", "slow")
    assert "color_message" not in first
    assert "DeprecationWarning: old" in third["event"]


def test_an_exception_is_logged_with_its_traceback(lines: Lines) -> None:
    """A fault is logged with its traceback, without the token in its text."""
    configure("json", "info")
    try:
        fail()
    except RuntimeError as error:
        structlog.get_logger().exception("fault", error=error)
    (line,) = lines()
    assert "test_logging.py" in line["exception"]
    assert f"RuntimeError: could not read {WITHHELD}" in line["exception"]
    assert line["error"] == f"RuntimeError: could not read {WITHHELD}"


def test_a_line_that_cannot_be_written(lines: Lines) -> None:
    """An event that cannot be logged is replaced by a line that says so, without its content."""
    configure("json", "info")

    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("hunter2")

    structlog.get_logger("ours").info("odd", error=OddError(), note="hunter2")
    logging.getLogger("theirs").info("%d", "hunter2")
    structlog.get_logger("ours").info("even")
    first, second, third = lines()
    assert (first["level"], first["event"], first["logger"]) == ("error", "event_not_logged", "ours")
    assert (second["level"], second["event"], second["logger"]) == ("error", "event_not_logged", "theirs")
    assert third["event"] == "even"
    assert "hunter2" not in json.dumps([first, second])


@dataclass
class Row:
    """A row as a statement returns it."""

    script: str


def test_private_values_are_withheld(lines: Lines) -> None:
    """Tokens, secrets, scripts and captions are removed by name, at any depth; of a row only the type is logged."""
    configure("json", "info")
    names = ["authorization", "Cookie", "access_token", "idToken", "jwt_secret", "password", "database_url", "script"]
    names += ["caption", "captionJson", "caption_json", "images", "variables"]
    structlog.get_logger().info(
        "called",
        **dict.fromkeys(names, "hunter2"),
        input={"videos": [{"script": "hunter2", "title": "Cats"}]},
        row=Row(script="hunter2"),
        rows=[Row(script="hunter2")],
        data=b"hunter2",
        path=Path("/data"),
    )
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert {line[name] for name in names} == {WITHHELD}
    assert line["input"] == {"videos": [{"script": WITHHELD, "title": "Cats"}]}
    assert (line["row"], line["rows"], line["data"], line["path"]) == ("<Row>", ["<Row>"], "<bytes>", "/data")


def test_any_value_makes_a_line(lines: Lines) -> None:
    """Values that JSON lacks, and cyclic ones, still produce one line of JSON."""
    configure("json", "info")
    circle: dict[str, Any] = {}
    circle["again"] = circle
    structlog.get_logger().info(
        "odd", infinity=float("inf"), circle=circle, keys={1: 2, None: 3, (4,): 5}, bad="\ud800"
    )
    (line,) = lines()
    assert line["infinity"] == "inf"
    assert line["keys"] == {"1": 2, "None": 3, "(4,)": 5}
    assert line["bad"] == "\ud800"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"got {TOKEN}.", f"got {WITHHELD}"),
        (f"GET /graphql?token={TOKEN}&x=1", f"GET /graphql?token={WITHHELD}&x=1"),
        (f"\\n{TOKEN}\\n", f"\\n{WITHHELD}\\n"),
        (f'{{"a": "{TOKEN}", "b": "{TOKEN}"}}', f'{{"a": "{WITHHELD}", "b": "{WITHHELD}"}}'),
        ("Authorization: bearer opaque-key", f"Authorization: Bearer {WITHHELD}"),
        ("postgresql://app:hunter2@db/videos", f"postgresql://{WITHHELD}@db/videos"),
        ("a keyJob is none, nor is eyJ.x", "a keyJob is none, nor is eyJ.x"),
        ("12 of 20 videos at 127.0.0.1:8000", "12 of 20 videos at 127.0.0.1:8000"),
    ],
)
def test_tokens_and_passwords_in_text(text: str, clean: str) -> None:
    """Tokens, and passwords in URLs, are removed from any text; other text is unchanged."""
    assert clean_text(text) == clean


def test_rows_that_postgresql_quotes(lines: Lines) -> None:
    """PostgreSQL's message and the constraint's name are logged, but not the row that it quotes."""
    configure("json", "info")
    refused = asyncpg.PostgresError.new(
        {
            "S": "ERROR",
            "C": "23514",
            "M": 'new row for relation "wallets" violates check constraint "wallets_credits_not_negative"',
            "D": "Failing row contains (1, hunter2).\nhunter2\n\nhunter2).",
        },
        query="",
    )
    try:
        try:
            raise refused
        except asyncpg.PostgresError as error:
            raise RuntimeError("outer") from error
    except RuntimeError:
        structlog.get_logger().exception("fault", error=refused)
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert "wallets_credits_not_negative" in line["exception"]
    assert line["exception"].endswith("RuntimeError: outer")


def test_queries_that_graphql_quotes() -> None:
    """A graphql-core error is logged with its location, without the document's text."""
    with pytest.raises(graphql.GraphQLSyntaxError) as caught:
        graphql.parse('{\n  create(script: "hunter2", ) {\n    hunter2 +\n  }\n}')
    assert "hunter2" in str(caught.value)
    assert clean_text(str(caught.value)) == f"{caught.value.message}\n\nGraphQL request:3:13"


def test_long_text_is_cut() -> None:
    """Of a long text the first and last 8,192 characters are logged, and how many are missing between them."""
    assert clean_text("x" * 16_384) == "x" * 16_384
    assert clean_text("x" * 10_000 + "y" * 10_000) == "x" * 8192 + "… 3616 characters more …" + "y" * 8192


@given(st.text(), st.text())
def test_a_token_in_any_text(before: str, after: str) -> None:
    """A token is removed whatever is before and after it."""
    assert TOKEN.split(".")[1] not in clean_text(before + TOKEN + after)


def test_console(restored: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001 - It is wanted for what it undoes.
    """The readable log has the same content, removes the same, and shows no local variables in tracebacks."""
    configure("console", "info")
    request_id.set("r-1")
    private = "hunter" + str(len("xx"))
    try:
        fail()
    except RuntimeError:
        structlog.get_logger().exception("fault", script=private)
    logged = capsys.readouterr()
    assert logged.out == ""
    assert time.strftime("%Y-") in logged.err
    for word in (
        "error",
        "fault",
        "request_id=r-1",
        f"script={WITHHELD}",
        "RuntimeError: could not read ",
        "test_logging.py",
    ):
        assert word in logged.err
    assert private not in logged.err
    assert TOKEN not in logged.err
