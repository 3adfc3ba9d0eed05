"""Live updates over HTTP with the clients that apps use: graphql-sse, Apollo Client and urql."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.process.settings import Settings
from tests.api import SECRET, Api, headers
from tests.node import node
from tests.server.test_cli import serving
from tests.sockets import Site
from tests.sockets import site as serving_site

CLIENTS = Path(__file__).parents[2] / "client_programs"
TOKEN = headers("ann")["Authorization"].removeprefix("Bearer ")


@pytest.fixture
async def site(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve on a socket, with ten credits for ann."""
    async with serving_site(settings, dsn) as opened:
        await opened.api.register(credits=10)
        yield opened


async def play(site: Site, script: str, *arguments: str) -> Any:
    """Run a client's script, check that it leaves nothing behind, and return its output."""
    output = await node(CLIENTS, script, f"http://{site.address}/graphql", *arguments)
    await site.left()
    return json.loads(output)


async def test_graphql_sse(site: Site) -> None:
    """graphql-sse runs queries, mutations and subscriptions. Errors arrive as results, the end as `complete`."""
    assert await play(site, "graphql-sse.js", "operations", TOKEN) == {
        "queried": {"data": {"viewer": {"credits": 10}}},
        "first": 10,
        "created": {"data": {"createVideoData": {"user": {"credits": 9}}}},
        "second": 9,
        "syntax": ["BAD_USER_INPUT"],
        "unknown": ["BAD_USER_INPUT"],
        "refused": ["FORBIDDEN"],
        "ended": [{"data": {"videoDataUpdated": None}}],
    }


async def test_graphql_sse_survives_a_restart(api: Api, dsn: str, tmp_path: Path) -> None:
    """When the server restarts, graphql-sse reconnects and gets the current state."""
    await api.register(credits=10)
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn}
    with serving(tmp_path, **settings) as served:
        port = served.address.removesuffix("/graphql").rpartition(":")[2]
        playing = asyncio.create_task(node(CLIENTS, "graphql-sse.js", served.address, "returning", TOKEN))
        while await api.balance() != 9:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
    await api.create("meanwhile")
    with serving(tmp_path, PORT=port, **settings):
        played = json.loads(await playing)
    assert played["results"][-1] == 8
    assert played["connected"] == 3  # Once to follow, once to create, and once more to follow.


async def test_apollo_client(site: Site) -> None:
    """Apollo Client subscribes over its own link, and its cache updates every component that shows the same data."""
    assert await play(site, "apollo.js", TOKEN) == {
        "shown": [None, 10, 9],
        "live": [10, 9],
        "unknown": "BAD_USER_INPUT",
        "refused": "BAD_USER_INPUT",
    }


async def test_urql(site: Site) -> None:
    """With urql, which accepts both event streams and JSON, queries and mutations still get JSON."""
    printed = await play(site, "urql.js", TOKEN)
    json_type, events = "application/graphql-response+json; charset=utf-8", "text/event-stream; charset=utf-8"
    assert printed == {
        "queried": {"viewer": {"credits": 10}},
        "results": [10, 9],
        "created": {"createVideoData": {"user": {"credits": 9}}},
        "refused": "BAD_USER_INPUT",
        "types": [json_type, events, json_type, events],
    }
