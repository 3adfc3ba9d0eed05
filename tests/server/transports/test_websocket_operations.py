"""Operations over a socket: their messages and order, who may run them, and that nothing is left afterwards."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from time import time
from typing import Any

import jwt
import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed

import server.serve
import server.transports.http_protocol
import server.transports.websocket
from db.database import Database
from resolvers.identity import Role
from resolvers.rules import RULES
from server.auth.tokens import InvalidToken, Reason, TokenVerifier
from server.process.settings import Settings
from tests.api import MUTATIONS, SECRET
from tests.calls import OPERATIONS
from tests.live import VIDEO
from tests.race import blocked
from tests.server.auth.test_forged_tokens import claims
from tests.server.gates.test_admission import locked
from tests.server.wire.test_masking import BREAK, INTERNALS
from tests.sockets import Site, logged_site, site

CREDITS = "subscription { viewerUpdated { user { credits } } }"


@pytest.fixture
async def reached(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve the test's own database on a socket."""
    async with site(settings, dsn) as opened:
        yield opened


def credits_of(message: dict[str, Any], id: str = "live") -> int:
    """Return the credits in a message of `CREDITS`."""
    assert (message["type"], message["id"]) == ("next", id), message
    present: int = message["payload"]["data"]["viewerUpdated"]["user"]["credits"]
    return present


async def test_queries_and_mutations(reached: Site) -> None:
    """A query or mutation gets one result and `complete`, whatever the socket's other operations do."""
    async with reached.signed_in() as client:
        registered = await client.run(MUTATIONS["registerUser"], input={})
        assert registered["registerUser"]["user"]["credits"] == 10
        video = {"title": "Wale im Süden 🐋", "videoStyle": "realistic", "idempotencyKey": "key"}
        created = await client.run(MUTATIONS["createVideoData"], input=video)
        assert created["createVideoData"]["videoData"]["title"] == video["title"]
        assert await client.run("query a { viewer { credits } }") == {"viewer": {"credits": 9}}


async def test_a_subscription(reached: Site) -> None:
    """A subscription sends the current state and each change; after the client's `complete`, nothing more."""
    await reached.api.register()
    async with reached.signed_in() as client:
        await client.subscribe("live", CREDITS)
        assert credits_of(await client.receive()) == 10
        await reached.api.create("1")
        assert credits_of(await client.receive()) == 9
        await client.send(type="complete", id="live")
        await client.send(type="complete", id="live")
        await client.send(type="complete", id="another")
        assert await client.run("{ __typename }") == {"__typename": "Query"}
        await reached.api.create("2")
        assert await client.run("{ viewer { credits } }") == {"viewer": {"credits": 8}}
        assert not reached.app.state.live.subjects()


async def test_an_id_can_be_used_again(reached: Site) -> None:
    """An id is free once either side has completed its operation; reusing it before closes the socket."""
    await reached.api.register()
    async with reached.signed_in() as client:
        for _ in range(20):
            await client.subscribe("live", CREDITS)
            await client.send(type="complete", id="live")
        await client.subscribe("live", CREDITS)
        assert credits_of(await client.receive()) == 10
        for _ in range(5):
            assert await client.run("{ __typename }") == {"__typename": "Query"}
        await client.subscribe("live", "{ __typename }")
        assert await client.closed() == (4409, "Subscriber for live already exists")


DOCUMENTS = {
    "BAD_USER_INPUT": [
        "{",
        "{ nothing }",
        "query a { __typename } query b { __typename }",
        "query($a: Int!) { __typename }",
    ],
    "UNAUTHENTICATED": [CREDITS],
}


async def test_an_invalid_or_forbidden_operation_is_an_error(reached: Site) -> None:
    """An invalid or forbidden operation gets an error with a code. The socket stays open, and the id is free."""
    async with reached.signed_in(None) as client:
        ids = set()
        for code, documents in DOCUMENTS.items():
            for document in documents:
                error = await client.refused(document)
                assert error["extensions"]["code"] == code
                ids.add(error["extensions"]["errorId"])
        assert len(ids) == 5
        deep = await client.refused("{ a " * 20 + "}" * 20)
        assert deep["extensions"]["limit"] == "depth"
        assert await client.run("{ __typename }") == {"__typename": "Query"}


