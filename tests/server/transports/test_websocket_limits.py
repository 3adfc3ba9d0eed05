"""Who may open sockets and how many, how many operations run on one, and how a stop closes them."""

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from throttled import per_hour
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import server.transports.websocket
from db.database import Database
from resolvers.identity import Role
from server.process.settings import Settings
from tests.api import MUTATIONS, SECRET, Api, headers
from tests.race import blocked
from tests.server.gates.test_admission import locked
from tests.server.test_cli import serving
from tests.server.transports.test_websocket_operations import CREDITS, credits_of
from tests.sockets import PROTOCOL, Client, Site, site


async def refused(reached: Site, **options: Any) -> tuple[int, dict[str, Any], httpx2.Headers]:
    """Try to open a socket, and return the status, the error and the headers of the refusal."""
    with pytest.raises(InvalidStatus) as caught:
        async with reached.connected(**options):
            pass
    response = caught.value.response
    fields = httpx2.Headers(list(response.headers.raw_items()))
    body = json.loads(response.body or b"")
    assert body.keys() == {"errors"}
    (error,) = body["errors"]
    assert error["extensions"]["errorId"] == fields["X-Request-Id"]
    assert fields["Content-Type"].startswith("application/json")
    assert fields["X-Content-Type-Options"] == "nosniff"
    return response.status_code, error, fields


async def test_pages_of_other_sites_open_no_socket(dsn: str, settings: Settings) -> None:
    """A page may open a socket from the server's own origin or a listed one; any other origin gets 403."""
    async with site(replace(settings, cors_origins=("https://app.example",)), dsn) as reached:
        for origin in (None, f"http://{reached.address}", f"HTTP://{reached.address}", "https://app.example"):
            async with reached.signed_in(origin=origin) as client:
                assert await client.run("{ __typename }") == {"__typename": "Query"}
        port = reached.address.split(":")[1]
        for origin in (
            *("null", "", "https://", "https://evil.example", "https://app.example.evil.example", "http://app.example"),
            *("http://127.0.0.1", f"http://127.0.0.1:{port}.evil.example", f"http://evil.example:{port}"),
        ):
            status, error, _ = await refused(reached, additional_headers={"Origin": origin})
            assert (status, error["extensions"]["code"]) == (403, "FORBIDDEN"), origin


async def test_sockets_are_limited(dsn: str, settings: Settings) -> None:
    """A handshake beyond the limit on sockets gets 503; closing a socket frees its place."""
    async with site(replace(settings, streams_max=2), dsn) as reached:
        async with reached.signed_in("ann"), reached.connected():
            status, error, fields = await refused(reached)
            assert (status, error["extensions"]["code"], fields["Retry-After"]) == (503, "LIMIT_EXCEEDED", "10")
        await reached.left()
        async with reached.signed_in("ann"), reached.signed_in("bob"):
            pass


async def test_sockets_of_a_user_are_limited(dsn: str, settings: Settings) -> None:
    """A socket beyond a user's limit, or beyond an address's for anonymous clients, is closed with 1013."""
    async with site(replace(settings, streams_per_identity_max=2), dsn) as reached:
        async with reached.signed_in("ann"), reached.signed_in(None), reached.signed_in("bob"):
            for subject in ("ann", None):
                async with reached.signed_in(subject), reached.connected() as third:
                    await third.send(type="connection_init", payload=headers(subject))
                    assert await third.closed() == (1013, "You have 2 streams open already: close one first.")
            for subject, role in (("render", Role.WORKER), ("root", Role.ADMIN)):
                many = [reached.signed_in(subject, role) for _ in range(3)]
                async with many[0], many[1], many[2]:
                    pass
        await reached.left()
        async with reached.signed_in("ann"), reached.signed_in("ann"):
            pass


async def test_operations_of_a_socket_are_limited(dsn: str, settings: Settings) -> None:
    """An operation beyond a socket's limit gets an error. The others continue, and a finished one makes room."""
    async with site(replace(settings, operations_per_socket_max=3), dsn) as reached:
        await reached.api.register()
        async with reached.signed_in() as client:
            for number in range(3):
                await client.subscribe(f"{number}", CREDITS)
                credits_of(await client.receive(), f"{number}")
            error = await client.refused("{ __typename }")
            assert (error["extensions"]["code"], "3 operations" in error["message"]) == ("LIMIT_EXCEEDED", True)
            await client.send(type="complete", id="1")
            assert await client.run("{ __typename }") == {"__typename": "Query"}
            await reached.api.create("1")
            messages = [await client.receive(), await client.receive()]
            assert sorted((each["id"], credits_of(each, each["id"])) for each in messages) == [("0", 9), ("2", 9)]


