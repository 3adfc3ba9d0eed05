"""Limits on documents: each is exact, reports itself, and makes any document cheap to refuse."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from graphql import OperationDefinitionNode, get_introspection_query, parse, print_ast
from hypothesis import given, settings
from hypothesis import strategies as st

from resolvers.identity import Role
from schema.error import RequestError
from server.operations.document import Documents
from server.operations.document_limits import LIMITS, hold_to_limits
from tests.api import MUTATIONS, Api
from tests.api import headers as signed_in
from tests.document_model import WrittenOut
from tests.documents import SCHEMA, hostile_documents, random_document

INTROSPECTION = get_introspection_query(
    specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
)


@contextmanager
def allowing(maxima: Mapping[str, int]) -> Iterator[None]:
    """Set some limits, and disable all others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in LIMITS.items():
            patch.setitem(LIMITS, name, limit._replace(maximum=maxima.get(name, 10**9)))
        yield


def some(fields: str, count: int) -> str:
    """Repeat these fields cyclically, up to this many."""
    return " ".join(islice(cycle(fields.split(", ")), count))


def of_selections(count: int) -> str:
    spreads, inline = divmod(count, 98)
    fragment = "fragment f on Query { " + "... { " * 96 + "__typename" + " }" * 96 + " }"
    return "{ " + "...f " * spreads + "... { " * (inline - 1) + "__typename" + " }" * (inline - 1) + " } " + fragment


def of_depth(count: int) -> str:
    levels = ["viewer", *islice(cycle(["creditEntries(first: 1)", "nodes", "user"]), count - 2)]
    return "{ " + " { ".join([*levels, "__typename"]) + " }" * count


# For each limit, a valid document with this many of what it counts.
OF_SIZE: dict[str, Callable[[int], str]] = {
    "length": "{ __typename }".ljust,
    "tokens": lambda count: "#\n" * (count - 3) + "{ __typename }",
    "selections": of_selections,
    "depth": of_depth,
    "aliases": lambda count: (
        f"{{ viewer {{ ...f {' '.join(f'a{n}: id' for n in range(count - 1))} }} }} fragment f on User {{ a: id }}"
    ),
    "directives": lambda count: (
        "query q($a: ID!) @a { node(id: $a) { id } }" * 0
        + f"{{ viewer {{ {some('id @skip(if: false), name @include(if: true), email @skip(if: true)', count)} }} }}"
    ),
    "rootFields": lambda count: f"{{ {some('...f, viewer { id }', count)} }} fragment f on Query {{ __typename }}",
    "duplicates": lambda count: (
        f"{{ viewer {{ {some('id', count - 10)} ...f }} viewer {{ {some('id', 9)} }} }} fragment f on User {{ id }}"
    ),
    "cost": lambda count: (
        f"""{{
      users(first: 100) {{ nodes {{ {some("id, name, email, picture, credits, version", 98)} }} }}
      more: users(first: 49) {{ nodes {{ id }} }}
      {some("__typename", count - 10_000)}
    }}"""
    ),
}


