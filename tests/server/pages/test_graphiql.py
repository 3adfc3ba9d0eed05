"""GraphiQL's page: its examples work, and only the developer on this machine gets its tokens."""

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jwt
import pytest
from graphql import FieldNode, OperationDefinitionNode, parse, validate

import server.pages.graphiql
from db.database import Database
from resolvers.context import Terms
from resolvers.identity import Role
from server.operations.root_fields import build_schema
from server.pages.graphiql import Example, examples, page
from server.pages.seed import seed
from server.process.settings import Settings
from tests.api import SECRET, Api, serving

ROOT = Path(__file__).parents[3]
Tab = dict[str, str]
NEAR = ("127.0.0.1", 1)  # a client on this machine
HOST = "127.0.0.1:8000"
NAMES = [example.name for example in examples({})]


def read(html: str) -> dict[str, Any]:
    """Return the data that the page holds for its script."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Serve with development keys."""
    return Settings(data_dir=tmp_path, log_level="warning")


@pytest.fixture
async def developer(dsn: str, settings: Settings, database: Database) -> AsyncIterator[Api]:
    """Call a development server after its first start."""
    await seed(database, Terms(settings.signup_credits, settings.video_cost))
    async with serving(dsn, settings) as api:
        yield api


async def load(api: Api, host: str = HOST) -> list[Tab]:
    """Open the page in a browser and return its tabs with their tokens."""
    response = await api.client.get(f"http://{HOST}/graphql", headers={"Accept": "text/html,*/*;q=0.8", "Host": host})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    data = read(response.text)
    tabs: list[Tab] = [{"token": data["tokens"].get(tab["role"], ""), **tab} for tab in data["examples"]]
    return tabs


async def run(api: Api, tab: Tab) -> dict[str, Any]:
    """Run a tab, a subscription until its first result; an error or a refusal fails the test."""
    variables, sent = json.loads(tab["variables"] or "{}"), {"Authorization": f"Bearer {tab['token']}"}
    if is_live(tab):
        claims = jwt.decode(tab["token"], options={"verify_signature": False})
        body = await api.first(tab["query"], variables, subject=claims["sub"], role=Role(claims["role"]))
    else:
        request = {"query": tab["query"], "variables": variables}
        body = (await api.client.post("/graphql", json=request, headers=sent)).json()
    assert "errors" not in body, body["errors"]
    data: dict[str, Any] = body["data"]
    for result in data.values():
        assert result is not None
        assert reads(tab) or result["__typename"].endswith("Success"), result
    return data


def is_live(tab: Tab) -> bool:
    return re.search(r"^subscription ", tab["query"], re.MULTILINE) is not None


def reads(tab: Tab) -> bool:
    return is_live(tab) or re.search(r"^query ", tab["query"], re.MULTILINE) is not None


@pytest.mark.parametrize("name", NAMES)
async def test_each_example_alone(developer: Api, name: str) -> None:
    """On a freshly seeded server each example succeeds with its own variables and token, twice."""
    tab = (await load(developer))[NAMES.index(name)]
    await run(developer, tab)
    await run(developer, tab)


async def test_all_examples_visit_after_visit(developer: Api) -> None:
    """All examples in the order of their tabs succeed on the first visit and on later ones."""
    for _ in range(3):
        for tab in await load(developer):
            await run(developer, tab)


async def test_each_visit_has_keys_of_its_own(developer: Api) -> None:
    """Each visit creates one video, however often its example runs."""
    created = []
    for _ in range(2):
        tab = (await load(developer))[NAMES.index("CreateVideoData")]
        results = [(await run(developer, tab))["createVideoData"] for _ in range(2)]
        assert [result["replayed"] for result in results] == [False, True]
        created.append(results[0]["videoData"]["id"])
    assert len(set(created)) == 2


