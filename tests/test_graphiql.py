"""GraphiQL's page: its examples work, and its tokens are for this machine's developer alone."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jwt
import pytest
from graphql import FieldNode, OperationDefinitionNode, parse, validate

import server.graphiql
from db.database import Database
from resolvers.context import Terms
from resolvers.identity import Role
from server.graphiql import Example, examples, page
from server.graphql import build_schema
from server.seed import seed
from server.settings import Settings
from tests.api import SECRET, Api, serving

Tab = dict[str, str]
HOST = "127.0.0.1:8000"
NAMES = [example.name for example in examples({})]


class Reader(HTMLParser):
    """Reads a page as a browser does: the text that is seen without JavaScript, and the tabs given to JavaScript."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen = ""
        self.scripts: dict[str | None, str] = {}
        self._script: str | None = None
        self._inside = ""
        self.feed(html)
        self.close()
        self.tabs: list[Tab] = json.loads(self.scripts["tabs"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self._script = dict(attrs).get("id")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - whatever ends, what follows is outside
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[self._script] = data
        elif self._inside == "p":
            self.seen += data


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Serve with development keys."""
    return Settings(data_dir=tmp_path, log_level="warning")


@pytest.fixture
async def developer(dsn: str, settings: Settings, database: Database) -> AsyncIterator[Api]:
    """Call a development server that has been started for the first time."""
    await seed(database, Terms(settings.signup_credits, settings.video_cost))
    async with serving(dsn, settings) as api:
        yield api


async def load(api: Api, host: str = HOST) -> list[Tab]:
    """Open the page in a browser and return its tabs."""
    response = await api.client.get(f"http://{HOST}/graphql", headers={"Accept": "text/html,*/*;q=0.8", "Host": host})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Reader(response.text).tabs


async def run(api: Api, tab: Tab) -> dict[str, Any]:
    """Press the button of a tab, of a live one until the first result: an error or a refusal fails the test."""
    variables, sent = json.loads(tab["variables"] or "{}"), json.loads(tab["headers"])
    if is_live(tab):
        claims = jwt.decode(sent["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
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
    """On a freshly seeded server each example succeeds with its own variables and token, and so it does once more."""
    tab = (await load(developer))[NAMES.index(name)]
    await run(developer, tab)
    await run(developer, tab)


async def test_all_examples_visit_after_visit(developer: Api) -> None:
    """All examples in the order of their tabs succeed on the first visit, and on later ones with what came of it."""
    for _ in range(3):
        for tab in await load(developer):
            await run(developer, tab)


async def test_each_visit_has_keys_of_its_own(developer: Api) -> None:
    """A video is created on each visit, and once in it, however often the example is run."""
    created = []
    for _ in range(2):
        tab = (await load(developer))[NAMES.index("CreateVideoData")]
        results = [(await run(developer, tab))["createVideoData"] for _ in range(2)]
        assert [result["replayed"] for result in results] == [False, True]
        created.append(results[0]["videoData"]["id"])
    assert len(set(created)) == 2


async def test_what_the_reading_examples_show(developer: Api) -> None:
    """No reading example shows an empty page: there is a ledger, a failure with its refund, a queue, and a user."""
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
    """Each example is one valid operation named as its file and tab; all mutations and subscriptions are among them."""
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
    assert {path.stem for path in Path(server.graphiql.__file__).parent.glob("examples/*")} == set(NAMES)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LocalHost", "[::1]:8000"])
async def test_this_machine_gets_tokens(database: Database, settings: Settings, host: str) -> None:
    """By any name of this machine, every tab has a token of the role that may do it."""
    response = await page(database, settings, host)
    tabs = Reader(bytes(response.body).decode()).tabs
    assert all("Bearer ey" in tab["headers"] for tab in tabs)
    assert len({tab["headers"] for tab in tabs}) == len(Role)


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
        "a{b}.rebound.example",  # Starlette takes it for no name at all, and the listening address instead.
        "[::1].rebound.example",
        "127.0.0.1\n",
        "192.168.1.5:8000",
    ],
)
async def test_another_name_gets_no_tokens(database: Database, settings: Settings, host: str | None) -> None:
    """Under any other name, which may be a stranger's for this machine, the page has neither tokens nor ids."""
    await seed(database, Terms(settings.signup_credits, settings.video_cost))
    html = bytes((await page(database, settings, host)).body).decode()
    assert "eyJ" not in html
    assert "video_" not in html
    assert [tab["headers"] for tab in Reader(html).tabs] == [""] * len(NAMES)


async def test_an_odd_host_over_http(developer: Api) -> None:
    """What the page goes by is the Host header as the browser sent it."""
    assert (await load(developer))[0]["headers"] != ""
    assert (await load(developer, "a{b}.rebound.example"))[0]["headers"] == ""


async def test_production(database: Database) -> None:
    """With keys of one's own there are no tokens and no ids, even on this machine; each tab says how to sign in."""
    html = bytes((await page(database, Settings(jwt_secret=SECRET), HOST)).body).decode()
    for tab in Reader(html).tabs:
        assert tab["headers"] == ""
        assert tab["query"].startswith("# Sign in first: ")
        assert len(parse(tab["query"]).definitions) == 1
    assert not re.search("(user|video)_[A-Za-z0-9]", html)


async def test_the_page_is_not_kept(developer: Api) -> None:
    """No cache keeps a page with tokens, and no other site's page frames it."""
    response = await developer.client.get("/graphql", headers={"Accept": "text/html", "Host": HOST})
    assert response.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_hostile_text(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever text an example holds arrives in its tab unchanged, and as nothing but text."""
    hostile = "</script><script>alert(1)</script><!--<script>&lt;\u2028\"'\\"
    monkeypatch.setattr(server.graphiql, "examples", lambda _: [Example("Viewer", Role.USER, {"text": hostile})])
    html = bytes((await page(database, settings, HOST)).body).decode()
    assert "<script>alert" not in html
    (tab,) = Reader(html).tabs
    assert json.loads(tab["variables"]) == {"text": hostile}


async def test_without_unpkg(database: Database, settings: Settings) -> None:
    """Without JavaScript, or without unpkg.com, the page says what is missing; what it loads is checked by its hash."""
    html = bytes((await page(database, settings, HOST)).body).decode()
    assert Reader(html).seen.strip().startswith("GraphiQL is loaded from unpkg.com.")
    loaded = re.findall(r"<(?:script|link)[^>]*https://[^>]*>", html)
    assert len(loaded) == 6
    for tag in loaded:
        assert re.search(r'"https://unpkg\.com/[^"]*@\d+\.\d+\.\d+/[^"]*"\s+integrity="sha384-[^"]{64}"', tag)
        assert "crossorigin" in tag
