"""The application around GraphQL: health, request ids, the log, and authentication."""

import io
import re
import socket
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.applications import Starlette
from starlette.types import Message
from uvicorn.config import STARTUP_FAILURE

import db.migrate
import server.app
from db.database import Database
from server.app import create_app
from server.auth.tokens import Reason
from server.process.settings import Settings, StartError
from tests.api import SECRET, Api, headers, serving
from tests.conftest import NewDatabase
from tests.gate import Gate
from tests.log import serving_logged


async def test_a_process_that_runs_is_live(dsn: str, settings: Settings, tmp_path: Path) -> None:
    """/livez answers 200 as long as the process runs, whatever happens to the database."""
    gate = Gate(dsn, tmp_path)
    await gate.open()
    async with serving(gate.dsn, settings) as api:
        gate.shut()
        response = await api.client.get("/livez")
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_a_migrated_database_is_ready(api: Api) -> None:
    """/readyz answers 200 when the database is reachable and migrated."""
    response = await api.client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_an_empty_database_is_not_ready(new_database: NewDatabase, settings: Settings) -> None:
    """/readyz answers 503 with what to do when the database has no tables."""
    async with serving(await new_database(), settings) as api:
        response = await api.client.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "The database has no tables yet: run `videocredits migrate`."}


async def test_a_database_that_is_gone_is_not_ready(dsn: str, settings: Settings, tmp_path: Path) -> None:
    """/readyz answers 503 without internals while the database is unreachable, and 200 when it is back."""
    gate = Gate(dsn, tmp_path)
    await gate.open()
    async with serving_logged(gate.dsn, settings) as (api, log):
        gate.shut()
        response = await api.client.get("/readyz")
        assert (response.status_code, response.json()) == (503, {"status": "The database cannot be reached."})
        events = [line["event"] for line in log.read() if line["logger"].startswith("server")]
        assert events == ["not_ready", "request"]
        await gate.open()
        assert (await api.client.get("/readyz")).status_code == 200
    gate.shut()


async def test_a_newer_database_is_ready(dsn: str, settings: Settings, database: Database) -> None:
    """/readyz answers 200 on a database that newer code has migrated, so old processes survive a rolling deployment."""
    await database.pool.execute("UPDATE alembic_version SET version_num = '9999'")
    async with serving(dsn, settings) as api:
        assert (await api.client.get("/readyz")).status_code == 200


REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/livez", {}, 200),
    ("GET", "/readyz", {}, 200),
    ("GET", "/nowhere", {}, 404),
    ("POST", "/livez", {}, 405),
    ("GET", "/graphql?query={viewer{id}}", {"headers": headers("ann")}, 200),
    ("GET", "/graphql", {"headers": {"Accept": "text/html"}}, 200),
    ("POST", "/graphql", {"json": {"query": "{ viewer { id } }"}, "headers": headers("ann")}, 200),
    ("POST", "/graphql", {"json": {"query": "{ viewer { id } }"}}, 200),
    ("POST", "/graphql", {"json": {"query": "{ viewer { id } }"}, "headers": {"Authorization": "Bearer x"}}, 401),
    ("POST", "/graphql", {"content": "{", "headers": {"Content-Type": "application/json"}}, 400),
    ("PUT", "/graphql", {"json": {}}, 405),
]


async def test_every_request_has_an_id_and_a_log_line(dsn: str, settings: Settings) -> None:
    """Every response has a unique id in X-Request-Id and one line in the log, without the query."""
    async with serving_logged(dsn, settings) as (api, log):
        ids = set()
        for method, path, more, status in REQUESTS:
            response = await api.client.request(method, path, **more)
            assert response.status_code == status, path
            (line,) = log.read()
            assert line.pop("milliseconds") >= 0
            assert line.pop("time").endswith("Z")
            assert line == {
                "level": "info",
                "event": "request",
                "logger": "server.app",
                "method": method,
                "path": path.partition("?")[0],
                "status": status,
                "request_id": response.headers["X-Request-Id"],
            }
            ids.add(response.headers["X-Request-Id"])
        assert len(ids) == len(REQUESTS)


async def test_a_request_cannot_choose_its_id(api: Api) -> None:
    """The server generates the id, whatever the client sends: no foreign text gets into the log."""
    response = await api.client.get("/livez", headers={"X-Request-Id": "mine"})
    assert response.headers.get_list("X-Request-Id") != ["mine"]
    assert len(response.headers.get_list("X-Request-Id")) == 1