@pytest.mark.parametrize("role", [None, *Role])
async def test_rules_hold_for_subscriptions(reached: Site, role: Role | None) -> None:
    """Every subscription is refused to anonymous clients and to each role that its rule does not name."""
    async with reached.signed_in("ann" if role else None, role or Role.USER) as client:
        tried = 0
        assert OPERATIONS["subscription"] is not None
        for name, field in OPERATIONS["subscription"].fields.items():
            if role is None or role not in RULES[name]:
                tried += 1
                arguments = '(id: "video_x")' if "id" in field.args else ""
                error = await client.refused(f"subscription {{ {name}{arguments} {{ __typename }} }}")
                assert error["extensions"]["code"] == ("FORBIDDEN" if role else "UNAUTHENTICATED"), name
        assert tried == {None: 4, Role.USER: 0, Role.WORKER: 3, Role.ADMIN: 0}[role]


async def test_another_users_video_is_null(reached: Site) -> None:
    """Another user's video looks exactly like one that does not exist; its owner sees it."""
    await reached.api.register("bob")
    video_id = await reached.api.video(subject="bob")
    async with reached.signed_in("ann") as ann, reached.signed_in("bob") as bob:
        for client in (ann, bob):
            await client.subscribe("live", VIDEO, id=video_id)
        assert (await ann.receive())["payload"] == {"data": {"videoDataUpdated": None}}
        assert await ann.receive() == {"type": "complete", "id": "live"}
        assert (await bob.receive())["payload"]["data"]["videoDataUpdated"]["status"] == "QUEUED"
        await reached.api.cancel(video_id, subject="bob")
        assert (await bob.receive())["payload"]["data"]["videoDataUpdated"]["status"] == "CANCELED"
        assert await ann.run("{ __typename }") == {"__typename": "Query"}


async def test_a_token_may_come_with_the_handshake(reached: Site) -> None:
    """A client may sign in by the handshake's headers; a token in `connection_init` takes precedence."""
    await reached.api.register("ann")
    given = {"Authorization": f"Bearer {jwt.encode(claims(role='USER'), SECRET, 'HS256')}"}
    async with reached.connected(additional_headers=given) as client:
        await client.send(type="connection_init")
        assert await client.receive() == {"type": "connection_ack"}
        assert await client.run("{ viewer { credits } }") == {"viewer": {"credits": 10}}
    async with reached.signed_in("bob", additional_headers=given) as client:
        assert await client.run("{ viewer { credits } }") == {"viewer": None}


async def test_a_token_expires_on_an_open_socket(reached: Site) -> None:
    """When its token expires, an open socket is closed with 4403 and the reason, even while it is idle."""
    await reached.api.register()
    token = jwt.encode(claims(role="USER", exp=int(time()) - 3), SECRET, "HS256")  # Within the leeway of 5 s.
    async with reached.connected() as client:
        await client.sign_in(token=token)
        await client.subscribe("live", CREDITS)
        assert credits_of(await client.receive()) == 10
        assert await client.closed() == (4403, "EXPIRED: The token has expired: renew it or sign in again.")
    await reached.left()


