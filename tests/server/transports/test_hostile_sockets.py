"""What a client can do to its connection: send without end, too slowly or nonsense, open too many, not read.

Work is counted by what is parsed, begun, buffered and still open, not by a clock.
"""

import asyncio
import gc
import json
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from graphql import ExecutionResult
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected

import server.gates.backlog
import server.transports.http_protocol
import server.transports.websocket_protocol
from db.database import Database
from server.gates.sockets import DESCRIPTORS_RESERVED
from server.operations.run import Runner
from server.process.settings import Settings
from server.transports.fast_path import FastPath, FastRequest
from server.transports.http_protocol import FRAMING_BYTES_MAX, HEAD_BYTES_MAX, HEAD_LINES_MAX, Protocol
from server.transports.socket_message import SocketMessage
from server.transports.websocket import _Socket
from server.transports.websocket_protocol import _PIECE_BYTES, WebSocketProtocol
from tests.race import blocked
from tests.server.transports.test_fast_path import ANSWER, QUERY, read, request
from tests.sockets import Site, logged_site, site

POST = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
NOWHERE = b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n"
LONG = POST + b"a: b\r\n" * HEAD_LINES_MAX + b"\r\n"
UPGRADE = b"upgrade: websocket\r\nconnection: Upgrade\r\n"
KEY = b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
HANDSHAKE = b"GET /graphql HTTP/1.1\r\nhost: x\r\n" + UPGRADE + KEY
OFFER = b"sec-websocket-protocol: graphql-transport-ws\r\n"
PING = b"\x89\xfd\0\0\0\0" + b"a" * 125
SENT_BYTES = 2 * (HEAD_BYTES_MAX + FRAMING_BYTES_MAX)


@pytest.fixture
async def reached(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    async with site(settings, dsn) as opened:
        yield opened


class Socket:
    """A connection of a client that need not speak HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # It is a transport that reads too.

    def read_on(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above

    async def receive(self) -> tuple[int, dict[str, str], Any]:
        """Read one response: its status, its headers, and what its JSON means."""
        async with asyncio.timeout(30):
            status, headers, body = await read(self.reader)
        return status, headers, json.loads(body)

    async def rest(self) -> bytes:
        """Read what comes until the connection is closed."""
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def refused(self) -> int:
        """Check for a refusal in the shape of every other error and for the connection's end; return the status."""
        status, headers, body = await self.receive()
        (error,) = body["errors"]
        assert error["extensions"]["code"] in {"BAD_USER_INPUT", "LIMIT_EXCEEDED"}
        assert error["extensions"]["errorId"] == headers["x-request-id"]
        assert (headers["connection"], headers["x-content-type-options"]) == ("close", "nosniff")
        assert await self.rest() == b""
        return status


@asynccontextmanager
async def opened(reached: Site, **options: Any) -> AsyncIterator[Socket]:
    to = () if "sock" in options else reached.address.split(":")
    reader, writer = await asyncio.open_connection(*to, **options)
    try:
        yield Socket(reader, writer)
    finally:
        writer.transport.abort()  # It may have unsent data, for which a mere `close` would wait.


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.002)


def connections(reached: Site) -> list[Protocol]:
    return [each for each in reached.server.server_state.connections if isinstance(each, Protocol)]


# Too much

ENDLESS: dict[str, tuple[bytes, bytes, int]] = {
    "header lines": (POST, b"a:\r\n", 431),
    "a header's value": (POST + b"a: ", b"a", 431),
    "a header's name": (POST, b"a", 431),
    "a handshake's header": (HANDSHAKE + b"a: ", b"a", 431),
    "the target": (b"GET /", b"a", 414),
    "the query": (b"GET /graphql?query=", b"a", 414),
    "trailer lines": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"a:\r\n", 431),
    "a trailer's value": (CHUNKED + b"2\r\n{}\r\n0\r\na: ", b"a", 431),
    "a chunk's extension": (CHUNKED + b"2;", b"a", 431),
    "extensions of many chunks": (CHUNKED, b"1;aaaaaaaaaaaaaaa\r\n \r\n", 431),
    "tiny chunks": (CHUNKED, b"1\r\n \r\n", 431),
}


