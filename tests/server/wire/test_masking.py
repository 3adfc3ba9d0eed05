"""Faults among many simultaneous requests: each is masked, and logged under its request's id; the rest succeed."""

import asyncio
import json
import re
from collections.abc import Coroutine
from typing import Any

import httpx2
import pytest

from db.database import Database
from resolvers.identity import Role
from server.process.settings import Settings
from tests.api import MUTATIONS, Api, headers
from tests.log import Log, serving_logged

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

CALLERS = 50

# Some entries fail in the middle of a mutation, with a text that no client may see.
BREAK = """
CREATE FUNCTION internal_fault() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.memo LIKE 'internal_memo%' THEN
    RAISE EXCEPTION 'internal_message of %', NEW.memo USING DETAIL = 'internal_detail', HINT = 'internal_hint';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER internal_trigger BEFORE INSERT ON credit_entries FOR EACH ROW EXECUTE FUNCTION internal_fault()"""
INTERNALS = re.compile(r"internal_|asyncpg|Traceback|\.py\b|credit_entries|video_events|constraint|relation ")
READ = "{ viewer { credits creditEntries { nodes { number memo } } } }"


async def send(api: Api, document: str, variables: dict[str, Any]) -> httpx2.Response:
    content = json.dumps({"query": document, "variables": variables})
    signed = {"Content-Type": "application/json", **headers("ann", Role.ADMIN)}
    return await api.client.post("/graphql", content=content, headers=signed)


def masked(response: httpx2.Response, log: dict[str, dict[str, Any]]) -> str | None:
    """Check that a response reveals nothing, and return its fault from the log; None if it had none."""
    assert not INTERNALS.search(response.text), response.text
    assert not INTERNALS.search(str(response.headers))
    request_id = response.headers["X-Request-Id"]
    errors = response.json().get("errors", [])
    if not errors:
        assert request_id not in log
        return None
    (error,) = errors
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR", "errorId": request_id}
    exception: str = log[request_id]["exception"]
    return exception


def faults(log: Log) -> dict[str, dict[str, Any]]:
    """Return the faults in the log by request, at most one for each."""
    lines = [line for line in log.read() if line["event"] == "fault"]
    found = {line["request_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


async def test_faults_among_many_mutations(dsn: str, settings: Settings, database: Database) -> None:
    """Of many simultaneous mutations, each failed one shows an id that the log has too; the others happen."""
    async with serving_logged(dsn, settings) as (api, log):
        user_id = await api.register(credits=100)
        await database.pool.execute(BREAK)
        log.read()

        def adjust(number: int) -> Coroutine[Any, Any, httpx2.Response]:
            memo = f"internal_memo {number}." if number % 2 else f"a memo {number}"
            given = {"userId": user_id, "amount": 1, "kind": "REWARD", "memo": memo, "idempotencyKey": str(number)}
            return send(api, MUTATIONS["adjustUserCredits"], {"input": given})

        responses = await asyncio.gather(*map(adjust, range(CALLERS)))
        logged = faults(log)
        for number, response in enumerate(responses):
            exception = masked(response, logged)
            if number % 2:
                assert response.json()["data"] is None
                assert f"internal_message of internal_memo {number}." in (exception or "")
            else:
                assert exception is None
                assert response.json()["data"]["adjustUserCredits"]["entry"]["memo"] == f"a memo {number}"
        assert len(logged) == CALLERS // 2
        assert await api.balance() == 100 + CALLERS // 2


async def test_a_table_that_goes_away_among_many_queries(dsn: str, settings: Settings, database: Database) -> None:
    """While a table is renamed, queries get data or a masked fault; afterwards all are faults."""
    async with serving_logged(dsn, settings) as (api, log):
        await api.register(credits=100)
        log.read()
        queries = [send(api, READ, {}) for _ in range(CALLERS)]
        rename = asyncio.create_task(database.pool.execute("ALTER TABLE credit_entries RENAME TO internal_entries"))
        during = await asyncio.gather(*queries)
        await rename
        logged = faults(log)
        assert sum(masked(response, logged) is not None for response in during) == len(logged)
        after = await asyncio.gather(*[send(api, READ, {}) for _ in range(CALLERS)])
        logged = faults(log)
        for response in after:
            assert "UndefinedTableError" in (masked(response, logged) or "")
            assert response.json()["data"] == {"viewer": None}
        assert len(logged) == CALLERS