async def limited(api: Api, document: str, variables: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Have a limit refuse a document, and return the error's details."""
    (error,) = (await api.post(document, variables, subject="root", role=Role.ADMIN, **more))["errors"]
    details: dict[str, Any] = error["extensions"]
    assert details.pop("code") == "LIMIT_EXCEEDED"
    assert details.pop("errorId")
    assert f"{details['value']:,} {LIMITS[details['limit']].counted}" in error["message"]
    assert f"at most {LIMITS[details['limit']].maximum:,} are allowed" in error["message"]
    return details


@pytest.mark.parametrize("name", LIMITS)
async def test_limits_are_exact(api: Api, name: str) -> None:
    """A document at the limit is answered. One beyond it is refused with the limit, its maximum and the value."""
    maximum = LIMITS[name].maximum
    at_the_limit = await api.post(OF_SIZE[name](maximum), subject="root", role=Role.ADMIN)
    assert "errors" not in at_the_limit, at_the_limit["errors"]
    for _ in range(2):  # Refusals are cached, too.
        details = await limited(api, OF_SIZE[name](maximum + 1))
        assert details == {"limit": name, "maximum": maximum, "value": maximum + 1}


def test_limits_are_documented() -> None:
    """The page of limits has a row for each, with its maximum, what it counts, and the reason."""
    page = (Path(__file__).parents[3] / "docs" / "limits.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {limit.maximum:,} | {limit.counted} | {limit.reason} |" for name, limit in LIMITS.items()
    ]


@pytest.mark.parametrize(
    ("document", "variables", "cost"),
    [
        ("{ viewer { id name } }", {}, 3),
        ("{ users { nodes { id } } }", {}, 1 + 20 * 2),
        ("{ users(first: 3) { nodes { id } } }", {}, 1 + 3 * 2),
        ("{ users(last: 3) { nodes { id } } }", {}, 1 + 3 * 2),
        ("{ users(first: null, last: 3) { nodes { id } } }", {}, 1 + 3 * 2),
        ("{ users(first: 0) { nodes { id } } }", {}, 1),
        (
            "{ users(first: 3) { edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }",
            {},
            1 + 3 * (1 + 1 + 2) + 3,
        ),
        (
            "{ users(first: 2) { ...c } } fragment c on UserConnection { nodes { ...u } } fragment u on User { id }",
            {},
            1 + 2 * 2,
        ),
        ("query($n: Int) { users(first: $n) { nodes { id } } }", {"n": 5}, 1 + 5 * 2),
        ("query($n: Int) { users(first: $n) { nodes { id } } }", {"n": 5.0}, 1 + 5 * 2),
        ("query($n: Int) { users(first: $n) { nodes { id } } }", {"n": None}, 1 + 20 * 2),
        ("query($n: Int) { users(first: $n) { nodes { id } } }", {}, 1 + 20 * 2),
        ("query($n: Int = 4) { users(first: $n) { nodes { id } } }", {}, 1 + 4 * 2),
        ("query($n: Int = 4) { users(first: $n) { nodes { id } } }", {"n": 2}, 1 + 2 * 2),
        ("query($n: Int = 4) { users(first: $n) { nodes { id } } }", {"n": None}, 1 + 20 * 2),
        ("query($n: Int) { users(last: $n) { nodes { id } } }", {"n": 10**400}, 1 + 100 * 2),
        ("query($n: Int) { users(last: $n) { nodes { id } } }", {"n": -(10**400)}, 1),
        (
            "query($n: Int, $m: Int) { users(first: $n) { nodes { videos(last: $m) { nodes { id } } } } }",
            {"n": 3, "m": 4},
            1 + 3 * (1 + 1 + 4 * 2),
        ),
        (
            """query($m: Int) { users(first: 3) { nodes { ...u } } }
            fragment u on User { videos(last: $m) { nodes { id } } }""",
            {"m": 4},
            1 + 3 * (1 + 1 + 4 * 2),
        ),
        ('{ nodes(ids: ["a", "b"]) { id } }', {}, 2 * 2),
        ('{ nodes(ids: "a") { id } }', {}, 2),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["a"] * 7}, 7 * 2),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": "a"}, 2),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["a"] * 1000}, 100 * 2),
        ("query($a: ID!) { nodes(ids: [$a, $a]) { id } }", {"a": "a"}, 2 * 2),
        ('{ videoData(id: "a") { images { image start } } }', {}, 1 + 50 + 100 * 2),
        ('{ videoData(id: "a") { title script } }', {}, 1 + 1 + 50),
        ("{ viewer { videos(first: 3) { nodes { captionJson config } } } }", {}, 1 + 1 + 3 * (1 + 2 * 50)),
        ("{ __schema { types { name } } }", {}, 1 + 3 * 2),
    ],
)
async def test_the_cost_of_a_list(
    api: Api, monkeypatch: pytest.MonkeyPatch, document: str, variables: dict[str, Any], cost: int
) -> None:
    """A list costs as much as its maximum number of items, given the variables."""
    monkeypatch.setitem(LIMITS, "cost", LIMITS["cost"]._replace(maximum=0))
    if cost:
        assert (await limited(api, document, variables))["value"] == cost


async def test_counts_beyond_int(api: Api) -> None:
    """For a document with 2¹³⁰ selections the refusal reports the largest Int."""
    document = dict(hostile_documents())["fragments that double 130 times"]
    assert await limited(api, document) == {"limit": "selections", "maximum": 1_000, "value": 2**31 - 1}


async def test_each_operation_has_its_cost(api: Api) -> None:
    """Only the operation that runs counts towards the limit on cost."""
    document = "query small { users { nodes { id } } } query large { " + OF_SIZE["cost"](10_001)[1:]
    for name, refused in (("small", False), ("large", True)):
        content = {"query": document, "operationName": name}
        headers = signed_in("root", Role.ADMIN)
        body = (await api.client.post("/graphql", json=content, headers=headers)).json()
        assert ("errors" in body) is refused


