"""`graphql-transport-ws` to the letter: the answer to each message, and the close code for each violation."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

import server.transports.websocket
from server.process.settings import Settings
from tests.sockets import Site, site

INIT = {"type": "connection_init"}
QUERY = {"query": "{ __typename }"}
SUBSCRIBE = {"type": "subscribe", "id": "1", "payload": QUERY}


@pytest.fixture
async def reached(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve the test's own database on a socket."""
    async with site(settings, dsn) as opened:
        yield opened


def subscribe(**payload: object) -> dict[str, object]:
    return {"type": "subscribe", "id": "1", "payload": payload}


def each(name: str, make: Callable[[Any], Any], values: Iterable[object]) -> dict[str, Any]:
    return {f"{name} {value!r}": make(value) for value in values}


NO_OBJECTS: list[object] = ["{}", 7, True, []]
MALFORMED: dict[str, object] = {
    "a binary frame": b'{"type": "ping"}',
    "nothing": "",
    "no JSON": "ping",
    "half an object": '{"type": "ping"',
    "two objects": '{"type": "ping"}{"type": "ping"}',
    "text": '"ping"',
    "a number": "7",
    "null": "null",
    "a list": [{"type": "ping"}],
    "100,000 brackets": "[" * 100_000,
    "100,000 brackets, closed": '{"type": "ping", "payload": {"a": %s}}' % ("[" * 100_000 + "]" * 100_000),
    "NaN": '{"type": "ping", "payload": {"a": NaN}}',
    "Infinity": '{"type": "ping", "payload": {"a": -Infinity}}',
    "a number of 5,000 digits": '{"type": "ping", "payload": {"a": %s}}' % ("9" * 5_000),
    "no type": {"payload": {}},
    "an unknown type": {"type": "start"},
    "a type that is no text": {"type": ["ping"]},
    "a type that is an object": {"type": {}},
    "a server's next": {"type": "next", "id": "1", "payload": {"data": None}},
    "a server's error": {"type": "error", "id": "1", "payload": []},
    "a server's connection_ack": {"type": "connection_ack"},
    **each("a ping with", lambda value: {"type": "ping", "payload": value}, NO_OBJECTS),
    **each("a complete of", lambda value: {"type": "complete", "id": value}, (None, "", 7, {}, "x" * 256, "\ud83d")),
    **each("a subscribe as", lambda value: {**SUBSCRIBE, "id": value}, (None, "", 7, [], "x" * 256, "\ud83d")),
    "a subscribe without id": {"type": "subscribe", "payload": QUERY},
    "a subscribe without payload": {"type": "subscribe", "id": "1"},
    **each("a subscribe of", lambda value: {**SUBSCRIBE, "payload": value}, NO_OBJECTS),
    **each("a query that is", lambda value: subscribe(query=value), (None, "", 7, {}, [], "{ a } # \ud83d")),
    **each("variables that are", lambda value: subscribe(**QUERY, variables=value), NO_OBJECTS),
    **each("extensions that are", lambda value: subscribe(**QUERY, extensions=value), NO_OBJECTS),
    **each("an operationName that is", lambda value: subscribe(**QUERY, operationName=value), (7, [], "\ud83d")),
    "a message that is too big": {"type": "ping", "payload": {"a": "x" * 1_048_576}},
}


def frame(message: object) -> str | bytes:
    return message if isinstance(message, str | bytes) else json.dumps(message)


async def test_malformed_messages_close_the_socket(reached: Site) -> None:
    """A malformed message closes its socket with 4400 and a reason; other sockets are unaffected."""
    async with reached.signed_in() as other:
        for name, wrong in MALFORMED.items():
            async with reached.signed_in() as client:
                await client.connection.send(frame(wrong))
                code, reason = await client.closed()
                assert (code, bool(reason)) == (4400, True), name
        assert await other.run("{ __typename }") == {"__typename": "Query"}


@pytest.mark.parametrize("authorization", [None, "Bearer x"])
async def test_a_message_without_a_valid_token(reached: Site, authorization: str | None) -> None:
    """Until a token has been verified a message may have 64 KiB, whatever the handshake's header says."""
    long = {"type": "ping", "payload": {"a": "x" * 65_536}}
    given = {} if authorization is None else {"Authorization": authorization}
    async with reached.connected(additional_headers=given) as client:
        await client.send(**long)
        assert (await client.closed())[0] == 4400
    async with reached.signed_in(None) as client:
        await client.send(**long)
        assert (await client.closed())[0] == 4400
    async with reached.signed_in() as client:
        await client.send(**long)
        assert (await client.receive())["type"] == "pong"


