"""The TypeScript client: regenerated from the schema, typechecked, and run against the server."""

import asyncio
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import FieldNode, GraphQLObjectType, TypeInfo, TypeInfoVisitor, Visitor, parse, visit

from resolvers.identity import Role
from server.process.settings import Settings
from tests.api import SCHEMA, SECRET, Api, headers
from tests.node import install, node, npm, programs
from tests.server.test_cli import serving
from tests.sockets import Site
from tests.sockets import site as serving_site

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
DOCUMENTS = "persisted-documents.json"


def token(subject: str) -> str:
    return headers(subject)["Authorization"].removeprefix("Bearer ")


def copy(target: Path) -> Path:
    """Copy the schema and the client, so that no test finds the output of another build."""
    shutil.copy(ROOT / "schema.graphql", target)
    client = target / "clients" / "typescript"
    shutil.copytree(CLIENT, client, ignore=shutil.ignore_patterns("node_modules", "dist", "build", "generated"))
    (client / "node_modules").symlink_to(CLIENT / "node_modules")
    return client


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the client once, with its examples and tests."""

    async def build() -> Path:
        await install(CLIENT, *programs())
        client = copy(tmp_path_factory.mktemp("client"))
        await npm(client, "run", "build")
        await npm(client, "run", "check")
        return client

    return asyncio.run(build())


@pytest.fixture
async def site(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve on a socket, with ten credits for ann."""
    async with serving_site(settings, dsn) as opened:
        await opened.api.register(credits=10)
        yield opened


async def play(client: Path, site: Site, script: str, *arguments: str) -> Any:
    """Run a built script, check that it leaves nothing behind, and return its output."""
    output = await node(client, f"build/{script}.js", f"http://{site.address}/graphql", *arguments)
    await site.left()
    return json.loads(output)


async def test_the_clients_own_tests(built: Path) -> None:
    """The client's own tests pass: retries, keys, and cache updates."""
    assert re.search(r"^. pass [1-9]", await npm(built, "test"), re.MULTILINE)


EXAMPLES = {
    "client": [10, 9, "Whales is QUEUED. Whales is QUEUED."],
    "apollo": [10, 9, 8],
    "urql": [10, 9, 8],
    "tanstack": [10, 9, 8],
    "gql-tada": [10, 0],
}


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example(built: Path, site: Site, name: str) -> None:
    """Each example shows the same balance from a query, from its own mutation and from the subscription."""
    assert await play(built, site, f"examples/{name}", token("ann")) == EXAMPLES[name]


async def test_the_quickstart_typechecks(built: Path) -> None:
    """The quickstart's page, whose bundler checks no types, handles each refusal."""
    quickstart = shutil.copytree(ROOT / "examples" / "quickstart", built.parents[1] / "examples" / "quickstart")
    compiler = str(CLIENT / "node_modules" / "typescript" / "bin" / "tsc")
    await node(built, compiler, "-p", str(quickstart))
    script = quickstart / "quickstart.ts"
    script.write_text(script.read_text(encoding="utf-8").replace("    UserNotFound:", "    // UserNotFound:"))
    with pytest.raises(AssertionError, match="Property 'UserNotFound' is missing"):
        await node(built, compiler, "-p", str(quickstart))


