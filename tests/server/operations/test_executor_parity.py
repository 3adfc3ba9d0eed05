"""The compiled executor gives the same answers as graphql-core and Strawberry."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import hypothesis
import pytest
import strawberry
from graphql import (
    DocumentNode,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_nullable_type,
    is_list_type,
    parse,
    print_ast,
    validate,
)
from hypothesis import strategies as st
from hypothesis_graphql import Mode
from strawberry.utils.await_maybe import await_maybe

from executor.operation import CompiledOperation
from executor.program import NotCovered
from server.operations.root_fields import build_schema
from tests.api import MUTATIONS
from tests.executor.core import by_core, shown
from tests.operations import project_documents, variables_of, varied
from tests.server.wire.test_fuzz import document_nodes, hoist, json_values, some_and_many
from tests.synthetic import Backend, synthetic

SCHEMA = build_schema(development=True)._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.


def lenient(seed: int) -> GraphQLSchema:
    """Build the schema with most fields nullable, so that many errors can occur in one response."""
    schema = build_schema(development=True)._schema  # noqa: SLF001 - as above
    random = Random(seed)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for field in type_.fields.values():
                field.type = loosened(field.type, random)
    return schema


def loosened(type_: Any, random: Random) -> Any:
    nullable = get_nullable_type(type_)
    if is_list_type(nullable):
        nullable = GraphQLList(loosened(nullable.of_type, random))
    return nullable if random.random() < 0.8 else GraphQLNonNull(nullable)


LENIENT = lenient(0)
DOCUMENTS = [parse(text) for text in project_documents()]
# After this many iterations of the loop, everything started beside an error has finished.
TURNS_MAX = 60

# graphql-core cancels what waits beside an error; what has not started by then is never awaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


async def check_equal(
    schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any], seed: int, oddity: float
) -> list[Any]:
    """Check that both executors call the same resolvers in the same order with the same answer; return the errors."""
    answered = []
    with synthetic(schema):
        for compiled in (True, False):
            backend = Backend(schema, seed, oddity)
            root = backend.event(document)
            if compiled:
                result = await await_maybe(CompiledOperation(schema, document)(backend, variables, root))
            else:
                result = await by_core(schema, document, backend, variables, root)
            for _ in range(TURNS_MAX):
                await asyncio.sleep(0)
            answered.append((*shown(result), backend.calls))
    assert answered[0] == answered[1], (print_ast(document), variables)
    return answered[0][1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: print_ast(document)[:40])
def test_every_operation_of_the_project_is_compiled(document: DocumentNode) -> None:
    """Every operation that the project's clients send is compiled, and answers like graphql-core for any variables."""
    for seed in range(5):
        variables = variables_of(SCHEMA, document, Random(seed))
        for oddity in (0, 0.05):
            asyncio.run(check_equal(SCHEMA, document, variables, seed, oddity))


@some_and_many(10_000)
def test_rewritten_operations(run: hypothesis.settings) -> None:
    """Operations with fragments, aliases, merged fields and conditions answer like graphql-core, errors included."""
    seen: Counter[str] = Counter()

    @run
    @hypothesis.given(st.integers(0, 2**32))
    def each(seed: int) -> None:
        random = Random(seed)
        document = parse(print_ast(varied(SCHEMA, random.choice(DOCUMENTS), random)))
        if not validate(SCHEMA, document):
            variables = variables_of(SCHEMA, document, random)
            schema = random.choice([SCHEMA, LENIENT, LENIENT])
            seen[compared(schema, document, variables, seed, random.choice([0, 0.02, 0.1, 0.3]))] += 1

    each()
    assert seen.keys() >= {"no errors", "an error", "errors"}
    assert seen["not covered"] * 5 < seen.total()


@some_and_many(10_000, some=100)
def test_random_documents(run: hypothesis.settings) -> None:
    """Any document on the schema answers like graphql-core, with valid or invalid literals and variables."""
    seen: Counter[str] = Counter()

    @run
    @hypothesis.given(document_nodes(Mode.POSITIVE), st.booleans(), st.integers(0, 2**32), json_values)
    def each(node: DocumentNode, beside: bool, seed: int, wrong: object) -> None:
        random = Random(seed)
        node, variables = hoist(node) if beside else (node, {})
        if variables and random.random() < 0.2:
            variables[random.choice(sorted(variables))] = wrong
        document = parse(print_ast(varied(SCHEMA, node, random)))
        if not validate(SCHEMA, document):
            variables |= variables_of(SCHEMA, document, random, only=("on", "off"))
            seen[compared(random.choice([SCHEMA, LENIENT]), document, variables, seed, random.choice([0, 0.1]))] += 1

    each()
    assert seen.keys() >= {"no errors", "an error"}
    assert seen["not covered"] * 5 < seen.total()


def compared(schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any], seed: int, oddity: float) -> str:
    """Check that both executors do the same, and return how the operation ended."""
    try:
        errors = asyncio.run(check_equal(schema, document, variables, seed, oddity))
    except NotCovered:
        return "not covered"
    return ["no errors", "an error", "errors"][min(len(errors), 2)]


class Stub:
    """A context whose objects all exist already."""

    def __init__(self) -> None:
        backend = Backend(SCHEMA, 0, 0)
        self.made = {
            field: backend.instance(cast(GraphQLObjectType, SCHEMA.type_map[type_]), Random(1), 0)
            for field, type_ in (
                ("createVideoData", "CreateVideoDataSuccess"),
                ("videoData", "VideoData"),
                ("viewer", "User"),
                ("videos", "VideoDataConnection"),
            )
        }
        self.made["videos"].nodes = [self.made["videoData"]] * 20

    def resolve(self, info: strawberry.Info[Any, Any], _arguments: object) -> tuple[int, Any]:
        return 0, self.made.get(info.field_name)


CARD = "id title videoStyle topic status comments renderProgress downloadUrl attempt version createdAt updatedAt"
VIDEO = {"title": "Whales", "videoStyle": "realistic", "caption": {"font": "bold"}, "idempotencyKey": "a"}


@pytest.mark.parametrize(
    ("text", "variables", "calls_max"),
    [
        (MUTATIONS["createVideoData"], {"input": {**VIDEO, "voice": {"voiceId": "v1", "name": "Vera"}}}, 160),
        (f"query($id: ID!) {{ videoData(id: $id) {{ {CARD} }} }}", {"id": "a"}, 35),
        (f"{{ viewer {{ name credits videos {{ nodes {{ {CARD} }} pageInfo {{ endCursor }} }} }} }}", {}, 150),
    ],
    ids=["createVideoData", "videoData", "viewer with 20 videos"],
)
def test_the_cost_of_execution(text: str, variables: dict[str, Any], calls_max: int) -> None:
    """Execution takes at most this many calls of Python functions, and a tenth of graphql-core's."""
    document = parse(text)
    operation = CompiledOperation(SCHEMA, document)
    context = Stub()
    calls: Counter[str] = Counter()

    async def count(who: str, execute: Callable[[], Any]) -> None:
        def note(_frame: object, event: str, _argument: object) -> None:
            calls[who] += event == "call"

        sys.setprofile(note)
        try:
            result = await await_maybe(execute())
        finally:
            sys.setprofile(None)
        assert not result.errors

    with synthetic(SCHEMA):
        asyncio.run(count("first", lambda: operation(context, variables)))
        asyncio.run(count("compiled", lambda: operation(context, variables)))
        asyncio.run(count("graphql-core", lambda: by_core(SCHEMA, document, context, variables, None)))
    assert calls["compiled"] <= calls_max
    assert calls["compiled"] * 10 <= calls["graphql-core"]