async def test_rates_are_limited(dsn: str, settings: Settings) -> None:
    """A handshake counts for its address, each operation for its address and user, like HTTP requests."""
    limits = replace(settings, rate_limit_per_address=per_hour(8), rate_limit_per_identity=per_hour(3))
    async with site(limits, dsn) as reached:
        async with reached.signed_in("ann") as client:  # One of the address.
            await reached.api.query("{ __typename }")  # One of both.
            for _ in range(2):  # Two of both.
                assert await client.run("{ __typename }") == {"__typename": "Query"}
            for _ in range(2):  # Two of the address.
                error = await client.refused("{ __typename }")
                assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
                assert "wait 12" in error["message"]
        async with reached.signed_in("bob") as client:  # One of the address.
            assert await client.run("{ __typename }") == {"__typename": "Query"}
            assert (await client.refused("{ __typename }"))["extensions"]["code"] == "LIMIT_EXCEEDED"
        status, error, fields = await refused(reached)
        assert (status, error["extensions"]["code"]) == (429, "LIMIT_EXCEEDED")
        assert int(fields["Retry-After"]) > 0


async def test_messages_are_read_at_a_limited_rate(
    dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of messages is read at the limit of messages per second, and none is lost."""
    monkeypatch.setattr(server.transports.websocket, "MESSAGES_PER_SECOND_MAX", 4)
    monkeypatch.setattr(server.transports.websocket, "_PACE_SECONDS", 1)
    async with site(settings, dsn) as reached, reached.signed_in() as flooding, reached.signed_in() as other:
        answered: list[object] = []

        async def answers(client: Client, count: int) -> None:
            for _ in range(count):
                answered.append((await client.receive())["payload"]["number"])  # noqa: PERF401 - as they come

        async with asyncio.TaskGroup() as group:
            for number in range(9):
                await flooding.send(type="ping", payload={"number": number})
            group.create_task(answers(flooding, 9))
            await asyncio.sleep(0.3)
            await other.send(type="ping", payload={"number": "other"})
            group.create_task(answers(other, 1))
        assert answered.index("other") < answered.index(8)
        answered.remove("other")
        assert answered == list(range(9))


async def open_socket(address: str, subject: str) -> Client:
    client = Client(await connect(address.replace("http", "ws", 1), subprotocols=[PROTOCOL], proxy=None))
    await client.sign_in(subject)
    return client


async def test_a_stop(api: Api, dsn: str, database: Database, tmp_path: Path) -> None:
    """On SIGTERM subscriptions end without `complete`, running mutations are answered, and sockets closed with 1012."""
    await api.register()
    with serving(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as served:
        client, idle = await open_socket(served.address, "ann"), await open_socket(served.address, "bob")
        await client.subscribe("live", CREDITS)
        assert credits_of(await client.receive()) == 10
        video = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}
        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("SELECT FROM wallets FOR UPDATE")
            await client.subscribe("create", MUTATIONS["createVideoData"], input=video)
            await blocked(database)
            served.process.send_signal(signal.SIGTERM)
            assert (await idle.closed())[0] == 1012
            await client.subscribe("late", "{ __typename }")
        message = await client.receive()
        assert message["payload"]["data"]["createVideoData"]["user"]["credits"] == 9
        assert await client.receive() == {"type": "complete", "id": "create"}
        assert await client.closed() == (1012, "The server is being stopped: connect again.")
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
        assert "Traceback" not in logged


async def test_a_stop_does_not_wait_for_ever(api: Api, dsn: str, database: Database, tmp_path: Path) -> None:
    """A query that does not end gets RETRY in time, its socket is closed with 1012, and the exit code is 0."""
    await api.register()
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn, "REQUEST_TIMEOUT_SECONDS": "3600"}
    with serving(tmp_path, **settings) as served:
        client = await open_socket(served.address, "ann")
        async with locked(database):
            await client.subscribe("query", "{ viewer { id } }")
            await blocked(database)
            served.process.send_signal(signal.SIGTERM)
            message = await client.receive()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "RETRY")
            assert (await client.closed())[0] == 1012
            _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