async def test_the_queries_show_data(developer: Api) -> None:
    """No query's example is empty: there is a ledger, a failure with its refund, a queue, and a user."""
    data: dict[str, Any] = {}
    for tab in await load(developer):
        if reads(tab):
            data |= await run(developer, tab)
    assert len(data["viewer"]["creditEntries"]["nodes"]) == 8
    assert len(data["viewer"]["videos"]["nodes"]) == 5
    assert [entry["kind"] for entry in data["videoData"]["entries"]["nodes"]] == ["REFUND", "CHARGE"]
    assert [event["status"] for event in data["videoData"]["events"]["nodes"]] == ["FAILED", "QUEUED"]
    assert [video["title"] for video in data["renderQueue"]["nodes"]] == ["Bread in Five Minutes"]
    assert data["videoDataStats"]["total"] == 5
    assert len(data["users"]["nodes"]) == 1
    assert data["viewerUpdated"]["entry"]["balanceAfter"] == data["viewerUpdated"]["user"]["credits"] > 0
    assert data["videoDataUpdated"]["status"] == "QUEUED"
    assert len(data["videosUpdated"]["nodes"]) == 5
    assert data["creditEntryAdded"]["node"]["number"] == 2
    assert {video["status"] for video in data["videos"]["nodes"]} == {"QUEUED", "FAILED"}


def test_the_documents() -> None:
    """Each example is one valid operation, named like its file and tab; all mutations and subscriptions have one."""
    schema = build_schema()._schema  # noqa: SLF001 - Strawberry has no public way to graphql-core's schema
    shown = set()
    for example in examples({}):
        document = parse(example.document)
        assert validate(schema, document) == []
        (operation,) = document.definitions
        assert isinstance(operation, OperationDefinitionNode)
        assert operation.name is not None
        assert operation.name.value == example.name
        assert example.document.startswith("# ")
        shown |= {field.name.value for field in operation.selection_set.selections if isinstance(field, FieldNode)}
    assert schema.mutation_type is not None
    assert schema.subscription_type is not None
    assert schema.mutation_type.fields.keys() | schema.subscription_type.fields.keys() <= shown
    assert {path.stem for path in Path(server.pages.graphiql.__file__).parent.glob("examples/*")} == set(NAMES)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LocalHost", "[::1]:8000"])
async def test_this_machine_gets_tokens(database: Database, settings: Settings, host: str) -> None:
    """Under any name of this machine, the page has a token for each role."""
    response = await page(database, settings, host, NEAR)
    tokens = read(bytes(response.body).decode())["tokens"]
    claims = {role: jwt.decode(token, options={"verify_signature": False}) for role, token in tokens.items()}
    assert {role: each["role"] for role, each in claims.items()} == {role: role for role in Role}


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "rebound.example",
        "rebound.example:8000",
        "localhost.rebound.example",
        "127.0.0.1.rebound.example",
        "127.0.0.1@rebound.example",
        "a{b}.rebound.example",  # Starlette ignores it, and uses the listening address instead.
        "[::1].rebound.example",
        "127.0.0.1\n",
        "192.168.1.5:8000",
    ],
)
async def test_another_name_gets_no_tokens(database: Database, settings: Settings, host: str | None) -> None:
    """Under any other name, which a stranger may have pointed at this machine, the page has neither tokens nor ids."""
    await seed(database, Terms(settings.signup_credits, settings.video_cost))
    html = bytes((await page(database, settings, host, NEAR)).body).decode()
    assert "eyJ" not in html
    assert "video_" not in html
    assert read(html)["tokens"] == {}


@pytest.mark.parametrize("client", [None, ("192.168.1.5", 1), ("2001:db8::1", 1), ("testclient", 1)])
async def test_another_machine_gets_no_tokens(
    database: Database, settings: Settings, client: tuple[str, int] | None
) -> None:
    """A client on another machine gets no tokens, whatever its Host header says."""
    assert read(bytes((await page(database, settings, HOST, client)).body).decode())["tokens"] == {}


async def test_an_odd_host_over_http(developer: Api) -> None:
    """The page checks the Host header exactly as the browser sent it."""
    assert (await load(developer))[0]["token"] != ""
    assert (await load(developer, "a{b}.rebound.example"))[0]["token"] == ""