async def test_five_minutes(built: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the first steps compiles, runs and prints what they say.

    Without a refusal's case it does not compile.
    """
    (script,) = re.findall(r"```ts\n(.*?)```", (ROOT / "docs" / "five-minutes.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.setenv("TOKEN", token("ann"))
    example = built / "examples" / "create.ts"
    example.write_text(script.replace("127.0.0.1:8000", site.address))
    await npm(built, "run", "check")
    assert await node(built, "build/examples/create.js") == "Whales is QUEUED: 9 left.\n"
    example.write_text(script.replace("    UserNotFound:", "    // UserNotFound:"))
    with pytest.raises(AssertionError, match=r"\(10,26\): error TS2741: Property 'UserNotFound' is missing in type "):
        await npm(built, "run", "check")
    example.unlink()


def test_the_readme_shows_the_examples() -> None:
    """Each TypeScript block in the client's README is part of an example or a test, which runs."""
    readme = (CLIENT / "README.md").read_text(encoding="utf-8")
    scripts = [*(CLIENT / "examples").glob("*.ts"), *(CLIENT / "tests").glob("*.ts")]
    executed = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    shown = re.findall(r"```ts\n(.*?)```", readme, re.DOTALL)
    assert shown
    assert [block for block in shown if block not in executed] == []


async def test_the_readme_lists_the_operations(built: Path) -> None:
    """The client's README lists every operation, and no other."""
    readme = (CLIENT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| for | operations |")[2].partition("\n\n")[0]
    documents = json.loads((built / DOCUMENTS).read_text())
    operations = {re.search(r"(?:query|mutation|subscription) (\w+)", text) for text in documents.values()}
    assert set(re.findall(r"`(\w+)`", table)) == {operation[1] for operation in operations if operation}


async def test_a_lost_response(built: Path, site: Site) -> None:
    """A creation whose response is lost is sent again with its key, after a reload too, and charged once."""
    await site.api.register("poor", credits=0)
    printed = await play(built, site, "tests/lost", token("ann"), token("poor"))
    once, never, reloaded, refused = (printed[name] for name in ("once", "never", "reloaded", "refused"))
    assert once == {"told": [True, 9], "sent": 2, "keys": once["keys"], "kept": []}
    assert never == {"told": "fetch failed", "sent": 2, "keys": never["kept"], "kept": never["keys"]}
    assert reloaded == {"told": [True, 8], "sent": 1, "keys": never["keys"], "kept": []}
    assert len({*once["keys"], *never["keys"], *refused["keys"]}) == 3
    assert refused["kept"] == []
    short = {"__typename": "InsufficientCredits", "code": "INSUFFICIENT_CREDITS", "balance": 0, "required": 1}
    assert refused["told"] == {**short, "message": refused["told"]["message"]}
    assert await site.api.balance() == 8


async def test_a_restart(built: Path, api: Api, dsn: str, tmp_path: Path) -> None:
    """When the server restarts, the client reconnects, and gets the current balance and every entry."""
    await api.register(credits=10)
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn}
    with serving(tmp_path, **settings) as served:
        port = served.address.removesuffix("/graphql").rpartition(":")[2]
        playing = asyncio.create_task(node(built, "build/tests/returning.js", served.address, token("ann")))
        while await api.balance() != 9:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
    await api.create("meanwhile")
    with serving(tmp_path, PORT=port, **settings):
        played = json.loads(await playing)
    assert played == {"numbers": [2, 3], "first": 10, "last": 8}


async def test_pages_of_apollo_client(built: Path, site: Site) -> None:
    """In Apollo's cache a list grows page by page, and a video in a refusal updates the list."""
    worker = headers("render-1", Role.WORKER)["Authorization"].removeprefix("Bearer ")
    page = ["three QUEUED", "two QUEUED"]
    assert await play(built, site, "tests/pages", token("ann"), worker) == {
        "pages": [page, [*page, "one QUEUED"], ["three COMPLETED", "two QUEUED", "one QUEUED"]],
        "refused": "COMPLETED",
    }


async def test_trusted_documents_only(built: Path, settings: Settings, dsn: str) -> None:
    """A server that accepts only the package's documents answers them by id, for each library."""
    trusting = replace(settings, documents_file=built / DOCUMENTS, trusted_documents_only="on")
    async with serving_site(settings, dsn) as open_to_all:
        await open_to_all.api.register(credits=10)
    async with serving_site(trusting, dsn) as site:
        assert await play(built, site, "tests/trusted", token("ann")) == {
            "forbidden": "FORBIDDEN",
            "created": "CreateVideoDataSuccess",
            "followed": 9,
            "apollo": 9,
            "urql": 9,
            "tanstack": 9,
        }


async def test_the_documents_are_current(built: Path) -> None:
    """The stored documents equal the generated ones: run `make client` when this fails."""
    assert (CLIENT / DOCUMENTS).read_text() == (built / DOCUMENTS).read_text()


async def test_the_packages_files(built: Path) -> None:
    """The package contains every entry point, and no development files."""
    (packed,) = json.loads(await npm(built, "pack", "--dry-run", "--json", "--ignore-scripts"))
    files = {file["path"] for file in packed["files"]}
    exported = json.loads((built / "package.json").read_text())["exports"].values()
    assert {path.removeprefix("./") for path in exported} <= files
    assert {path.partition("/")[0] for path in files} == {"README.md", "dist", DOCUMENTS, "package.json"}


async def test_a_new_refusal_does_not_typecheck(tmp_path: Path) -> None:
    """The typecheck finds a new member of a result wherever results are matched or switched on."""
    await install(CLIENT, *programs())
    client = copy(tmp_path)
    schema = tmp_path / "schema.graphql"
    text = schema.read_text(encoding="utf-8")
    widened = text.replace("union CreateVideoDataResult = ", "union CreateVideoDataResult = TooManyVideos | ")
    schema.write_text(widened + "type TooManyVideos implements Error { code: String! message: String! }\n")
    await npm(client, "run", "build")
    with pytest.raises(AssertionError) as failed:
        await npm(client, "run", "check")
    assert "Property 'TooManyVideos' is missing in type" in str(failed.value)
    assert re.search(r"examples/refusals\.ts.*not assignable to parameter of type 'never'", str(failed.value))


async def test_the_schema_is_linted() -> None:
    """graphql-eslint accepts schema.graphql and the client's operations."""
    await npm(CLIENT, "run", "lint")


# What no page of the app that the operations are written for shows.
NOT_SHOWN = {"CreditEntry.user"}


def test_every_field_is_asked_for() -> None:
    """Each field of an object is in one of the operations, so that none is forgotten when it is added."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (CLIENT / "operations").glob("*.graphql"))
    types = TypeInfo(SCHEMA)
    asked: set[str] = set()

    class Asked(Visitor):
        def enter_field(self, node: FieldNode, *_: object) -> None:
            parent = types.get_parent_type()
            assert parent is not None
            asked.add(f"{parent.name}.{node.name.value}")

    visit(parse(text), TypeInfoVisitor(types, Asked()))
    shown = {each.partition(".")[0] for each in asked}
    offered = {
        f"{type_.name}.{name}"
        for type_ in SCHEMA.type_map.values()
        if isinstance(type_, GraphQLObjectType) and type_.name in shown
        for name, field in type_.fields.items()
        if not field.args and name not in {"code", "message", "nodes"}  # of every refusal, and beside `edges`
    }
    assert offered - asked == NOT_SHOWN
