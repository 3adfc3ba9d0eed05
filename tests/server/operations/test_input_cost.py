"""The cost of a request before execution: a bounded number of steps, whatever it contains."""

import json
import sys
from typing import Any

import pytest
from graphql import ExecutionResult
from strawberry.types import ExecutionResult as Result

import server.wire.request
from db.database import Database
from executor.inputs import VARIABLE_ERRORS_MAX, VARIABLE_ITEMS_MAX
from resolvers.identity import Identity, Role
from resolvers.live import Live
from server.operations.run import QUERIES_AND_MUTATIONS, NotExecuted, Runner
from server.process.settings import Settings
from server.wire.answer import encode_utf8
from server.wire.errors import present
from server.wire.request import CONTAINERS_MAX, SHORT_BODY_BYTES, GraphQLRequest, Refused, read_body
from tests.api import SECRET
from tests.hostile_requests import CREATE, NODES, UPDATE, VIDEOS, hostile_bodies

# Calls and returns; most take a tenth of a microsecond. A document of the maximum size needs most of them.
CALLS_MAX = 250_000


@pytest.fixture
def runner(database: Database) -> Runner:
    runner = Runner(
        Settings(jwt_secret=SECRET, introspection="on")
    )  # Introspection makes errors take longer: they suggest names.
    runner.database, runner.live = database, Live(database)
    return runner


async def answered(runner: Runner, body: bytes, identity: Identity | None) -> tuple[list[dict[str, Any]], int]:
    """Answer a request, and return its errors and the number of calls."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        result = await execute(runner, read_body(body), identity)
        errors = [present(error, "id") for error in result.errors or ()]
    except Refused as error:
        errors = [present(error, "id")]
    finally:
        sys.setprofile(None)
    return errors, calls


async def test_no_request_takes_long_before_it_is_executed(runner: Runner) -> None:
    """A body of a megabyte is parsed, and its variables coerced or refused, in a bounded number of steps."""
    slow = {}
    for name, body in hostile_bodies():
        for identity in (None, Identity("root", Role.ADMIN)):
            errors, calls = await answered(runner, body, identity)
            codes = {error["extensions"]["code"] for error in errors}
            assert codes <= {"BAD_USER_INPUT", "LIMIT_EXCEEDED", "UNAUTHENTICATED", "PERSISTED_QUERY_NOT_FOUND"}, name
            assert len(encode_utf8(errors)) < 10_000, name
            if calls > CALLS_MAX:
                slow[name] = calls
    assert not slow


@pytest.mark.parametrize("extra", [0, 1])
def test_lists_and_objects_are_counted_before_they_are_read(extra: int) -> None:
    """The number of lists and objects in a request's JSON is limited; excess is refused before the JSON is parsed."""
    start, end = b'{"query":"{ viewer { id } }","variables":{"a":[', b"{}]}}"
    count = CONTAINERS_MAX - sum((start + end).count(each) for each in (b"[", b"{")) + extra
    broken = b"" if extra else end  # The refusal comes before the text is found to be invalid JSON.
    body = start + b"[]," * count + broken
    if extra:
        with pytest.raises(Refused) as refused:
            read_body(body + b"{")
        assert (refused.value.status, (refused.value.extensions or {})["code"]) == (413, "LIMIT_EXCEEDED")
    else:
        assert len((read_body(body).variables or {})["a"]) == count + 1


def test_long_bodies_do_not_use_the_short_body_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser that takes ten microseconds for some numbers never gets more of them than fit into a short body."""
    read = server.wire.request._read_short  # noqa: SLF001 - it shows nowhere else which one reads
    lengths = []

    def note(body: bytes) -> GraphQLRequest:
        lengths.append(len(body))
        return read(body)

    monkeypatch.setattr(server.wire.request, "_read_short", note)
    for length in (100, SHORT_BODY_BYTES, SHORT_BODY_BYTES + 1, 1_000_000):
        body = b'{"query":"{ viewer { id } }","variables":{"a":1e308}}'.ljust(length)
        assert read_body(body).variables == {"a": 1e308}
    assert lengths == [100, SHORT_BODY_BYTES]


async def execute(runner: Runner, asked: GraphQLRequest, identity: Identity | None) -> ExecutionResult | Result:
    """Execute a query or mutation as the pipeline does."""
    return await runner.execute(asked, runner.prepare(asked), identity, QUERIES_AND_MUTATIONS)


@pytest.mark.parametrize(
    ("document", "variables"),
    [(VIDEOS, {"f": {"status": ["NONE"]}}), (NODES, {"ids": 1.5}), (CREATE, {"input": {}}), (UPDATE, {})],
)
async def test_rules_come_before_variables(runner: Runner, document: str, variables: dict[str, Any]) -> None:
    """A caller who may use no root field of an operation gets that refusal, not errors about its variables."""
    result = await execute(runner, GraphQLRequest(document, variables), None)
    assert result.errors is not None
    (error,) = result.errors
    assert present(error, "id")["extensions"]["code"] == "UNAUTHENTICATED"
    assert error.path


async def test_rules_of_subscriptions_come_before_variables(runner: Runner) -> None:
    """The same applies to subscriptions."""
    document = "subscription($f: VideoFilter) { videosUpdated(filter: $f) { nodes { id } } }"
    operation = GraphQLRequest(document, {"f": {"status": ["NONE"] * 5_000}})
    for identity, code, count in (
        (None, "UNAUTHENTICATED", 1),
        (Identity("worker", Role.WORKER), "FORBIDDEN", 1),
        (Identity("ann", Role.USER), "BAD_USER_INPUT", VARIABLE_ERRORS_MAX + 1),
    ):
        with pytest.raises(NotExecuted) as refused:
            await anext(runner.subscribe(operation, runner.prepare(operation), identity))
        assert [present(error, "id")["extensions"]["code"] for error in refused.value.errors] == [code] * count


async def test_no_mutation_runs_beside_a_forbidden_one(runner: Runner) -> None:
    """If one mutation of a document is forbidden, none runs; allowed queries do run."""
    ann = Identity("ann", Role.USER)
    document = "mutation { registerUser(input: {}) { __typename } %s }"
    forbidden = 'updateVideoRecordStatus(input: {recordId: "a", status: READY}) { __typename }'
    operation = GraphQLRequest(document % forbidden)
    result = await execute(runner, operation, ann)
    assert [present(error, "id")["extensions"]["code"] for error in result.errors or ()] == ["FORBIDDEN"]
    result = await execute(runner, GraphQLRequest("{ viewer { id } users { nodes { id } } }"), ann)
    assert [error.path for error in result.errors or ()] == [["users"]]
    result = await execute(runner, GraphQLRequest("{ viewer { id } }"), ann)
    assert result.data == {"viewer": None}


@pytest.mark.parametrize("items", [VARIABLE_ITEMS_MAX, VARIABLE_ITEMS_MAX + 1])
async def test_the_items_of_all_lists_count(runner: Runner, items: int) -> None:
    """The items of all lists in the variables have one common limit; excess is refused before any is coerced."""
    document = "query($a: [ID!]!, $b: [ID!]!) { a: nodes(ids: $a) { id } b: nodes(ids: $b) { id } }"
    variables = {"a": ["a"] * 1_000, "b": ["b"] * (items - 1_000)}
    operation = read_body(json.dumps({"query": document, "variables": variables}).encode())
    result = await execute(runner, operation, Identity("root", Role.ADMIN))
    messages = {error.message for error in result.errors or ()}
    refused = f"The lists in the variables have more than {VARIABLE_ITEMS_MAX:,} items together."
    assert (refused in messages) is (items > VARIABLE_ITEMS_MAX)