@pytest.mark.parametrize("size", [100, 4096, 100_000])
@pytest.mark.parametrize("what", ENDLESS)
async def test_endless(reached: Site, monkeypatch: pytest.MonkeyPatch, what: str, size: int) -> None:
    """Endless input is refused at a limit, however it is split; little of it is parsed or kept."""
    lines = 0
    note = Protocol.on_header

    def count(connection: Protocol, name: bytes, value: bytes) -> None:
        nonlocal lines
        lines += 1
        note(connection, name, value)

    monkeypatch.setattr(Protocol, "on_header", count)
    start, piece, status = ENDLESS[what]
    sent = start + piece * (SENT_BYTES // len(piece))
    async with opened(reached) as client:
        client.send(start)
        await until(lambda: connections(reached))
        (connection,) = connections(reached)
        for at in range(len(start), len(sent), size):
            client.send(sent[at : at + size])
            if size < 4096:
                await asyncio.sleep(0)  # So that it comes in parts.
        assert await client.refused() == status
    assert lines <= HEAD_LINES_MAX + 4096 // len(b"a:\r\n") + 3
    assert len(connection._url) + len(connection._unparsed) <= HEAD_BYTES_MAX + 4096  # noqa: SLF001 - what it keeps


async def test_a_head_of_many_lines(reached: Site) -> None:
    """A head with as many lines as allowed is read; with one more it is refused, complete or not."""
    async with opened(reached) as client:
        most = LIVEZ.replace(b"\r\n\r\n", b"\r\n" + b"a:\r\n" * (HEAD_LINES_MAX - 1) + b"\r\n")
        client.send(most)
        assert (await client.receive())[0] == 200
        client.send(most.replace(b"\r\n\r\n", b"\r\na:\r\n\r\n"))
        assert await client.refused() == 431


@pytest.mark.parametrize(("size", "count"), [(HEAD_BYTES_MAX, 1), (HEAD_BYTES_MAX // 2, 3), (100, 100)])
async def test_a_long_head(reached: Site, size: int, count: int) -> None:
    """A head at the size limit is read, and a connection may send any number of heads."""
    head = LIVEZ[:-2] + b"a: " + b"a" * (size - len(LIVEZ) - len(b"a: \r\n") - 1) + b"\r\n\r\n"
    assert len(head) < HEAD_BYTES_MAX
    async with opened(reached) as client:
        for _ in range(2):
            client.send(head * count)
            for _ in range(count):
                assert (await client.receive())[0] == 200


@pytest.mark.parametrize("line", ["POST /graphql HTTP/1.1", "POST /graphql? HTTP/1.1"])
async def test_a_body_in_chunks(reached: Site, line: str) -> None:
    """A body in chunks of any common size, with an extension and a trailer, is read like a whole one."""
    body = json.dumps({"query": "{ viewer { id } }", "variables": {"a": "a" * 100_000}}).encode()
    for size in (8, 1000, 100_000):
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (len(body[at : at + size]), body[at : at + size]) for at in range(0, len(body), size)
        )
        async with opened(reached) as client:
            head = request(b"", line).replace(b"content-length: 0", b"transfer-encoding: chunked")
            client.send(head + chunks.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\na: b\r\n\r\n" + LIVEZ)
            assert (await client.receive())[::2] == (200, ANSWER)
            assert (await client.receive())[::2] == (200, {"status": "ok"})


# Too slow


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.transports.http_protocol, "HEAD_SECONDS_MAX", 0.5)


SLOW = {
    "nothing": (b"", 0),
    "empty lines": (b"\r\n\r\n", 0),
    "half a line": (b"POST /gra", 408),
    "half a header": (POST + b"a: ", 408),
    "half a handshake": (HANDSHAKE[:-20], 408),
    "half a request for the fast path": (request()[:60], 408),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("after_another", [False, True])
@pytest.mark.parametrize("what", SLOW)
async def test_a_head_that_does_not_arrive(reached: Site, what: str, after_another: bool) -> None:
    """A connection that sends no complete head in time is closed, with a response if it has sent part of one."""
    start, status = SLOW[what]
    if after_another and status == 0:
        return  # It may be idle for long.
    async with opened(reached) as client:
        if after_another:
            client.send(request())
            assert (await client.receive())[0] == 200
            await asyncio.sleep(0.7)  # Longer than the first head might have taken.
        client.send(start)
        dripping = asyncio.create_task(_drip(client, b"\r\n" if status == 0 else b"a"))
        if status:
            assert await client.refused() == status
        else:
            assert await client.rest() == b""
        dripping.cancel()
    await until(lambda: not reached.server.server_state.connections)


async def _drip(client: Socket, data: bytes) -> None:
    while True:
        await asyncio.sleep(0.1)
        client.send(data)


@pytest.mark.usefixtures("hasty")
async def test_a_keep_alive_connection(reached: Site) -> None:
    """The deadline for a head applies neither between requests nor while a response is sent."""
    async with opened(reached) as client:
        for _ in range(3):
            client.send(request())
            assert (await client.receive())[::2] == (200, ANSWER)
            await asyncio.sleep(0.6)


@pytest.mark.usefixtures("hasty")
async def test_a_body_that_arrives_after_its_response(reached: Site) -> None:
    """If the response did not need the body, the rest of the body has the deadline of a head."""
    async with opened(reached) as client:
        client.send(LIVEZ)
        assert (await client.receive())[0] == 200
        await asyncio.sleep(0.7)  # Longer than the first head might have taken.
        client.send(b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")
        assert (await client.receive())[0] == 405
        dripping = asyncio.create_task(_drip(client, b"a"))
        assert await client.rest() == b""
        dripping.cancel()


async def test_requests_set_no_timer(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection's deadlines need no timer for each request."""
    timers = 0
    set_timer = Protocol._set_timer  # noqa: SLF001 - what is counted

    def count(connection: Protocol, seconds: float) -> None:
        nonlocal timers
        timers += 1
        set_timer(connection, seconds)

    monkeypatch.setattr(Protocol, "_set_timer", count)
    async with opened(reached) as client:
        for _ in range(50):
            client.send(request())
            await client.receive()
    assert timers == 1


# Too many


async def test_sockets_of_an_address(settings: Settings, dsn: str) -> None:
    """Sockets per address are limited, WebSockets included. Excess is refused immediately, and logged rarely."""
    async with logged_site(replace(settings, sockets_per_address_max=3), dsn) as (reached, log):
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(opened(reached))
            await stack.enter_async_context(opened(reached))
            first.send(HANDSHAKE + OFFER + b"\r\n")
            assert b"101" in await first.reader.readuntil(b"\r\n\r\n")
            last = await stack.enter_async_context(opened(reached))
            last.send(request())
            assert (await last.receive())[0] == 200
            for _ in range(20):
                async with opened(reached) as refused:
                    status, headers, body = await refused.receive()
                    assert (status, headers["retry-after"]) == (429, "10")
                    assert body["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
                    assert await refused.rest() == b""
            last.send(request())
            assert (await last.receive())[0] == 200
            lines = [line["event"] for line in log.read() if line["level"] != "info"]
            assert lines == ["sockets_per_address_exceeded"]
        await until(lambda: not reached.server.server_state.connections)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                client = await stack.enter_async_context(opened(reached))
                client.send(request())
                assert (await client.receive())[0] == 200


async def test_sockets_of_a_trusted_proxy(settings: Settings, dsn: str) -> None:
    """A trusted proxy may open more sockets, since it has many clients."""
    one = replace(settings, sockets_per_address_max=1, trusted_proxies=("127.0.0.0/8",))
    async with site(one, dsn) as reached, opened(reached), opened(reached) as client:
        client.send(request())
        assert (await client.receive())[0] == 200


@pytest.fixture
def descriptors() -> Iterator[int]:
    """Allow this process few more file descriptors than it has, which a test may lower further."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("descriptors")
async def test_file_descriptors_run_out(settings: Settings, dsn: str, database: Database) -> None:
    """When file descriptors run out, connections without a request are closed, the longest idle first."""
    async with logged_site(settings, dsn) as (reached, log), AsyncExitStack() as stack:
        with socket.socket() as probe:
            limit = max(probe.fileno() + DESCRIPTORS_RESERVED + 60, 4 * DESCRIPTORS_RESERVED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        working = await stack.enter_async_context(opened(reached))
        holder = await stack.enter_async_context(database.pool.acquire())
        async with holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            working.send(request())
            await blocked(database)
            silent = [await stack.enter_async_context(opened(reached))]
            while not (silent[0].reader.at_eof() or silent[0].reader.exception()):
                silent.append(await stack.enter_async_context(opened(reached)))
            last = await stack.enter_async_context(opened(reached))
            last.send(LIVEZ)
            assert (await last.receive())[::2] == (200, {"status": "ok"})
        assert (await working.receive())[::2] == (200, ANSWER)
        warnings = [line["event"] for line in log.read() if line["level"] not in {"info", "debug"}]
        assert warnings == ["file_descriptors_running_out"]


# Not read


async def test_pipelined_requests_whose_responses_are_not_read(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a response is unread, no further request is started, and few are parsed and kept."""
    begun = parsed = 0
    content = "x" * 50_000
    begin = Protocol.on_message_begin

    async def execute(*_: object) -> ExecutionResult:
        nonlocal begun
        begun += 1
        return ExecutionResult({"a": content})

    def note(connection: Protocol) -> None:
        nonlocal parsed
        parsed += 1
        begin(connection)

    monkeypatch.setattr(Runner, "execute", execute)
    monkeypatch.setattr(Protocol, "on_message_begin", note)
    async with opened(reached) as client:
        client.stop_reading()
        client.send(request() * 900)
        await until(lambda: connections(reached))
        (connection,) = connections(reached)
        await until(lambda: connection.write_paused)
        stopped = begun
        await asyncio.sleep(0.3)
        assert begun == stopped < 300
        assert parsed <= stopped + 4096 // len(request()) + 2
        assert connection.transport.get_write_buffer_size() <= 65_536 + len(content) + 1000
        assert len(connection._unparsed) < 65_536 + 262_144  # noqa: SLF001 - what it keeps
        async with opened(reached) as other:
            other.send(request())
            assert (await other.receive())[0] == 200
        assert begun == stopped + 1
        client.read_on()
        for _ in range(900):
            assert (await client.receive())[::2] == (200, {"data": {"a": content}})


def _count_parsed(monkeypatch: pytest.MonkeyPatch) -> list[Protocol]:
    """Return a list that gets the connection of each request that is parsed from now on."""
    parsed: list[Protocol] = []
    begin = Protocol.on_message_begin

    def note(connection: Protocol) -> None:
        parsed.append(connection)
        begin(connection)

    monkeypatch.setattr(Protocol, "on_message_begin", note)
    return parsed


@pytest.mark.parametrize("first", [b"", POST + b"content-length: 1\r\n\r\n ", CHUNKED + b"1\r\n \r\n0\r\n\r\n"])
async def test_short_pipelined_requests(reached: Site, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """Of thousands of requests that arrive at once, few are parsed before their turn."""
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_MAX", 1e-6)
    parsed = _count_parsed(monkeypatch)
    shortest = b"GET / HTTP/1.1\r\n\r\n"
    async with opened(reached) as client:
        client.send(first + shortest * 3000)
        await client.receive()
        assert len(parsed) <= 256 // len(shortest) + 2


async def test_pipelined_requests_wait(reached: Site, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that arrive during another are kept unparsed, up to a limit, and answered afterwards."""
    parsed = _count_parsed(monkeypatch)
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_MAX", 1e9)
    count = 2**19 // len(LIVEZ)
    async with opened(reached) as client, database.pool.acquire() as holder:
        async with holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            client.send(request())
            await blocked(database)
            client.send(LIVEZ * count)
            await until(lambda: connections(reached)[0].read_paused)
            assert len(parsed) <= 2
        assert (await client.receive())[::2] == (200, ANSWER)
        for _ in range(count):
            assert (await client.receive())[0] == 200


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_response_that_is_read_too_slowly(
    reached: Site, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    """A client that reads far slower than it is sent to loses its connection, and what waited for it is freed."""
    monkeypatch.setattr(server.transports.http_protocol, "UNREAD_SECONDS_MAX", 1)
    monkeypatch.setattr(server.transports.http_protocol, "READ_BYTES_PER_SECOND_MIN", 2**30)

    async def execute(*_: object) -> ExecutionResult:
        return ExecutionResult({"a": "x" * 7_000_000})

    monkeypatch.setattr(Runner, "execute", execute)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Else the system buffers most of it.
    narrow.connect(reached.server.servers[0].sockets[0].getsockname())
    async with opened(reached, limit=1024, sock=narrow) as client:
        client.send(request(connection=connection))
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                while await client.reader.read(10_000):  # noqa: ASYNC110 - the client is slow
                    await asyncio.sleep(0.01)
        await until(lambda: not reached.server.server_state.connections)


async def test_pings_whose_answers_are_not_read(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stops reading a WebSocket whose client does not read, so unsent pongs do not accumulate."""
    monkeypatch.setattr(server.transports.websocket_protocol, "FRAMES_PER_SECOND_MAX", 2**30)
    monkeypatch.setattr(server.transports.websocket_protocol, "CONTROL_FRAMES_PER_SECOND_MAX", 2**30)
    async with opened(reached) as client:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        client.stop_reading()
        (connection,) = reached.server.server_state.connections
        assert isinstance(connection, WebSocketProtocol)
        for _ in range(200):
            client.send(PING * 1000)
        await until(lambda: not connection.writable.is_set())
        sizes = set()
        for _ in range(50):
            sizes.add(connection.transport.get_write_buffer_size())
            await asyncio.sleep(0.01)
        assert max(sizes) < 65_536 + 2 * 262_144


@pytest.mark.parametrize("over", ["fast path", "ASGI", "WebSocket"])
async def test_many_clients_that_do_not_read(reached: Site, monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    """All unread bytes together are limited. Beyond the limit, the connections that have waited longest are closed."""
    limit = 40_000_000
    monkeypatch.setattr(reached.server.config.loaded_app.state.unread_bytes, "_bytes_max", limit)

    async def execute(*_: object) -> ExecutionResult:
        return ExecutionResult({"a": "x" * 8_000_000})

    monkeypatch.setattr(Runner, "execute", execute)
    messages = [b'{"type":"connection_init"}', b'{"type":"subscribe","id":"1","payload":{"query":"{__typename}"}}']
    frames = b"".join(b"\x81" + bytes([0x80 | len(each)]) + b"\0\0\0\0" + each for each in messages)
    line = "POST /graphql HTTP/1.1" if over == "fast path" else "POST /graphql? HTTP/1.1"
    all_connections = reached.server.server_state.connections
    begun: list[Any] = []

    def began() -> bool:
        new = [each for each in all_connections if each not in begun and each.transport.get_write_buffer_size() > 10**6]
        begun.extend(new)
        return bool(new)

    async with AsyncExitStack() as stack:
        for _ in range(12):
            client = await stack.enter_async_context(opened(reached))
            if over == "WebSocket":
                client.send(HANDSHAKE + OFFER + b"\r\n")
                assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
            client.stop_reading()
            client.send(frames if over == "WebSocket" else request(line=line))
            await until(began)
            sizes = [each.transport.get_write_buffer_size() for each in begun]
            assert sum(sizes) <= limit
        assert sizes[0] == sizes[1] == 0
        assert all(sizes[-3:])
        await until(lambda: begun[0] not in all_connections)
        client.read_on()
        assert len(await client.reader.readexactly(8_000_000)) == 8_000_000


FRAMES = {
    "pings": b"\x89\x80\0\0\0\0",
    "pongs": b"\x8a\x80\0\0\0\0",
    "parts of a message": b"\x00\x80\0\0\0\0",
    "messages": b'\x81\x8f\0\0\0\0{"type":"ping"}',
}


@pytest.mark.parametrize("what", FRAMES)
async def test_many_frames(reached: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """WebSocket frames of every kind are parsed at a limited rate, a few at a time."""
    monkeypatch.setattr(server.transports.websocket_protocol, "FRAMES_PER_SECOND_MAX", 1)
    monkeypatch.setattr(server.transports.websocket_protocol, "CONTROL_FRAMES_PER_SECOND_MAX", 2**30)
    async with opened(reached) as client, opened(reached) as other:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        (connection,) = (
            each for each in reached.server.server_state.connections if isinstance(each, WebSocketProtocol)
        )
        if what == "parts of a message":
            client.send(b"\x01\x80\0\0\0\0")
        client.send(FRAMES[what] * 50_000)
        await until(lambda: connection.conn.frames)
        for _ in range(5):
            other.send(LIVEZ)
            assert (await other.receive())[0] == 200
        assert connection.conn.frames <= _PIECE_BYTES // len(FRAMES[what]) + 1
        assert not connection.transport.is_reading()


async def test_frames_that_come_too_fast_are_parsed_later(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate limit on frames loses none: each ping is answered."""
    monkeypatch.setattr(server.transports.websocket_protocol, "FRAMES_PER_SECOND_MAX", 5000)
    monkeypatch.setattr(server.transports.websocket_protocol, "CONTROL_FRAMES_PER_SECOND_MAX", 2**30)
    async with opened(reached) as client:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        client.send(PING * 8000)
        async with asyncio.timeout(30):
            assert await client.reader.readexactly(8000 * 127) == (b"\x8a\x7d" + b"a" * 125) * 8000


@pytest.mark.parametrize("what", ["pings", "pongs"])
async def test_a_socket_that_keeps_pinging(reached: Site, what: str) -> None:
    """A WebSocket beyond the limit on pings or pongs is closed with 1008 and freed; one at the limit stays open."""
    async with opened(reached) as client:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        client.send(FRAMES[what] * 98 + FRAMES["pings"])
        answered = 99 if what == "pings" else 1
        assert await client.reader.readexactly(2 * answered) == b"\x8a\0" * answered
        client.send(FRAMES[what] * 1000)
        pongs, close = (await client.reader.read()).split(b"\x88")
        assert len(pongs) < 2 * 1000
        assert close[1:3] == (1008).to_bytes(2)
        await until(lambda: not reached.server.server_state.connections)


@pytest.mark.parametrize("fragments", [1, 8])
async def test_messages_that_do_not_end(reached: Site, monkeypatch: pytest.MonkeyPatch, fragments: int) -> None:
    """Incomplete messages of all sockets take limited memory: the socket that exceeds it is closed with 1013."""
    memory = reached.server.config.loaded_app.state.body_memory
    monkeypatch.setattr(memory, "free", 1_400_000)
    size = 800_000 // fragments
    head = b"\xff" + size.to_bytes(8) + b"\0\0\0\0"
    begun = b"".join((b"\0" if number else b"\1") + head + b" " * size for number in range(fragments))[:-1]
    async with reached.signed_in() as first, reached.signed_in() as second, reached.signed_in() as other:
        first.connection.transport.write(begun)
        await until(lambda: memory.free < 700_000)
        second.connection.transport.write(begun)
        assert (await second.closed())[0] == 1013
        await until(lambda: memory.free > 650_000)
        await other.send(type="ping", payload={"a": "x" * 700_000})
        assert (await other.receive())["type"] == "pong"
        first.connection.transport.abort()
        await until(lambda: memory.free == 1_400_000)


async def test_a_message_that_waits_to_be_taken(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that has arrived takes of the limited memory until the socket takes it."""
    memory = reached.server.config.loaded_app.state.body_memory
    free = memory.free
    taking = asyncio.Event()
    take = _Socket._take  # noqa: SLF001 - what comes after a message is read

    async def wait(socket: _Socket, message: SocketMessage) -> None:
        await taking.wait()
        await take(socket, message)

    monkeypatch.setattr(_Socket, "_take", wait)
    async with reached.signed_in() as client:
        (connection,) = reached.server.server_state.connections
        assert isinstance(connection, WebSocketProtocol)
        for _ in range(2):
            await client.send(type="ping", payload={"a": "x" * 700_000})
        await until(lambda: not connection.queue.empty())
        assert memory.free < free - 600_000
        taking.set()
        for _ in range(2):
            assert (await client.receive())["type"] == "pong"
        assert memory.free == free


async def test_messages_that_wait_for_a_slow_client(reached: Site) -> None:
    """Messages that several operations send at once are written one at a time, as the client reads."""
    text = "x" * 1_000_000
    async with opened(reached, limit=2**26) as client:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        client.stop_reading()
        (connection,) = reached.server.server_state.connections
        assert isinstance(connection, WebSocketProtocol)
        message = {"type": "websocket.send", "text": text}
        sending = [asyncio.create_task(connection.send(message)) for _ in range(40)]  # type: ignore[arg-type]  # uvicorn's types
        await until(lambda: not connection.writable.is_set())
        client.read_on()
        sizes = [0]
        while not all(each.done() for each in sending):
            await asyncio.sleep(0)
            sizes.append(connection.transport.get_write_buffer_size())
        assert max(sizes) < 2 * len(text)


async def test_a_message_to_a_client_that_has_broken_the_protocol(reached: Site) -> None:
    """A message sent while a WebSocket closes for a protocol error counts as sent to a disconnected client."""
    async with opened(reached) as client:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        (connection,) = reached.server.server_state.connections
        assert isinstance(connection, WebSocketProtocol)
        connection.data_received(b"\xff\x81\0\0\0\0\xff")
        with pytest.raises(ClientDisconnected):
            await connection.send({"type": "websocket.send", "text": "x"})


@pytest.mark.parametrize("line", ["POST /graphql HTTP/1.1", "POST /graphql? HTTP/1.1", "POST /nowhere HTTP/1.1"])
async def test_an_idle_connection_keeps_no_request(reached: Site, line: str) -> None:
    """An idle connection keeps nothing of its last request, however large that was."""
    async with opened(reached) as client:
        client.send(request(QUERY + b" " * 200_000, line, x=60_000 * "x"))
        assert (await client.receive())[0] in {200, 404}
        (connection,) = connections(reached)
        await until(lambda: not reached.server.server_state.tasks)
        kinds = (FastRequest, RequestResponseCycle)
        await until(lambda: gc.collect() >= 0 and not any(isinstance(each, kinds) for each in gc.get_objects()))
        assert not [name for name, value in vars(connection).items() if isinstance(value, bytes | list) and value]


# Not valid

INVALID: dict[str, tuple[bytes, list[int]]] = {
    "no HTTP": (b"nonsense\r\n\r\n", [400]),
    "TLS": (b"\x16\x03\x01\x02\0", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "no such version": (b"GET / HTTP/9.9\r\n\r\n", [400]),
    "a target that is none": (b"GET /\xff HTTP/1.1\r\n\r\n", [400]),
    "a proxy's method": (b"CONNECT a:80 HTTP/1.1\r\nhost: x\r\n\r\n", [400]),
    "two lengths": (POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\n", [400]),
    "a length and chunks": (POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", [400]),
    "a length that is too long": (POST + b"content-length: 99999999999999999999999\r\n\r\n", [400]),
    "broken chunks": (CHUNKED + b"zz\r\n", [400]),
    "broken chunks after good ones": (CHUNKED + b"1\r\n{\r\n" * 2000 + b"zz\r\n", [400]),
    "broken chunks behind a request": (request() + CHUNKED + b"zz\r\n", [200, 400]),
    "garbage after a request": (request() + b"garbage\r\n\r\n", [200, 400]),
    "garbage after a request by ASGI": (LIVEZ + b"garbage\r\n\r\n", [200, 400]),
    "garbage after many for nothing": (NOWHERE * 200 + b"\0", [404] * 200 + [400]),
    "a long head after many for nothing": (NOWHERE * 200 + LONG, [404] * 200 + [431]),
    "garbage after many requests": (LIVEZ * 500 + request() + b"\0", [200] * 501 + [400]),
    "a handshake without a key": (b"GET /graphql HTTP/1.1\r\nhost: x\r\n" + UPGRADE + b"\r\n", [400]),
    "a handshake of an old version": ((HANDSHAKE + b"\r\n").replace(b"13", b"8"), [400]),
    "a handshake with a key that is none": ((HANDSHAKE + b"\r\n").replace(b"AA==", b"??=="), [400]),
    "a handshake with a body": (HANDSHAKE + OFFER + b"content-length: 5\r\n\r\nabcde", [400]),
    "a handshake with a long line": (HANDSHAKE + OFFER + b"a: " + b"a" * 9000 + b"\r\n\r\n", [431]),
    "a handshake after a request": (request() + HANDSHAKE + b"content-length: 5\r\n\r\n", [200, 400]),
}


@pytest.mark.parametrize("what", INVALID)
async def test_invalid_requests(settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """An invalid request gets a JSON error, after the responses to earlier requests, and no error-level log line."""
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_MAX", 1e9)
    data, (*before, last) = INVALID[what]
    async with logged_site(settings, dsn) as (reached, log):
        for cut in (len(data), len(data) - 4):
            async with opened(reached) as client:
                client.send(data[:cut])
                await asyncio.sleep(0.02)
                client.send(data[cut:])
                for status in before:
                    assert (await client.receive())[0] == status
                assert await client.refused() == last
        await until(lambda: not reached.server.server_state.connections)
        await until(lambda: not reached.server.server_state.tasks)
        assert [line for line in log.read() if line["level"] != "info"] == []


async def test_nothing_follows_a_refusal(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal nothing more is executed, even if its head equals an earlier one."""
    begun = 0
    begin = FastPath.begin

    def note(*given: Any) -> Any:
        nonlocal begun
        begun += 1
        return begin(*given)

    monkeypatch.setattr(FastPath, "begin", note)
    async with opened(reached) as client:
        client.send(request())
        assert (await client.receive())[0] == 200
        client.send(b"garbage\r\n\r\n")
        assert await client.refused() == 400
        client.send(request())
        (connection,) = connections(reached)
        await until(lambda: connection._refused_bytes == len(request()))  # noqa: SLF001 - what it ignores
        assert begun == 1


async def test_garbage_after_an_answer(reached: Site) -> None:
    """An answered request gets no second response, however its body continues."""
    async with opened(reached) as client:
        client.send(CHUNKED.replace(b"/graphql", b"/nowhere"))
        assert (await client.receive())[0] == 404
        client.send(b"zz\r\n")
        assert await client.rest() == b""


ABRUPT = {
    "a handshake at another site's wish": HANDSHAKE + OFFER + b"origin: https://evil.example\r\n\r\n",
    "a handshake where there is nothing": (HANDSHAKE + b"\r\n").replace(b"/graphql", b"/nowhere"),
    "a handshake with frames behind it": HANDSHAKE + OFFER + b"\r\n" + PING,
    "a handshake with garbage behind it": HANDSHAKE + OFFER + b"\r\n" + b"\xff" * 100,
    "a handshake and no more": HANDSHAKE + OFFER + b"\r\n",
    "a request and no more": request(),
    "half a body": request()[:-5],
    "half a body in chunks": CHUNKED + b"5\r\n{",
}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("what", ABRUPT)
async def test_abrupt_disconnects(settings: Settings, dsn: str, what: str, reset: bool) -> None:
    """However a client disconnects, everything of it is released, and no error is logged."""
    async with logged_site(settings, dsn) as (reached, log):
        for pause in (0, 0.05):
            async with opened(reached) as client:
                client.send(ABRUPT[what])
                await asyncio.sleep(pause)
                if reset:
                    client.writer.transport.abort()
                else:
                    client.writer.close()
                    await client.rest()
            await until(lambda: not reached.server.server_state.connections)
            await until(lambda: not reached.server.server_state.tasks)
        assert [line for line in log.read() if line["level"] != "info"] == []


async def test_invalid_websocket_text(settings: Settings, dsn: str) -> None:
    """WebSocket text that is not UTF-8, or an invalid frame, closes the socket, and is not logged as an error."""
    for frame in (b"\x81\x81\0\0\0\0\xff", b"\xff\x81\0\0\0\0\xff", b"\x81\x01a"):
        async with logged_site(settings, dsn) as (reached, log):
            async with opened(reached) as client:
                client.send(HANDSHAKE + OFFER + b"\r\n")
                assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
                client.send(frame)
                assert (await client.rest())[:1] == b"\x88"
            await reached.left()
            assert [line for line in log.read() if line["level"] != "info"] == []


# Not usual, but valid


@pytest.mark.parametrize("line", ["POST /graphql HTTP/1.1", "POST /graphql? HTTP/1.1"])
@pytest.mark.parametrize("length", ["30 ", "30\t", " 30", "00000000000000000000000000000030"])
async def test_unusual_lengths(reached: Site, line: str, length: str) -> None:
    """The fast path and ASGI read a Content-Length with spaces around it or leading zeros as the same number."""
    assert len(QUERY) == 30
    async with opened(reached) as client:
        for _ in range(2):
            client.send(request(line=line).replace(b"content-length: 30", b"content-length: " + length.encode()))
            assert (await client.receive())[::2] == (200, ANSWER)


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "websocket, h2c", "h2c, websocket", "TLS/1.0"])
async def test_an_upgrade_that_is_not_supported(reached: Site, upgrade: str) -> None:
    """A request for an unsupported upgrade is answered as if it had not asked, with its body and later requests."""
    head = request(b"", upgrade=upgrade, connection="upgrade")
    chunked = head.replace(b"content-length: 0", b"transfer-encoding: chunked")
    async with opened(reached) as client:
        for data in (
            request(upgrade=upgrade, connection="keep-alive, Upgrade"),
            chunked + b"1e\r\n" + QUERY + b"\r\n0\r\n\r\n",
        ):
            for cut in (len(data), 40, len(data) - 10):
                client.send(data[:cut])
                await asyncio.sleep(0.02)
                client.send(data[cut:] + LIVEZ)
                assert (await client.receive())[::2] == (200, ANSWER)
                assert (await client.receive())[::2] == (200, {"status": "ok"})


async def test_many_upgrades_at_once(settings: Settings, dsn: str) -> None:
    """Any number of pipelined requests may ask for an upgrade: each is answered."""
    async with logged_site(settings, dsn) as (reached, log):
        async with opened(reached) as client:
            client.send(LIVEZ.replace(b"\r\n\r\n", b"\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n") * 2000)
            for _ in range(2000):
                assert (await client.receive())[0] == 200
        await reached.left()
        assert [line for line in log.read() if line["level"] != "info"] == []


async def test_nothing_follows_a_refused_upgrade(settings: Settings, dsn: str) -> None:
    """An invalid upgrade request is refused once, and nothing after it is answered."""
    invalid = b"GET http://[ HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    async with logged_site(settings, dsn) as (reached, log):
        async with opened(reached) as client:
            client.send(invalid + LIVEZ * 3)
            assert await client.refused() == 400
        await reached.left()
        assert [line for line in log.read() if line["level"] != "info"] == []


async def test_a_handshake_behind_a_request(reached: Site, database: Database) -> None:
    """A WebSocket handshake sent before the last response is answered after it, and the socket works."""
    async with opened(reached) as client:
        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            client.send(request() + HANDSHAKE + OFFER + b"\r\n")
            await blocked(database)
        assert (await client.receive())[::2] == (200, ANSWER)
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        client.send(PING)
        async with asyncio.timeout(30):
            assert await client.reader.readexactly(127) == b"\x8a\x7d" + b"a" * 125


LIVES = {
    "answered": request(),
    "answered by ASGI": LIVEZ,
    "pipelined": request() * 20,
    "nothing": b"",
    "half a head": POST,
    "half a body": POST + b"content-length: 10\r\n\r\n{",
    "too long a head": LONG,
    "too many trailers": CHUNKED + b"1\r\n{\r\n0\r\n" + b"a: b\r\n" * 200,
    "garbage": b"\0\xff\r\n\r\n",
    "a refused document": request(json.dumps({"query": "{ " + "a " * 2000 + "}"}).encode()),
    "a WebSocket": HANDSHAKE + OFFER + b"\r\n" + PING,
    "a wrong handshake": HANDSHAKE.replace(b"13", b"7") + b"\r\n",
}


@pytest.mark.parametrize("what", LIVES)
async def test_nothing_is_left_to_the_garbage_collector(reached: Site, what: str) -> None:
    """A closed connection is freed immediately: finding it would make the garbage collector pause everybody else."""
    kinds = (Protocol, WebSocketProtocol, RequestResponseCycle, FastRequest)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            async with opened(reached) as client:
                client.send(LIVES[what])
                await asyncio.sleep(0.05)
        await until(lambda: not any(isinstance(each, kinds) for each in gc.get_objects()))
    finally:
        gc.enable()