async def test_production(database: Database) -> None:
    """With production keys there are no tokens and ids, even on this machine; each tab says how to sign in."""
    html = bytes((await page(database, Settings(jwt_secret=SECRET), HOST, NEAR)).body).decode()
    data = read(html)
    assert data["tokens"] == {}
    for tab in data["examples"]:
        assert tab["query"].startswith("# Sign in first: ")
        assert len(parse(tab["query"]).definitions) == 1
    assert not re.search("(user|video)_[A-Za-z0-9]", html)


async def test_the_page_is_neither_cached_nor_framed(developer: Api) -> None:
    """No cache stores a page with tokens, and no other site can frame it."""
    response = await developer.client.get("/graphql", headers={"Accept": "text/html", "Host": HOST})
    assert response.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_hostile_text(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any text in an example arrives in its tab unchanged, and only as text."""
    hostile = "</script><script>alert(1)</script><!--<script>&lt;\u2028\"'\\"
    monkeypatch.setattr(server.pages.graphiql, "examples", lambda _: [Example("Viewer", Role.USER, {"text": hostile})])
    html = bytes((await page(database, settings, HOST, NEAR)).body).decode()
    assert "<script>alert" not in html
    (tab,) = read(html)["examples"]
    assert json.loads(tab["variables"]) == {"text": hostile}


async def test_nothing_is_loaded_from_elsewhere(developer: Api) -> None:
    """The page refers only to its own files, which are below its address, and all of which exist."""
    html = (await developer.client.get("/graphql", headers={"Accept": "text/html", "Host": HOST})).text
    files = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html)
    assert {Path(file).suffix for file in files} == {".js", ".css"}
    for file in files:
        response = await developer.client.get(f"http://{HOST}/graphql/../{file}")
        assert response.status_code == 200, file
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_its_files_are_compressed(developer: Api) -> None:
    """The page's files are compressed; the largest of them to a third."""
    largest = max(
        (Path(server.pages.graphiql.__file__).parent / "built" / "graphql").iterdir(),
        key=lambda file: file.stat().st_size,
    )
    async with developer.client.stream(
        "GET", f"/graphql/{largest.name}", headers={"Accept-Encoding": "br"}
    ) as response:
        sent = b"".join([part async for part in response.aiter_raw()])
    assert response.headers["Content-Type"].startswith("text/javascript")
    assert response.headers["Content-Encoding"] == "br"
    assert 0 < len(sent) < largest.stat().st_size / 3


@pytest.mark.parametrize(
    "name", ["index.html", "nothing.js", "..", "%2e%2e", "..%2findex.html", "%2fetc%2fpasswd", "*"]
)
async def test_nothing_else_is_served(developer: Api, name: str) -> None:
    """Below the page's address only its files are served, whatever the path."""
    response = await developer.client.get(f"http://{HOST}/graphql/{name}")
    assert response.status_code in {400, 404}
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_the_schema(developer: Api) -> None:
    """The page links to the schema that clients are generated from."""
    response = await developer.client.get("/graphql/schema.graphql")
    assert response.text == (ROOT / "schema.graphql").read_text(encoding="utf-8").rstrip()
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_before_it_is_built(developer: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a checkout without a built GraphiQL, the page says how to build it."""
    monkeypatch.setattr(server.pages.graphiql, "BUILT", tmp_path / "explorer")
    response = await developer.client.get("/graphql", headers={"Accept": "text/html", "Host": HOST})
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "run `make explorer`" in response.text


def test_the_wheel_ships_it(tmp_path: Path) -> None:
    """The wheel contains the page and all of its files."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.whl")
    with ZipFile(path) as wheel:
        shipped = {name for name in wheel.namelist() if name.startswith("server/pages/built/")}
    built = (ROOT / "server" / "pages" / "built").rglob("*.*")
    assert shipped == {file.relative_to(ROOT).as_posix() for file in built}
    assert len(shipped) > 10
