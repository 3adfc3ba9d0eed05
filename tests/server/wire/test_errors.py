"""Errors over HTTP: what a client sees, what only the log has, and what may be sent again."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from db.database import Database, RetryLaterError
from resolvers.identity import Identity, Role
from server.auth.tokens import TokenVerifier
from server.process.settings import Settings
from tests.api import MUTATIONS, Api, headers, serving
from tests.gate import Gate
from tests.log import Log, serving_logged
from tests.race import BLOCKED, Account, blocked, unblocked
from tests.rows import every_row

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

SCRIPT = "The words that nobody but Ann may read."
VIDEO = {"title": "Whales", "videoStyle": "realistic", "script": SCRIPT, "idempotencyKey": "key"}
FAULT = "The server made a mistake. It is logged under this errorId."
Logged = tuple[Api, Log]


@pytest.fixture
async def logged(dsn: str, settings: Settings) -> AsyncIterator[Logged]:
    """Call an app, and capture its log."""
    async with serving_logged(dsn, settings) as opened:
        yield opened


async def execute(dsn: str, sql: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(sql)
    await connection.close()


async def send(api: Api, document: str, **variables: Any) -> httpx2.Response:
    """Send a document as Ann, and return the raw response."""
    content = json.dumps({"query": document, "variables": variables})
    request = {"Content-Type": "application/json", **headers("ann")}
    return await api.client.post("/graphql", content=content, headers=request)


BREAKAGES = {
    "a missing column": "ALTER TABLE video_events RENAME COLUMN actor TO internal_name",
    "a violated constraint": "ALTER TABLE video_data ADD CONSTRAINT internal_name CHECK (title <> 'Whales')",
    "an exception": f"""
      CREATE FUNCTION internal_name() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'internal_name' USING DETAIL = 'internal_name {SCRIPT}';
      END $$;
      CREATE TRIGGER internal_name BEFORE INSERT ON credit_entries FOR EACH ROW EXECUTE FUNCTION internal_name()""",
}


@pytest.mark.parametrize("breakage", BREAKAGES)
async def test_faults_are_masked(logged: Logged, dsn: str, database: Database, breakage: str) -> None:
    """A fault is INTERNAL_SERVER_ERROR with only an id, is logged once, and leaves nothing behind."""
    api, log = logged
    await api.register()
    await execute(dsn, BREAKAGES[breakage])
    before = await every_row(database)
    log.read()
    response = await send(api, MUTATIONS["createVideoData"], input=VIDEO)
    (error,) = response.json()["errors"]
    request_id = response.headers["X-Request-Id"]
    assert error == {
        "message": FAULT,
        "path": ["createVideoData"],
        "locations": error["locations"],
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "errorId": request_id},
    }
    assert response.json()["data"] is None
    assert "internal_name" not in response.text
    fault, request = log.read()
    assert (fault["event"], fault["level"], fault["request_id"]) == ("fault", "error", request_id)
    assert "asyncpg.exceptions." in fault["exception"]
    assert SCRIPT not in fault["exception"]
    assert (request["event"], request["request_id"]) == ("request", request_id)
    assert await every_row(database) == before


async def test_each_fault_of_a_response_has_the_requests_id(logged: Logged, dsn: str) -> None:
    """Failed nullable fields are null; each fault is in the response and in the log, with the request's id."""
    api, log = logged
    await api.register()
    await api.video()
    await execute(dsn, "ALTER TABLE video_contents RENAME COLUMN config TO internal_name")
    log.read()
    document = "{ viewer { videos { nodes { title config } } } other: viewer { videos { nodes { title script } } } }"
    response = await send(api, document)
    body = response.json()
    assert body["data"]["viewer"]["videos"]["nodes"] == [{"title": "Whales", "config": None}]
    assert body["data"]["other"]["videos"]["nodes"] == [{"title": "Whales", "script": None}]
    assert [error["message"] for error in body["errors"]] == [FAULT, FAULT]
    request_id = response.headers["X-Request-Id"]
    assert {error["extensions"]["errorId"] for error in body["errors"]} == {request_id}
    assert "internal_name" not in response.text
    lines = log.read()
    assert [line["event"] for line in lines] == ["fault", "fault", "request"]
    assert {line["request_id"] for line in lines} == {request_id}