FIRST: dict[str, tuple[int, object]] = {
    "a subscribe": (4401, SUBSCRIBE),
    "a complete": (4400, {"type": "complete", "id": "1"}),
    "an unknown type": (4400, {"type": "start"}),
    "a binary frame": (4400, json.dumps(INIT).encode()),
    **each("an init with", lambda value: (4400, {**INIT, "payload": value}), NO_OBJECTS),
    **each(
        "an Authorization that is",
        lambda value: (4400, {**INIT, "payload": {"authorization": value}}),
        (7, {}, ["Bearer x"]),
    ),
    "a token that is none": (4403, {**INIT, "payload": {"Authorization": "Bearer undefined"}}),
    "a token without its scheme": (4403, {**INIT, "payload": {"Authorization": "x"}}),
    "an Authorization that is empty": (4403, {**INIT, "payload": {"Authorization": ""}}),
    "half a character": (4403, {**INIT, "payload": {"Authorization": "Bearer \ud83d"}}),
}


async def test_messages_before_connection_init(reached: Site) -> None:
    """Before `connection_init` only pings are allowed; any other message closes the socket with the protocol's code."""
    for name, (code, message) in FIRST.items():
        async with reached.connected() as client:
            await client.send(type="ping")
            assert await client.receive() == {"type": "pong"}
            await client.send(type="pong")
            await client.connection.send(frame(message))
            assert (await client.closed())[0] == code, name


async def test_a_client_that_does_not_initialize(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `connection_init` in time the socket is closed with 4408, despite pings; with it, it stays open."""
    monkeypatch.setattr(server.transports.websocket, "INIT_SECONDS_MAX", 0.2)
    async with reached.signed_in() as patient, reached.connected() as silent, reached.connected() as pinging:
        await pinging.send(type="ping")
        assert await pinging.receive() == {"type": "pong"}
        assert await silent.closed() == (4408, "Connection initialisation timeout")
        assert (await pinging.closed())[0] == 4408
        assert await patient.run("{ __typename }") == {"__typename": "Query"}


async def test_a_second_connection_init(reached: Site) -> None:
    """A second `connection_init` closes the socket with 4429."""
    async with reached.signed_in() as client:
        await client.send(**INIT)
        assert (await client.closed())[0] == 4429


async def test_pings_are_answered(reached: Site) -> None:
    """A ping gets a pong with the same payload, before and after the acknowledgement; a pong gets no answer."""
    async with reached.connected() as client:
        for _ in range(2):
            await client.send(type="ping", payload={"a": "ä"})
            assert await client.receive() == {"type": "pong", "payload": {"a": "ä"}}
            await client.send(type="ping", payload={"a": "\ud83d"})
            assert await client.receive() == {"type": "pong", "payload": {"a": "?"}}
            await client.send(type="pong", payload={})
            await client.send(type="ping")
            assert await client.receive() == {"type": "pong"}
            if not _:
                await client.sign_in()


@pytest.mark.parametrize("offered", [None, ["graphql-ws"], ["graphql-ws", "soap"]])
async def test_other_subprotocols_are_refused(reached: Site, offered: list[str] | None) -> None:
    """A client that does not offer the protocol, such as a legacy `graphql-ws` client, is closed with 4406."""
    async with reached.connected(subprotocols=offered) as client:
        assert client.connection.subprotocol is None
        assert (await client.closed())[0] == 4406


async def test_the_protocol_is_chosen_among_others(reached: Site) -> None:
    """The server picks its protocol when a client offers several."""
    async with reached.signed_in(subprotocols=["graphql-ws", "graphql-transport-ws"]) as client:
        assert client.connection.subprotocol == "graphql-transport-ws"
        assert client.connection.response is not None
        assert "Sec-WebSocket-Extensions" not in client.connection.response.headers


@pytest.mark.parametrize(("subject", "size"), [("ann", 2_000_000), (None, 100_000)])
async def test_huge_messages_are_not_read(reached: Site, subject: str | None, size: int) -> None:
    """A message far beyond the limit closes the socket with 1009 before it has arrived."""
    async with reached.signed_in(subject) as client:
        await client.connection.send("x" * size)
        assert (await client.closed())[0] == 1009
    async with reached.connected() as client:  # Before `connection_init`, nobody has signed in.
        await client.connection.send("x" * size)
        assert (await client.closed())[0] == 1009


async def test_messages_before_initialisation(reached: Site) -> None:
    """A socket takes a few pings before `connection_init`, not many."""
    async with reached.connected() as client:
        for _ in range(9):
            await client.send(type="ping")
            assert await client.receive() == {"type": "pong"}
        await client.sign_in()
    async with reached.connected() as client:
        for _ in range(10):
            await client.send(type="ping")
        for _ in range(9):
            assert await client.receive() == {"type": "pong"}
        assert (await client.closed())[0] == 4400
