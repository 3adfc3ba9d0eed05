"""Which operations the compiled executor runs, and which it leaves to Strawberry."""

import asyncio
from random import Random
from typing import Any

import pytest
import strawberry
from graphql import ExecutionResult
from strawberry.types.graphql import OperationType
from structlog.testing import capture_logs

import server.process.logging
from executor.program import NotCovered, Program
from resolvers.identity import Identity, Role
from server.bounded_cache import BoundedCache
from server.operations.document import CHARACTERS_PER_FIELD
from server.operations.root_fields import Schema, build_schema
from tests.api import MUTATIONS
from tests.executor.core import Several, shown
from tests.operations import SUBSCRIPTIONS, project_documents, variables_of
from tests.synthetic import Backend, synthetic

ADMIN = Identity("root", Role.ADMIN)
KINDS = frozenset({OperationType.QUERY, OperationType.MUTATION})
SWITCHES = ", ".join(f"${name}: Boolean = true" for name in "abcde")
SWITCHED = " ".join(f"... @include(if: ${name}) {{ __typename }}" for name in "abcde")


@pytest.fixture
def schema() -> Schema:
    return build_schema(development=True)


async def executed(schema: Schema, text: str, variables: dict[str, Any], seed: int = 0) -> list[str]:
    """Execute on a synthetic backend; return the calls it received."""
    graphql_schema = schema._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
    backend: Any = Backend(graphql_schema, seed, oddity=0)
    backend.identity = ADMIN
    with synthetic(graphql_schema):
        running = schema.run(schema.prepare(text), variables, backend, None, KINDS)
        _ = running if isinstance(running, ExecutionResult) else await running
    asked: list[str] = backend.calls
    return asked


async def test_clients_are_served_by_compiled_functions(schema: Schema) -> None:
    """Every operation that the project's clients send is compiled."""
    graphql_schema = schema._schema  # noqa: SLF001 - as above
    for text in project_documents():
        prepared = schema.prepare(text)
        (name,) = prepared.costs
        assert prepared.document is not None
        operation, _ = schema.documents.compiled(graphql_schema, prepared, name)
        if operation.kind in KINDS:
            await executed(schema, text, variables_of(graphql_schema, prepared.document, Random(0)))
    assert not schema.not_compiled


async def test_an_uncompilable_mutation_is_executed_once(schema: Schema) -> None:
    """Strawberry runs a mutation that cannot be compiled, once per request, and it is counted with the reason."""
    text = f"mutation($input: TrashVideoDataInput!, {SWITCHES}) {{ trashVideoData(input: $input) {{ {SWITCHED} }} }}"
    for times in (1, 2, 3):
        (asked,) = await executed(schema, text, {"input": {"recordId": "a"}})
        assert "trashVideoData" in asked
        assert schema.not_compiled == {"switches": times}
    await executed(schema, "{ __schema { queryType { name } } viewer { id } }", {})
    assert schema.not_compiled == {"switches": 3, "introspection": 1}


async def test_uncompilable_operations_are_logged(schema: Schema) -> None:
    """The log names the 1st, 10th, 100th … operation that cannot be compiled, for each reason."""
    server.process.logging.configure("console", "info")  # Another test's server may have raised the level.
    with capture_logs() as lines:
        for _ in range(11):
            await executed(schema, "query Names { __schema { queryType { name } } }", {})
    line = {"event": "operation_not_compiled", "log_level": "info", "reason": "introspection", "operation": "Names"}
    assert lines == [{**line, "times": 1}, {**line, "times": 10}]


class Streaming(Backend):
    """Subscriptions of three events."""

    def resolve(self, info: strawberry.Info[Any, Any], arguments: dict[str, Any]) -> tuple[int, Any]:
        if info.operation.operation.value != "subscription" or len(info.path.as_list()) > 1:
            return super().resolve(info, arguments)
        type_ = info._raw_info.return_type  # noqa: SLF001 - Strawberry shows graphql-core's type nowhere else.
        return 0, Several([self.value(type_, Random(number), 0) for number in range(3)])


@pytest.mark.parametrize("text", SUBSCRIPTIONS)
async def test_events_that_cannot_be_compiled(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled functions or graphql-core answer a subscription's events, with equal results; the latter are counted."""

    def refuse(_program: Program) -> None:
        raise NotCovered("asked for")

    results = []
    for reasons in ({}, {"asked for": 3}):
        schema = build_schema()
        graphql_schema = schema._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
        prepared = schema.prepare(text)
        assert prepared.document is not None
        context: Any = Streaming(graphql_schema, 0, oddity=0.1)
        context.identity = ADMIN
        with synthetic(graphql_schema):
            events = await schema.follow(prepared, None, {"id": "a", "first": 1}, context)
            assert not isinstance(events, ExecutionResult)
            results.append([shown(event) async for event in events])
        assert schema.not_compiled == reasons
        monkeypatch.setattr(Program, "function", refuse)
    assert results[0] == results[1]
    assert len(results[0]) == 3


def test_compiled_functions_count_with_their_document(schema: Schema) -> None:
    """Compiled functions are cached with their document, and count towards its size."""
    text = MUTATIONS["createVideoData"]
    prepared = schema.prepare(text)
    cache = schema.documents._sound  # noqa: SLF001 - What is remembered shows nowhere else but in memory.
    before = cache._characters  # noqa: SLF001 - as above
    operation = schema.documents.compiled(schema._schema, prepared, "CreateVideoData")  # noqa: SLF001 - as above
    assert cache._characters == before  # noqa: SLF001 - as above
    asyncio.run(executed(schema, text, {"input": {"title": "a", "videoStyle": "b", "idempotencyKey": "c"}}))
    assert cache._characters > before + 50 * CHARACTERS_PER_FIELD  # noqa: SLF001 - as above
    assert schema.prepare(text) is prepared
    assert schema.documents.compiled(schema._schema, prepared, "CreateVideoData") is operation  # noqa: SLF001 - as above


def test_an_entry_that_outgrows_the_cache() -> None:
    """A growing entry evicts the least recently used ones, and finally itself."""
    cache = BoundedCache[str](10, 100)
    cache.put("a", "A", 40)
    cache.put("b", "B", 40)
    cache.grow("b", 30)
    assert (cache.get("a"), cache.get("b")) == (None, "B")
    cache.grow("b", 31)
    cache.grow("nothing", 1)
    cache.put("c", "C", 100)
    assert (cache.get("b"), cache.get("c")) == (None, "C")
