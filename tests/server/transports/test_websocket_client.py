"""npm's `graphql-ws`, the client that apps use, against a real server: it gets every result, and reconnects."""

import asyncio
import json
import signal
from pathlib import Path
from time import time
from typing import Any

import jwt

from server.process.settings import Settings
from tests.api import SECRET, Api
from tests.node import node
from tests.server.auth.test_forged_tokens import claims
from tests.server.test_cli import serving
from tests.sockets import logged_site, site

DIRECTORY = Path(__file__).parents[2] / "client_programs"


def token(**changed: Any) -> str:
    return jwt.encode(claims(role="USER", **changed), SECRET, "HS256")


async def play(address: str, scene: str, *tokens: str) -> dict[str, Any]:
    """Run a scene with the client, and return the results and how its connections were closed."""
    output = await node(DIRECTORY, "graphql-ws.js", f"ws://{address}/graphql", scene, *tokens)
    played: dict[str, Any] = json.loads(output)
    return played


async def test_the_client_gets_every_result(dsn: str, settings: Settings) -> None:
    """Queries, mutations and subscriptions are answered, and each error goes to its own operation."""
    async with site(settings, dsn) as reached:
        await reached.api.register()
        played = await play(reached.address, "operations", token())
        await reached.left()
    refused = played["results"].pop("refused")
    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert played["results"] == {
        "queried": {"data": {"viewer": {"credits": 10}}},
        "first": 10,
        "created": {"data": {"createVideoData": {"user": {"credits": 9}}}},
        "second": 9,
        "syntax": ["BAD_USER_INPUT"],
        "unknown": ["BAD_USER_INPUT"],
        "left": True,
        "again": {"data": {"viewer": {"credits": 9}}},
    }
    assert {code for code, _ in played["closes"]} == {1000}


async def test_the_client_renews_its_token(dsn: str, settings: Settings) -> None:
    """When the token expires on an open socket, the client reconnects with a new one and resumes its subscription."""
    async with logged_site(settings, dsn) as (reached, log):
        await reached.api.register()
        short = token(exp=int(time()) - 2)  # Within the leeway of 5 s.
        playing = asyncio.create_task(play(reached.address, "returning", short, token()))
        while all(line.get("code") != 4403 for line in log.read()):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        await reached.api.create("after")
        played = await playing
    assert [4403, "EXPIRED: The token has expired: renew it or sign in again."] in played["closes"]
    assert played["results"][-1] == 8


async def test_the_client_survives_a_restart(api: Api, dsn: str, tmp_path: Path) -> None:
    """When the server restarts, the client reconnects and gets the current state."""
    await api.register()
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn}
    with serving(tmp_path, **settings) as served:
        address = served.address.removeprefix("http://").removesuffix("/graphql")
        playing = asyncio.create_task(play(address, "returning", token()))
        while await api.balance() != 9:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
    await api.create("meanwhile")
    with serving(tmp_path, PORT=address.split(":")[1], **settings):
        played = await playing
    assert [1012, "The server is being stopped: connect again."] in played["closes"]
    assert played["results"][-1] == 8