@pytest.mark.parametrize("seconds", [0.1, 3600])
async def test_a_token_that_is_withdrawn(reached: Site, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """A socket's token is verified at each operation and at intervals: withdrawing its key closes the socket."""
    monkeypatch.setattr(server.transports.websocket, "TOKEN_SECONDS_MAX", seconds)
    async with reached.signed_in() as client:

        async def refuse(*_: object) -> None:
            raise InvalidToken(Reason.UNKNOWN_KEY, "Sign in again. " + "ä" * 200)

        monkeypatch.setattr(TokenVerifier, "prove", refuse)
        monkeypatch.setattr(TokenVerifier, "recall", lambda *_: None)
        if seconds > 1:
            await client.subscribe("1", "{ __typename }")
        code, reason = await client.closed()
        assert (code, reason[:27]) == (4403, "UNKNOWN_KEY: Sign in again.")
        assert len(reason.encode()) in {122, 123}


async def test_faults_are_masked(dsn: str, settings: Settings, database: Database) -> None:
    """A fault shows only an error id, which is also in the log; so do faults of simultaneous operations."""
    async with logged_site(settings, dsn) as (reached, log):
        user_id = await reached.api.register()
        await database.pool.execute(BREAK)
        log.read()
        async with reached.signed_in("root", Role.ADMIN) as client:
            for number in range(10):
                change = {"userId": user_id, "amount": 1, "kind": "ADJUSTMENT", "idempotencyKey": f"{number}"}
                change["memo"] = f"internal_memo {number}" if number % 2 else "fine"
                await client.subscribe(f"{number}", MUTATIONS["adjustUserCredits"], input=change)
            faults = set()
            for _ in range(20):
                message = await client.receive()
                assert not INTERNALS.search(json.dumps(message)), message
                assert message["type"] != "error", message
                if "errors" in message.get("payload", {}):
                    (error,) = message["payload"]["errors"]
                    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
                    assert int(message["id"]) % 2
                    faults.add(error["extensions"]["errorId"])
        await reached.left()
        lines = log.read()
        assert {line["request_id"] for line in lines if line["event"] == "fault"} == faults
        assert len(faults) == 5


async def test_each_operation_has_its_line(dsn: str, settings: Settings) -> None:
    """The log has one line per operation with its kind, and one per socket with its close code, refusals included."""
    async with logged_site(settings, dsn) as (reached, log):
        await reached.api.register()
        log.read()
        async with reached.signed_in() as client:
            await client.subscribe("live", CREDITS)
            await client.receive()
            await client.run("{ __typename }")
            await client.refused("{")
        await reached.left()
        lines = [line for line in log.read() if line["event"] in {"operation", "socket"}]
    assert [line.get("kind") for line in lines] == ["query", None, "subscription", None]
    assert [line["event"] for line in lines] == ["operation"] * 3 + ["socket"]
    assert len({line["request_id"] for line in lines}) == 4
    assert all(line["milliseconds"] >= 0 for line in lines[:3])
    assert (lines[3]["code"], lines[3]["operations"]) == (1000, 3)
    assert lines[3]["seconds"] >= 0


def unread(reached: Site) -> bool:
    """Return whether a client has so much unread that the server waits for it."""
    sockets = (each for each in reached.server.server_state.connections if isinstance(each, WebSocketsSansIOProtocol))
    return any(not each.writable.is_set() for each in sockets)


async def test_a_slow_consumer_delays_nobody(reached: Site) -> None:
    """A client that does not read delays no other; when it reads again, it gets the latest state of each operation."""
    await reached.api.register("ann", credits=1000)
    await reached.api.register("bob", credits=1000)
    title = "x" * 500
    await asyncio.gather(*(reached.api.create(f"first {number}", "bob", title=title) for number in range(100)))
    names = [f"{number}" for number in range(5)]
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.connect(reached.server.servers[0].sockets[0].getsockname())
        async with reached.signed_in("bob", sock=small) as slow, reached.signed_in("ann") as client:
            slow.connection.transport.pause_reading()
            for name in names:
                await slow.subscribe(name, "subscription { videosUpdated(first: 100) { nodes { title } } }")
            await client.subscribe("live", CREDITS)
            present = credits_of(await client.receive())
            more = 5
            while more:
                more -= unread(reached)
                present -= 1
                await reached.api.create(f"{present}", "bob", title=title)
                await reached.api.create(f"{present}", "ann")
                while credits_of(await client.receive()) != present:
                    pass
            await reached.api.create("last", "bob", title="last")
            slow.connection.transport.resume_reading()
            behind = set(names)
            while behind:
                message = await slow.receive()
                if message["payload"]["data"]["videosUpdated"]["nodes"][0]["title"] == "last":
                    behind.remove(message["id"])


async def test_a_query_that_waits_too_long(dsn: str, settings: Settings, database: Database) -> None:
    """Queries need admission slots, as over HTTP: excess and expired ones get RETRY. Subscriptions need no slot."""
    bounded = replace(settings, requests_at_once_max=1, requests_waiting_max=1, request_timeout_seconds=1)
    async with site(bounded, dsn) as reached:
        await reached.api.register()
        async with reached.signed_in() as client:
            async with locked(database):
                for name in ("works", "waits", "is too many"):
                    await client.subscribe(name, "{ viewer { credits } }")
                message = await client.receive()
                assert (message["id"], message["type"]) == ("is too many", "error")
                assert (await reached.api.client.post("/graphql", json={"query": "{ __typename }"})).status_code == 503
                messages = [await client.receive() for _ in range(3)]
                payloads = {message["id"]: message["payload"] for message in messages if message["type"] != "complete"}
                assert payloads["works"]["errors"][0]["extensions"]["code"] == "RETRY"
                assert payloads["waits"][0]["extensions"]["code"] == "RETRY"
            for number in range(3):
                await client.subscribe(f"{number}", CREDITS)
                assert credits_of(await client.receive(), f"{number}") == 10
            assert await client.run("{ viewer { credits } }") == {"viewer": {"credits": 10}}


async def test_an_abandoned_mutation_is_finished(reached: Site, database: Database) -> None:
    """A running mutation is finished even if the client completes it or closes the socket."""
    await reached.api.register()
    video = {"title": "Whales", "videoStyle": "realistic"}
    async with reached.signed_in() as client, locked(database):
        for key in ("1", "2"):
            await client.subscribe(key, MUTATIONS["createVideoData"], input={**video, "idempotencyKey": key})
        await blocked(database)
        await client.send(type="complete", id="1")
        await client.connection.close()
    await reached.left()
    for key in ("1", "2"):
        assert (await reached.api.create(key))["replayed"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such bound")
async def test_a_client_that_never_reads_is_disconnected(
    dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that never reads loses its connection, and all its subscriptions end."""
    monkeypatch.setattr(server.transports.http_protocol, "UNREAD_SECONDS_MAX", 1)
    async with site(settings, dsn) as reached:
        await reached.api.register()
        await asyncio.gather(*(reached.api.create(f"{number}", title="x" * 500) for number in range(30)))
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.connect(reached.server.servers[0].sockets[0].getsockname())
            async with reached.signed_in(sock=small, close_timeout=0) as client:
                await client.subscribe("live", CREDITS)
                client.connection.transport.pause_reading()
                with suppress(ConnectionClosed):
                    for number in count():
                        await client.subscribe(f"{number}", "{ viewer { videos(first: 30) { nodes { title } } } }")
                        await asyncio.sleep(0.01)
                await reached.left()


async def test_a_client_that_answers_no_pings(dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers no pings is disconnected, and everything of it released; one that answers stays."""
    monkeypatch.setattr(server.serve, "PING_SECONDS", 0.2)
    async with site(settings, dsn) as reached:
        await reached.api.register()
        async with reached.signed_in() as client:
            async with reached.signed_in(close_timeout=0) as gone:
                await gone.subscribe("live", CREDITS)
                await gone.receive()
                gone.connection.transport.pause_reading()
                while len(reached.app.state.streams) > 1:  # noqa: ASYNC110 - there is no event to wait for
                    await asyncio.sleep(0.01)
            assert not reached.app.state.live.subjects()
            assert await client.run("{ __typename }") == {"__typename": "Query"}


@pytest.mark.parametrize("times", [100, pytest.param(3334, marks=pytest.mark.soak)])
async def test_nothing_is_left(reached: Site, times: int) -> None:
    """However a socket ends, no task, watch or slot remains: closed, cut, or during its handshake."""
    await reached.api.register()

    async def come_and_go(number: int) -> None:
        async with reached.signed_in() as client:
            await client.subscribe("live", CREDITS)
            await client.subscribe("entries", "subscription { creditEntryAdded { cursor } }")
            if number % 2:
                await client.receive()
            if number % 3 == 0:
                client.connection.transport.abort()
            elif number % 3 == 1:
                await client.send(type="complete", id="live")

    async def give_up(number: int) -> None:
        async with reached.connected() as client:
            if number % 2:
                client.connection.transport.abort()

    await asyncio.gather(*(come_and_go(0) for _ in range(3)))
    await reached.left()
    before = asyncio.all_tasks()
    for start in range(0, times, 20):
        async with asyncio.TaskGroup() as group:
            for number in range(start, min(start + 20, times)):
                group.create_task(come_and_go(number))
                group.create_task(come_and_go(number + 1))
                group.create_task(give_up(number))
    await reached.left()
    async with asyncio.timeout(30):  # Some tasks of the database's, and of the clients', end a little later.
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - no event reports the end of any task
            await asyncio.sleep(0.002)
    assert await reached.api.balance() == 10