async def test_a_fault_outside_of_graphql(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault before GraphQL starts is a 500 with the same message, an id, and one log line."""
    api, log = logged

    async def fail(_: TokenVerifier, authorization: str) -> None:
        raise RuntimeError(f"internal_name {authorization}")

    monkeypatch.setattr(TokenVerifier, "prove", fail)
    response = await send(api, "{ viewer { id } }")
    assert response.status_code == 500
    request_id = response.headers["X-Request-Id"]
    extensions = {"code": "INTERNAL_SERVER_ERROR", "errorId": request_id}
    assert response.json() == {"errors": [{"message": FAULT, "extensions": extensions}]}
    fault, request = log.read()
    assert (fault["event"], fault["request_id"]) == ("fault", request_id)
    assert (request["event"], request["status"]) == ("request", 500)


MISTAKES = {
    "syntax": "{ viewer { id }",
    "an unknown field": "{ viewer { password } }",
    "an unknown argument": "{ viewer(id: 1) { id } }",
    "a missing argument": "{ node { id } }",
    "a missing variable": "query($id: ID!) { node(id: $id) { id } }",
    "a value of another type": "{ node(id: {}) { id } }",
    "an unknown enum value": "{ viewer { videos(filter: {status: [DONE]}) { nodes { id } } } }",
    "a fragment on nothing": "{ viewer { ...on Nothing { id } } }",
    "nothing at all": "",
    "no operation": "fragment f on User { id }",
    "a limit": "{ viewer { videos(first: 101) { nodes { id } } } }",
}


async def test_a_clients_mistake_is_bad_input(logged: Logged) -> None:
    """A client's mistake is BAD_USER_INPUT with a sentence and the request's id, and is not logged as a fault."""
    api, log = logged
    await api.register()
    log.read()
    for mistake, document in MISTAKES.items():
        response = await send(api, document)
        extensions = {"code": "BAD_USER_INPUT", "errorId": response.headers["X-Request-Id"]}
        for error in response.json()["errors"]:
            assert error["extensions"] == extensions, mistake
            assert error["message"], mistake
        assert [line["event"] for line in log.read()] == ["request"], mistake


async def test_a_refusal_is_no_error(logged: Logged) -> None:
    """A refusal is data: the response has no errors, and the log no fault."""
    api, log = logged
    await api.register(credits=0)
    log.read()
    response = await send(api, MUTATIONS["createVideoData"], input=VIDEO)
    assert response.json()["data"]["createVideoData"]["__typename"] == "InsufficientCredits"
    assert "errors" not in response.json()
    assert [line["event"] for line in log.read()] == ["request"]


def assert_retry(response: httpx2.Response, log: Log) -> None:
    """Assert that a response is a RETRY, and that the log has one warning about it."""
    (error,) = response.json()["errors"]
    request_id = response.headers["X-Request-Id"]
    assert error["extensions"] == {"code": "RETRY", "errorId": request_id}
    assert "with the same idempotency key" in error["message"]
    # The driver's pool may log something, too.
    warning, request = (line for line in log.read() if line["logger"].startswith("server") and "request_id" in line)
    assert warning["request_id"] == request["request_id"] == request_id
    assert (warning["event"], warning["level"], request["event"]) == ("retry", "warning", "request")


async def test_a_locked_account_is_to_be_retried(api: Api, dsn: str, settings: Settings, database: Database) -> None:
    """A mutation that gets no lock in time is a RETRY and is canceled; sent again with its key, it happens."""
    await api.register()
    before = await every_row(database)
    async with (
        serving_logged(dsn, settings, request_timeout_seconds=2) as (hurried, log),
        database.pool.acquire() as holder,
        holder.transaction(),
    ):
        await holder.execute("SELECT FROM wallets FOR UPDATE")
        assert_retry(await send(hurried, MUTATIONS["createVideoData"], input=VIDEO), log)
        await unblocked(database)  # Else the statement might still get the lock, which RETRY does not rule out.
    assert await every_row(database) == before
    created = await api.create("key", script=SCRIPT)
    assert (created["replayed"], created["user"]["credits"]) == (False, 9)


async def test_a_canceled_statement_is_to_be_retried(dsn: str, settings: Settings, database: Database) -> None:
    """A statement that an operator cancels, batched or not, is a RETRY immediately, and has not happened."""
    cancel = """SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'"""
    async with serving_logged(dsn, settings) as (api, log), database.pool.acquire() as holder:
        await api.register()
        before = await every_row(database)
        log.read()
        async with holder.transaction():
            await holder.execute("SELECT FROM wallets FOR UPDATE")
            creation = asyncio.create_task(send(api, MUTATIONS["createVideoData"], input=VIDEO))
            while not creation.done():  # Canceled in a batch, it runs again by itself, and is canceled again.
                await database.pool.fetchval(cancel)
            assert_retry(await creation, log)
        assert await every_row(database) == before


async def test_a_locked_table_is_to_be_retried(api: Api, dsn: str, settings: Settings, database: Database) -> None:
    """A query that waits too long for a migration's lock is a RETRY."""
    await api.register()
    async with (
        serving_logged(dsn, settings, request_timeout_seconds=2) as (hurried, log),
        database.pool.acquire() as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE wallets")
        response = await send(hurried, "{ viewer { credits } }")
        assert response.json()["data"] == {"viewer": None}
        assert_retry(response, log)
    assert await api.balance() == 10


async def test_a_database_that_is_gone_is_to_be_retried(
    api: Api, gate: Gate, settings: Settings, database: Database
) -> None:
    """While the database is down requests are a RETRY and change nothing; a request that can wait is answered later."""
    await api.register()
    before = await every_row(database)
    async with (
        serving(gate.dsn, settings) as patient,
        serving_logged(gate.dsn, settings, request_timeout_seconds=0.3) as (hurried, log),
    ):
        gate.shut()
        reading = asyncio.create_task(patient.balance())
        assert_retry(await send(hurried, MUTATIONS["createVideoData"], input=VIDEO), log)
        assert_retry(await send(hurried, "{ viewer { credits } }"), log)
        assert await every_row(database) == before
        assert not reading.done()
        await gate.open()
        assert await reading == 10
        assert (await patient.create("key", script=SCRIPT))["replayed"] is False


async def test_a_connection_that_is_cut_is_replaced(gate: Gate, settings: Settings) -> None:
    """Idle connections that were cut are replaced, without an error for any client."""
    async with serving(gate.dsn, settings) as api:
        await api.register()
        for number in range(3):
            gate.cut()
            assert (await api.create(str(number)))["user"]["credits"] == 9 - number
            gate.cut()
            assert await api.balance() == 9 - number


async def waiting(database: Database, besides: int = 0) -> int:
    """Wait until another connection waits for a lock, and return its process."""
    while True:
        for record in await database.pool.fetch(BLOCKED.replace("count(*)", "pid")):
            if record["pid"] != besides:
                return int(record["pid"])


async def test_a_statement_whose_connection_is_cut_happens_once(
    gate: Gate, settings: Settings, database: Database
) -> None:
    """A mutation whose connection is cut is sent again by the server, and happens once."""
    async with serving(gate.dsn, settings) as api, database.pool.acquire() as holder:
        await api.register()
        async with holder.transaction():
            await holder.execute("SELECT FROM wallets FOR UPDATE")
            creation = asyncio.create_task(api.create("key"))
            in_batch = await waiting(database)
            await waiting(database, besides=in_batch)
            gate.cut()  # The batch has given the lock up; the call, by itself, waits for it.
            await blocked(database, 2)  # PostgreSQL does not notice that the first one's client has gone.
        created = await creation
        assert (created["__typename"], created["user"]["credits"]) == ("CreateVideoDataSuccess", 9)
    rows = await every_row(database)
    assert (len(rows["video_data"]), len(rows["credit_entries"])) == (1, 2)


async def test_retry_says_which_mutations_have_happened(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RETRY for the second of two mutations says that the first has happened; for a nested field, that its own has."""
    for name in ("ann", "bob"):
        await api.register(name, credits=5)
    ids = {name: (await api.query("{ viewer { id } }", subject=name))["viewer"]["id"] for name in ("ann", "bob")}
    document = """mutation($ann: ID!, $bob: ID!) {
      bob: adjustUserCredits(input: {userId: $bob, amount: 1, kind: REWARD, idempotencyKey: "bob"}) { __typename }
      ann: adjustUserCredits(input: {userId: $ann, amount: 1, kind: REWARD, idempotencyKey: "ann"}) { __typename }
    }"""
    monkeypatch.setattr(
        api.app.state.database, "_timeout_seconds", 0.3
    )  # A request's own deadline would end all of it.
    async with Account(database, Identity("ann", Role.USER).user_id).locked():
        body = await api.post(document, ids, subject="root", role=Role.ADMIN)
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["ann"], "RETRY")
    assert "Mutations before it in the same request have happened." in error["message"]
    balance = "{ viewer { credits } }"
    assert (await api.query(balance, subject="bob"))["viewer"]["credits"] == 6

    async def unanswered(*_: object) -> Any:
        raise RetryLaterError

    monkeypatch.setattr(api.app.state.database, "rows", unanswered)
    document = """mutation($input: CreateVideoDataInput!) {
      createVideoData(input: $input) { ... on CreateVideoDataSuccess { user { creditEntries { nodes { number } } } } }
    }"""
    body = await api.post(document, {"input": VIDEO}, subject="ann")
    (error,) = body["errors"]
    assert (error["path"][:2], error["extensions"]["code"]) == (["createVideoData", "user"], "RETRY")
    assert "If it is in a mutation, that has happened" in error["message"]
    monkeypatch.undo()
    assert [
        video["title"]
        for video in (await api.query("{ viewer { videos { nodes { title } } } }"))["viewer"]["videos"]["nodes"]
    ] == ["Whales"]