def token(secret: str = SECRET, **changed: Any) -> str:
    claims = {"sub": "ann", "aud": "videocredits", "iss": "videocredits", "exp": 2**33, "role": "USER"} | changed
    return "Bearer " + jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("Bearer nonsense", Reason.MALFORMED),
        ("Basic YW5uOnBhc3N3b3Jk", Reason.MALFORMED),
        ("", Reason.MALFORMED),
        (token("another secret, of more than 32 bytes"), Reason.BAD_SIGNATURE),
        (token(exp=1), Reason.EXPIRED),
        (token(aud="somebody else"), Reason.WRONG_AUDIENCE),
        (token(iss="somebody else"), Reason.WRONG_ISSUER),
        (token(role="OWNER"), Reason.UNKNOWN_ROLE),
        (token(role=None), Reason.MISSING_CLAIM),
        (token(sub="\0"), Reason.INVALID_SUBJECT),
    ],
)
async def test_an_invalid_token_is_401(api: Api, authorization: str, reason: Reason) -> None:
    """An invalid token is 401 with code, reason and id, whatever the request, and is not quoted."""
    for query in ("{ viewer { id } }", "{ __typename }", "mutation { registerUser(input: {}) { __typename } }"):
        response = await api.client.post("/graphql", json={"query": query}, headers={"Authorization": authorization})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        (error,) = response.json()["errors"]
        assert error["extensions"] == {
            "code": "UNAUTHENTICATED",
            "reason": reason.value,
            "errorId": response.headers["X-Request-Id"],
        }
        assert len(authorization) < 10 or authorization.removeprefix("Bearer ") not in response.text
    assert await api.query("{ viewer { id } }") == {"viewer": None}


async def test_without_a_token_a_request_is_anonymous(api: Api) -> None:
    """Without a token the schema is readable, and a field that needs a user says how to sign in."""
    assert (await api.post("{ __typename }", subject=None)) == {"data": {"__typename": "Query"}}
    (error,) = (await api.post("{ viewer { id } }", subject=None))["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert "Authorization" in error["message"]


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "application/json;q=0.1,text/html",
    ],
)
async def test_a_browser_gets_graphiql(api: Api, accept: str) -> None:
    """A browser that opens /graphql gets GraphiQL's page."""
    response = await api.client.get("/graphql", headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "graphiql" in response.text.lower()


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*", None])
async def test_a_program_gets_no_page(api: Api, accept: str | None) -> None:
    """A program that sends a query to /graphql gets JSON, never a page."""
    request = headers("ann") | ({"Accept": accept} if accept else {})
    for response in (
        await api.client.get("/graphql", params={"query": "{ viewer { id } }"}, headers=request),
        await api.client.post("/graphql", json={"query": "{ viewer { id } }"}, headers=request),
    ):
        assert response.status_code == 200
        assert "json" in response.headers["Content-Type"]
        assert response.json() == {"data": {"viewer": None}}


async def test_a_link_changes_nothing(api: Api) -> None:
    """A mutation by GET, which a link or an image can send, is refused and changes nothing."""
    query = "mutation { registerUser(input: {}) { __typename } }"
    response = await api.client.get("/graphql", params={"query": query}, headers=headers("ann"))
    assert response.status_code in {400, 405}
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert await api.query("{ viewer { id } }") == {"viewer": None}


async def test_the_named_operation_runs(api: Api) -> None:
    """Of two operations the named one runs; a single one needs no name."""
    document = "query A { a: viewer { id } } query B { b: viewer { id } }"
    for name in ("A", "B"):
        content = {"query": document, "operationName": name}
        body = (await api.client.post("/graphql", json=content, headers=headers("ann"))).json()
        assert body == {"data": {name.lower(): None}}


def test_an_app_needs_a_database(settings: Settings) -> None:
    """Without a database no application is created, and the error names the missing setting."""
    with pytest.raises(StartError, match="VIDEOCREDITS_DATABASE_URL is missing: set it"):
        create_app(settings)


def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without settings the environment's are used; errors in them are printed, and the process exits."""
    monkeypatch.setenv("VIDEOCREDITS_PORT", "none")
    monkeypatch.setenv("VIDEOCREDITS_COLOUR", "red")
    with pytest.raises(SystemExit) as ended:
        create_app()
    assert ended.value.code == STARTUP_FAILURE
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["Error:", f"VIDEOCREDITS_{name}"] for name in ("PORT", "COLOUR")]


async def lifespan(app: Starlette) -> list[Message]:
    """Start and stop an application like an ASGI server other than uvicorn, and return its messages."""
    said: list[Message] = []
    orders = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(orders)}

    async def send(message: Message) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    return said


async def test_any_asgi_server_starts_and_stops_the_app(dsn: str, settings: Settings) -> None:
    """The application starts and stops by the lifespan protocol alone."""
    said = await lifespan(create_app(settings, dsn=dsn))
    assert said == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


@pytest.mark.parametrize("port", ["silent", "closed"])
async def test_an_app_without_its_database_does_not_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    """A database that refuses connections or never answers fails the start with one sentence, without the password."""
    monkeypatch.setattr(db.migrate, "CONNECT_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = listener.getsockname()[1]
        app = create_app(settings, dsn=f"postgresql://me:hush@127.0.0.1:{silent if port == 'silent' else 1}/db")
        (failed,) = await lifespan(app)
    assert failed["type"] == "lifespan.startup.failed"
    assert re.fullmatch(r"The PostgreSQL at VIDEOCREDITS_DATABASE_URL [^\n]+\.", failed["message"])
    assert "hush" not in failed["message"]


async def test_an_error_in_the_start_fails_it(dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other exception is logged and fails the start too: uvicorn would otherwise assume an app without lifespan."""
    monkeypatch.setattr(server.app, "Live", None)
    with redirect_stderr(io.StringIO()) as log:
        (failed,) = await lifespan(create_app(settings, dsn=dsn))
    assert (failed["type"], "TypeError" in log.getvalue()) == ("lifespan.startup.failed", True)
    assert "TypeError" not in failed["message"]
