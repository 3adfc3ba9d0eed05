"""The document cache: each document is prepared once, within bounds, and errors reveal no schema unless allowed."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import DocumentNode, parse

import server.operations.document
import server.pages.graphiql
from resolvers.identity import Role
from server.bounded_cache import BoundedCache
from server.operations.document import FAULTY_REMEMBERED, Documents
from server.process.settings import Settings
from tests.api import Api, serving
from tests.documents import SCHEMA


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each text is parsed."""
    counted: Counter[str] = Counter()

    def counting(text: str, **options: Any) -> DocumentNode:
        counted[text] += 1
        return parse(text, **options)

    monkeypatch.setattr(server.operations.document, "parse", counting)
    return counted


async def test_a_document_is_prepared_once(api: Api, parsed: Counter[str]) -> None:
    """A repeated document is not parsed again, whether it is valid, invalid, or beyond a limit."""
    documents = {
        "{ viewer { id } }": [],
        "{ viewer { id": ["BAD_USER_INPUT"],
        "{ viewer { nothing } }": ["BAD_USER_INPUT"],
        "{" + "a: __typename " * 31 + "}": ["LIMIT_EXCEEDED"],
    }
    for _ in range(3):
        for document, codes in documents.items():
            body = await api.post(document, subject="ann")
            assert [error["extensions"]["code"] for error in body.get("errors", [])] == codes
    assert parsed == Counter(documents.keys())


async def test_every_request_has_its_variables(api: Api) -> None:
    """The limit on cost uses the variables of each request, for a cached document too."""
    document = "query($n: Int) { videos(first: $n) { nodes { entries(first: $n) { nodes { id } } } } }"
    for size, refused in ((10, False), (100, True), (10, False)):
        body = await api.post(document, {"n": size}, subject="root", role=Role.ADMIN)
        assert ("errors" in body) is refused
        assert not refused or body["errors"][0]["extensions"]["limit"] == "cost"


async def test_every_mistake_is_reported(api: Api) -> None:
    """A document with several mistakes gets all of them, up to ten, each with its location."""
    errors = (await api.post("{ viewer { a b c } }", subject="ann"))["errors"]
    assert [error["locations"] for error in errors] == [[{"line": 1, "column": column}] for column in (12, 14, 16)]
    many = "{ viewer {" + "".join(f" a{number}" for number in range(50)) + " } }"
    errors = (await api.post(many, subject="ann"))["errors"]
    assert len(errors) == 11
    assert "Too many validation errors" in errors[-1]["message"]


def test_invalid_documents_do_not_evict_valid_ones(parsed: Counter[str]) -> None:
    """However many invalid documents arrive, valid ones stay cached; of the invalid ones, the latest do."""
    documents = Documents(introspection=True)
    documents.prepare(SCHEMA, "{ __typename }")
    wrong = [f"{{ a{number} }}" for number in range(FAULTY_REMEMBERED + 50)]
    for text in wrong:
        documents.prepare(SCHEMA, text)
    documents.prepare(SCHEMA, "{ __typename }")
    documents.prepare(SCHEMA, wrong[-1])
    documents.prepare(SCHEMA, wrong[0])
    assert {text for text, times in parsed.items() if times > 1} == {wrong[0]}


def test_the_cache_is_bounded() -> None:
    """A cache is bounded in entries and characters, and evicts the least recently used."""
    cache = BoundedCache[int](3, 10)
    for number in range(4):
        cache.put(f"{number}", number, 1)
        assert cache.get("0") == 0
    assert [cache.get(f"{number}") for number in range(4)] == [0, None, 2, 3]
    cache.put("3", 33, 8)
    assert [cache.get(f"{number}") for number in range(4)] == [0, None, 2, 33]
    cache.put("4", 4, 3)
    assert [cache.get(f"{number}") for number in range(5)] == [None, None, None, None, 4]
    cache.put("5", 5, 7)
    assert (cache.get("4"), cache.get("5")) == (4, 5)
    cache.put("6", 6, 11)
    assert (cache.get("4"), cache.get("5"), cache.get("6")) == (4, 5, None)