async def test_invalid_fragments_are_refused_before_limits(api: Api) -> None:
    """Cyclic, unknown, unused or duplicate fragments are bad input, without naming a limit."""
    for document, message in (
        ("{ ...a } fragment a on Query { viewer { id } ...a }", "Cannot spread fragment 'a' within itself."),
        ("{ ...a }", "Unknown fragment 'a'."),
        ("{ __typename } fragment a on Query { __typename }", "Fragment 'a' is never used."),
        (
            "{ ...a } fragment a on Query { __typename } fragment a on Query { __typename }",
            "There can be only one fragment named 'a'.",
        ),
    ):
        (error,) = (await api.post(document, subject="ann"))["errors"]
        assert error["message"] == message
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


def honest_documents() -> list[Any]:
    """List the documents that our own clients send: demo, examples, tests' mutations, GraphiQL's introspection."""
    server = files("server")
    demo = (server / "demo" / "operations.graphql").read_text(encoding="utf-8")
    texts = {"the whole demo": demo, "introspection": INTROSPECTION, **MUTATIONS}
    texts |= {file.name: file.read_text(encoding="utf-8") for file in (server / "pages" / "examples").iterdir()}
    return [pytest.param(text, id=name) for name, text in texts.items()]


@pytest.mark.parametrize("document", honest_documents())
def test_honest_documents_meet_no_limit(monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    """Our clients' documents and GraphiQL use less than half of each limit; introspection uses all of the depth."""
    for name, limit in LIMITS.items():
        if name != "depth":
            monkeypatch.setitem(LIMITS, name, limit._replace(maximum=limit.maximum // 2))
    prepared = Documents(introspection=True).prepare(SCHEMA, document)
    assert not prepared.errors
    for cost in prepared.costs.values():
        cost.hold({})


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32),
    st.fixed_dictionaries(
        {},
        optional={
            "n": st.none() | st.integers(-5, 200),
            "m": st.none() | st.integers(0, 9),
            "ids": st.lists(st.just("a"), max_size=5),
        },
    ),
)
def test_fragments_count_wherever_they_are_spread(seed: int, variables: dict[str, Any]) -> None:
    """Each limit counts a document as if its fragments were written out."""
    document = parse(random_document(Random(seed)))
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    models = [WrittenOut(document, operation, variables).counted for operation in operations]
    for name in ("selections", "depth", "rootFields", "aliases", "directives", "duplicates"):
        of_each = [model[name] for model in models]
        largest = sum(of_each) if name == "selections" else max(of_each)
        with allowing({name: largest}):
            hold_to_limits(SCHEMA, document)
        with allowing({name: largest - 1}), pytest.raises(RequestError) as caught:
            hold_to_limits(SCHEMA, document)
        assert caught.value.extensions == {
            "code": "LIMIT_EXCEEDED",
            "limit": name,
            "maximum": largest - 1,
            "value": largest,
        }, print_ast(document)
    with allowing({}):
        costs = hold_to_limits(SCHEMA, document)
    for operation, model in zip(operations, models, strict=True):
        assert operation.name
        cost = costs[operation.name.value]
        with allowing({"cost": model["cost"]}):
            cost.hold(variables)
        with allowing({"cost": model["cost"] - 1}), pytest.raises(RequestError):
            cost.hold(variables)


# Calls and returns, which take about 100 ms on one core.
CALLS_MAX = 2_000_000


@pytest.mark.parametrize("document", [pytest.param(text, id=name) for name, text in hostile_documents()])
def test_no_document_takes_long(document: str) -> None:
    """Any document of 64 KiB, however hostile, is prepared in a bounded number of steps."""
    documents = Documents(introspection=True)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        documents.prepare(SCHEMA, document)
    finally:
        sys.setprofile(None)
    assert calls <= CALLS_MAX


async def test_no_document_is_a_fault(api: Api) -> None:
    """Any document, however hostile, is answered or refused with a code, without a fault."""
    for name, document in hostile_documents():
        body = await api.post(document[:65_536], subject="ann")
        codes = {error["extensions"]["code"] for error in body.get("errors", [])}
        assert codes <= {"LIMIT_EXCEEDED", "BAD_USER_INPUT", "FORBIDDEN"}, name
