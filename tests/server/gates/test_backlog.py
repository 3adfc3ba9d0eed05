"""What connections have sent ahead takes a bounded share of the event loop, however many connections send it."""

import asyncio
from contextlib import AsyncExitStack

import pytest

import server.gates.backlog
import server.transports.websocket_protocol
from db.database import Database
from server.gates.backlog import Backlog
from server.operations.run import Runner
from server.process.settings import Settings
from server.transports.websocket_protocol import WebSocketProtocol
from tests.race import blocked
from tests.server.transports.test_fast_path import ANSWER, request
from tests.server.transports.test_hostile_sockets import FRAMES, HANDSHAKE, LIVEZ, OFFER, opened, until
from tests.sockets import site


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let turns follow each other at once, and be postponed nine times while requests run."""
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_MAX", 1e9)
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_WHILE_BUSY", 1e8)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection have a turn."""
    monkeypatch.setattr(server.gates.backlog, "TURNS_PER_SECOND_MAX", 1e-6)


@pytest.mark.usefixtures("fast")
async def test_addresses_take_turns() -> None:
    """One call is made in each turn, of one address after the other; what a call adds comes after all of its own."""
    backlog = Backlog()
    taken: list[str] = []

    def add(address: str, name: str, then: str | None = None) -> None:
        def go_on() -> None:
            taken.append(name)
            if then is not None:
                add(address, then)

        backlog.add(address, go_on)

    add("x", "x1", then="x4")
    add("x", "x2")
    add("x", "x3")
    add("y", "y1", then="y2")
    assert taken == []
    await until(lambda: not backlog.waiting)
    assert taken == ["x1", "y1", "x2", "y2", "x3", "x4"]
    add("x", "later")
    await until(lambda: taken[-1] == "later")


@pytest.mark.usefixtures("fast")
async def test_a_lost_connection_has_no_turn() -> None:
    """What is discarded is neither called nor kept, and takes nobody's turn."""
    backlog = Backlog()
    taken: list[int] = []
    calls = [lambda number=number: taken.append(number) for number in range(4)]
    for number, call in enumerate(calls):
        backlog.add(number // 2, call)
    for number in (0, 2, 3, 3):
        backlog.discard(number // 2, calls[number])
    backlog.discard("nobody", calls[1])
    assert list(backlog.waiting) == [0]
    await until(lambda: not backlog.waiting)
    assert taken == [1]
    backlog.add(0, calls[0])
    backlog.discard(0, calls[0])
    await asyncio.sleep(0.01)
    backlog.add(0, calls[2])
    await until(lambda: taken == [1, 2])


@pytest.mark.usefixtures("fast")
async def test_turns_wait_for_requests() -> None:
    """While admitted requests run a turn is postponed, but not for ever; afterwards the next is not."""
    asked = 0
    busy = True

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return busy

    backlog = Backlog(is_busy)
    taken: list[int] = []
    for number in range(2):
        backlog.add(number, lambda: taken.append(asked))
    await until(lambda: len(taken) == 2)
    assert taken == [10, 20]
    busy = False
    backlog.add(0, lambda: taken.append(asked))
    await until(lambda: len(taken) == 3)
    assert taken[2] == 21


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note each operation that is executed."""
    noted: list[object] = []
    execute = Runner.execute

    async def note(*arguments: object) -> object:
        noted.append(arguments)
        return await execute(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(Runner, "execute", note)
    return noted


@pytest.mark.usefixtures("never")
async def test_no_pipelined_request_begins_before_its_turn(
    settings: Settings, dsn: str, executed: list[object]
) -> None:
    """Of each connection that pipelines one request is begun; others' requests are answered at once."""
    async with site(settings, dsn) as reached, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(reached)) for _ in range(30)]
        for client in clients:
            client.send(request() * 20)
            assert (await client.receive())[::2] == (200, ANSWER)
        other = await stack.enter_async_context(opened(reached))
        for _ in range(10):
            other.send(request())
            assert (await other.receive())[::2] == (200, ANSWER)
        assert len(executed) == len(clients) + 10


@pytest.mark.usefixtures("never")
async def test_a_connection_without_a_turn_is_closed(settings: Settings, dsn: str) -> None:
    """Connections that wait for a turn leave nothing behind when they are lost, and the server closes them at once."""
    async with site(settings, dsn) as reached, AsyncExitStack() as stack:
        backlog = reached.app.state.backlog
        clients = [await stack.enter_async_context(opened(reached)) for _ in range(3)]
        for client in clients:
            client.send(request() * 2)
            assert (await client.receive())[0] == 200
        await until(lambda: sum(map(len, backlog.waiting.values())) == 3)
        clients[0].writer.transport.abort()
        await until(lambda: sum(map(len, backlog.waiting.values())) == 2)
        for connection in list(reached.server.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(30):
            assert await clients[1].reader.read() == b""
        await until(lambda: not backlog.waiting and not reached.server.server_state.connections)


@pytest.mark.usefixtures("never")
async def test_a_response_that_ends_its_connection_waits_for_no_turn(
    settings: Settings, dsn: str, database: Database
) -> None:
    """When the server stops, a connection is closed after the response that is being made, whatever else has come."""
    async with site(settings, dsn) as reached, opened(reached) as client, database.pool.acquire() as holder:
        async with holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            client.send(request() * 2)
            await blocked(database)
            (connection,) = reached.server.server_state.connections
            connection.shutdown()
        assert (await client.receive())[::2] == (200, ANSWER)
        async with asyncio.timeout(30):
            assert await client.reader.read() == b""


@pytest.mark.usefixtures("never")
async def test_frames_that_come_too_fast_wait_for_a_turn(
    settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket over its rate of frames parses no more before its turn, whatever else happens on it."""
    monkeypatch.setattr(server.transports.websocket_protocol, "FRAMES_PER_SECOND_MAX", 1000)
    async with site(settings, dsn) as reached, opened(reached) as client, opened(reached) as other:
        client.send(HANDSHAKE + OFFER + b"\r\n")
        assert b"101" in await client.reader.readuntil(b"\r\n\r\n")
        (socket,) = (each for each in reached.server.server_state.connections if isinstance(each, WebSocketProtocol))
        client.send(b"\x01\x80\0\0\0\0" + FRAMES["parts of a message"] * 10_000)
        await until(lambda: bool(reached.app.state.backlog.waiting))
        parsed = socket.conn.frames
        assert parsed < 2000
        socket.resume_writing()
        other.send(LIVEZ)
        assert (await other.receive())[0] == 200
        assert socket.conn.frames == parsed


async def test_pipelined_requests_are_all_answered(settings: Settings, dsn: str) -> None:
    """Connections that pipeline are answered in turn, each request once and in order."""
    async with site(settings, dsn) as reached, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(reached)) for _ in range(10)]
        for client in clients:
            client.send(request() * 20)
        for client in clients:
            for _ in range(20):
                assert (await client.receive())[::2] == (200, ANSWER)
        assert not reached.server.config.loaded_app.state.backlog.waiting
