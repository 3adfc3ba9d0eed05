"""Pipelined requests take a bounded share of the event loop, however many connections send them."""

from contextlib import AsyncExitStack

import pytest

import server.gates.backlog
from server.gates.backlog import Backlog
from server.process.settings import Settings
from server.transports.fast_path import FastRequest
from tests.server.transports.test_fast_path import ANSWER, request
from tests.server.transports.test_hostile_sockets import opened, until
from tests.sockets import site


async def test_one_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are taken up in their order, never at once, and what a piece adds comes last."""
    monkeypatch.setattr(server.gates.backlog, "PIECES_PER_SECOND_MAX", 1e9)
    backlog = Backlog()
    taken: list[str] = []

    def add(name: str, then: str | None = None) -> None:
        def go_on() -> None:
            taken.append(name)
            if then is not None:
                add(then)

        backlog.add(go_on)

    add("a", then="a again")
    add("b")
    add("c")
    assert taken == []
    await until(lambda: len(taken) == 4)
    assert taken == ["a", "b", "c", "a again"]
    add("later")
    await until(lambda: taken[-1] == "later")


async def test_pieces_wait_for_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """While requests run a piece is postponed, but not for ever; afterwards the next is not."""
    monkeypatch.setattr(server.gates.backlog, "PIECES_PER_SECOND_MAX", 1e9)
    monkeypatch.setattr(server.gates.backlog, "PIECES_PER_SECOND_MIN", 1e8)
    asked = 0
    busy = True

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return busy

    backlog = Backlog(is_busy)
    taken: list[int] = []
    for _ in range(2):
        backlog.add(lambda: taken.append(asked))
    await until(lambda: len(taken) == 2)
    assert taken == [10, 20]
    busy = False
    backlog.add(lambda: taken.append(asked))
    await until(lambda: len(taken) == 3)
    assert taken[2] == 21


async def test_connections_that_pipeline(settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all pipelined requests together one is begun at a time, while others' requests are answered at once."""
    begun = 0
    write = FastRequest.write

    async def note(each: FastRequest) -> object:
        nonlocal begun
        begun += 1
        return await write(each)

    monkeypatch.setattr(FastRequest, "write", note)
    monkeypatch.setattr(server.gates.backlog, "PIECES_PER_SECOND_MAX", 1e-6)
    async with site(settings, dsn) as reached, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(reached)) for _ in range(30)]
        for client in clients:
            client.send(request() * 20)
            assert (await client.receive())[::2] == (200, ANSWER)
        other = await stack.enter_async_context(opened(reached))
        for _ in range(10):
            other.send(request())
            assert (await other.receive())[::2] == (200, ANSWER)
        assert begun == len(clients) + 10


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
