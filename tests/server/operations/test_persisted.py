"""Documents named by clients: by the ids in a file, or by hashes, as Apollo's clients do."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from server.app import create_app
from server.operations.document import DOCUMENTS_REMEMBERED
from server.operations.persisted import PersistedDocuments
from server.process.settings import Settings, StartError
from server.wire.request import GraphQLRequest
from tests.api import Api, headers, serving

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

VIEWER = "query Viewer { viewer { id } }"
VIDEO = "query Video($id: ID!) { videoData(id: $id) { title } }"
UNTRUSTED = "{ viewer { name } }"


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def apollo(text: str) -> dict[str, Any]:
    """Name a document as Apollo's clients do."""
    return {"persistedQuery": {"version": 1, "sha256Hash": hash_of(text)}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a file of trusted documents, as graphql-codegen does."""
    path = tmp_path / "persisted-documents.json"
    path.write_text(json.dumps({"viewer-1": VIEWER, hash_of(VIDEO): VIDEO}))
    return path


@pytest.fixture
async def trusting(dsn: str, settings: Settings, file: Path) -> AsyncIterator[Api]:
    """Serve trusted documents, and others."""
    async with serving(dsn, replace(settings, documents_file=file)) as api:
        yield api


@pytest.fixture
async def strict(dsn: str, settings: Settings, file: Path) -> AsyncIterator[Api]:
    """Serve trusted documents only."""
    async with serving(dsn, replace(settings, documents_file=file, trusted_documents_only="on")) as api:
        yield api


async def post(api: Api, **content: Any) -> Any:
    return (await api.client.post("/graphql", json=content, headers=headers("ann"))).json()


async def get(api: Api, **parameters: Any) -> Any:
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parameters.items()}
    return (await api.client.get("/graphql", params=given, headers=headers("ann"))).json()


def code_of(body: Any) -> Any:
    (error,) = body["errors"]
    assert error["extensions"]["errorId"]
    assert body.get("data") is None
    return error["extensions"]["code"]


@pytest.mark.parametrize("send", [post, get])
async def test_documents_of_a_file(trusting: Api, send: Any) -> None:
    """A document of the file runs by its id, with variables, and also if the id names its hash algorithm."""
    await trusting.register("ann")
    video_id = await trusting.video()
    assert (await send(trusting, documentId="viewer-1"))["data"]["viewer"]["id"].startswith("user_")
    for name in (hash_of(VIDEO), "sha256:" + hash_of(VIDEO)):
        body = await send(trusting, documentId=name, variables={"id": video_id}, operationName="Video")
        assert body == {"data": {"videoData": {"title": "Whales"}}}
    assert (await send(trusting, query="{ viewer { name } }"))["data"] == {"viewer": {"name": None}}
    assert await send(trusting, extensions=apollo(VIDEO), variables={"id": video_id}) == body


@pytest.mark.parametrize("send", [post, get])
async def test_an_unknown_id(trusting: Api, send: Any) -> None:
    """An unknown id is refused with its own code, and an id together with a text as bad input."""
    for name in ("viewer-2", "", "sha256:" + hash_of(VIEWER)):
        assert code_of(await send(trusting, documentId=name)) == "PERSISTED_QUERY_NOT_FOUND"
    assert code_of(await send(trusting, documentId="viewer-1", query=VIEWER)) == "BAD_USER_INPUT"


@pytest.mark.parametrize("document_id", [1, {}, ["viewer-1"], True])
async def test_an_id_that_is_not_a_string(trusting: Api, document_id: Any) -> None:
    """An id that is not a string is bad input."""
    assert code_of(await post(trusting, documentId=document_id)) == "BAD_USER_INPUT"


@pytest.mark.parametrize("register", [post, get])
@pytest.mark.parametrize("send", [post, get])
async def test_apollo(api: Api, register: Any, send: Any) -> None:
    """A hash is unknown, in the words of Apollo's protocol, until it comes with its text; after that it suffices."""
    unknown = await send(api, extensions=apollo(VIEWER))
    assert code_of(unknown) == "PERSISTED_QUERY_NOT_FOUND"
    assert unknown["errors"][0]["message"] == "PersistedQueryNotFound"
    assert await register(api, query=VIEWER, extensions=apollo(VIEWER)) == {"data": {"viewer": None}}
    assert await send(api, extensions=apollo(VIEWER)) == {"data": {"viewer": None}}
    assert await send(api, documentId="sha256:" + hash_of(VIEWER)) == {"data": {"viewer": None}}


async def test_a_hash_of_another_text(api: Api) -> None:
    """A text is registered only under its own hash."""
    assert code_of(await post(api, query=VIDEO, extensions=apollo(VIEWER))) == "BAD_USER_INPUT"
    assert code_of(await post(api, extensions=apollo(VIEWER))) == "PERSISTED_QUERY_NOT_FOUND"
    assert code_of(await post(api, extensions=apollo(VIDEO))) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize(
    "persisted",
    [
        {},
        [],
        "x",
        1,
        {"version": 1},
        {"sha256Hash": hash_of(VIEWER)},
        {"version": 2, "sha256Hash": hash_of(VIEWER)},
        {"version": 1, "sha256Hash": 5},
    ],
)
async def test_malformed_hashes(api: Api, persisted: Any) -> None:
    """A `persistedQuery` of another shape or version is bad input, with or without a text."""
    assert code_of(await post(api, extensions={"persistedQuery": persisted})) == "BAD_USER_INPUT"
    assert code_of(await post(api, query=VIEWER, extensions={"persistedQuery": persisted})) == "BAD_USER_INPUT"


async def test_a_mutation_by_get(api: Api) -> None:
    """A registered mutation changes nothing by GET."""
    mutation = "mutation { registerUser(input: {}) { __typename } }"
    await post(api, query=mutation, extensions=apollo(mutation))
    assert code_of(await get(api, extensions=apollo(mutation))) == "BAD_USER_INPUT"


async def test_trusted_documents_only(strict: Api) -> None:
    """With only trusted documents, those run by id, hash or text; any other neither runs nor is registered."""
    viewer = {"data": {"viewer": None}}
    assert await post(strict, documentId="viewer-1") == viewer
    assert await post(strict, query=VIEWER) == viewer
    assert await post(strict, query=VIEWER, extensions=apollo(VIEWER)) == viewer
    for more in ({}, {"extensions": apollo(UNTRUSTED)}):
        assert code_of(await post(strict, query=UNTRUSTED, **more)) == "FORBIDDEN"
        assert code_of(await get(strict, query=UNTRUSTED, **more)) == "FORBIDDEN"
    assert code_of(await post(strict, extensions=apollo(UNTRUSTED))) == "PERSISTED_QUERY_NOT_FOUND"


async def test_trusted_documents_keep_their_operations(trusting: Api) -> None:
    """A registered document never replaces a trusted one."""
    text = "{ __typename }"
    await post(trusting, query=text, extensions=apollo(text))
    assert await post(trusting, documentId="viewer-1") == {"data": {"viewer": None}}


def test_registered_documents_are_bounded() -> None:
    """The latest registered documents are kept, and all of the file's."""
    persisted = PersistedDocuments({"trusted": VIEWER}, trusted_only=False)
    texts = [f"{{ a{number} }}" for number in range(DOCUMENTS_REMEMBERED + 1)]
    for text in texts:
        persisted.text_of(GraphQLRequest(text, extensions=apollo(text)))
    assert persisted.text_of(GraphQLRequest(extensions=apollo(texts[-1]))) == texts[-1]
    with pytest.raises(Exception, match="PersistedQueryNotFound"):
        persisted.text_of(GraphQLRequest(extensions=apollo(texts[0])))
    assert persisted.text_of(GraphQLRequest(document_id="trusted")) == VIEWER


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "which cannot be read \\(No such file or directory\\): name a file that can"),
        ("", "which is no JSON object of documents by their ids: name the persisted-documents.json of graphql-codegen"),
        ("[]", "which is no JSON object"),
        ("[" * 100_000, "which is no JSON object"),
        ('{"a": 1}', "which is no JSON object"),
        ('{"a": "{"}', "whose document a is wrong: Syntax Error"),
        ('{"a": "{ __typename }", "b": "{ nothing }"}', "whose document b is wrong: Cannot query field 'nothing'"),
        (json.dumps({"a": "{" + " __typename" * 21 + "}"}), "whose document a is wrong: The document has 21"),
    ],
)
def test_an_invalid_file(settings: Settings, tmp_path: Path, content: str | None, problem: str) -> None:
    """A file without documents, or with one that would be refused, fails the start with the reason."""
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartError, match=f"VIDEOCREDITS_DOCUMENTS_FILE is {path}, {problem}"):
        create_app(replace(settings, documents_file=path), dsn="postgresql://nowhere")