# A request, and the similar name that must not be suggested.
NEAR_MISSES: list[tuple[str, dict[str, Any], str]] = [
    ("{ viewe { id } }", {}, "viewer"),
    ("{ node { id } }", {}, "Did you mean"),
    ("{ node(ids: 1) { id } }", {}, "Did you mean"),
    ("{ videos(filter: {statu: [QUEUED]}) { nodes { id } } }", {}, "status"),
    ("{ videos(filter: {status: [QUEUE]}) { nodes { id } } }", {}, "QUEUED"),
    ("{ videos(filter: {status: [queued]}) { nodes { id } } }", {}, "QUEUED"),
    ('{ node(id: "a") { credits } }', {}, "User"),
    ("{ viewer { ... on Usr { id } } }", {}, "User"),
    ("query($f: VideoFilte) { videos(filter: $f) { nodes { id } } }", {}, "VideoFilter"),
    ("{ viewer { id @skp(if: true) } }", {}, "@skip"),
    ("{ viewer { id @skip(f: true) } }", {}, "Did you mean"),
    ("query($f: VideoFilter) { videos(filter: $f) { nodes { id } } }", {"f": {"status": ["QUEUE"]}}, "QUEUED"),
    ("query($f: VideoFilter) { videos(filter: $f) { nodes { id } } }", {"f": {"statu": []}}, "status"),
]


@pytest.fixture
async def closed(dsn: str, settings: Settings) -> AsyncIterator[Api]:
    """Serve without introspection."""
    async with serving(dsn, replace(settings, introspection="off")) as api:
        yield api


@pytest.mark.parametrize(("document", "variables", "name"), NEAR_MISSES)
async def test_no_suggestions(closed: Api, document: str, variables: dict[str, Any], name: str) -> None:
    """Without introspection no error suggests a name: of a field, argument, type, directive, value or input field."""
    body = await closed.post(document, variables, subject="root", role=Role.ADMIN)
    assert body["errors"]
    for error in body["errors"]:
        assert "Did you mean" not in error["message"]
        assert name not in error["message"].replace(document, "")


async def test_suggestions(api: Api) -> None:
    """With introspection errors suggest names, in documents and in variables."""
    for document, variables, name in (NEAR_MISSES[0], NEAR_MISSES[4], NEAR_MISSES[11]):
        (error,) = (await api.post(document, variables, subject="root", role=Role.ADMIN))["errors"]
        assert "Did you mean" in error["message"]
        assert name in error["message"]


@pytest.mark.parametrize("document", ["{ __schema { types { name } } }", '{ __type(name: "User") { name } }'])
async def test_introspection(api: Api, closed: Api, document: str) -> None:
    """The schema is readable only if introspection is on; `__typename` always is."""
    assert "errors" not in await api.post(document, subject="ann")
    errors = (await closed.post(document, subject="ann"))["errors"]
    assert errors[0]["message"].startswith("GraphQL introspection has been disabled")
    assert {error["extensions"]["code"] for error in errors} == {"BAD_USER_INPUT"}
    assert await closed.query("{ __typename }") == {"__typename": "Query"}


async def test_no_graphiql_without_introspection(closed: Api) -> None:
    """Without introspection, GraphiQL with its files, which needs it, and the schema are not served."""
    response = await closed.client.get("/graphql", headers={"Accept": "text/html"})
    assert response.status_code in {400, 406}
    assert "graphiql" not in response.text.lower()
    files = (Path(server.pages.graphiql.__file__).parent / "built" / "graphql").iterdir()
    for name in ("schema.graphql", *(file.name for file in files)):
        assert (await closed.client.get(f"/graphql/{name}")).status_code == 404
