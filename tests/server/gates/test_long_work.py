"""Long bodies and new documents take a bounded share of the event loop's time, however many clients send them."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest
from graphql import GraphQLSchema

import server.gates.long_work
import server.transports.fast_path
import server.transports.websocket
from server.gates.long_work import LongWork
from server.operations.document import Documents, Prepared
from server.process.settings import Settings
from server.wire.request import SHORT_BODY_BYTES, Refused
from tests.server.transports.test_fast_path import ANSWER, request
from tests.server.transports.test_hostile_sockets import opened, until
from tests.sockets import site


async def test_work_is_done_at_a_pace() -> None:
    """Work that has to wait is done piece by piece, for one owner after the other; what fails, fails for its owner."""
    work = LongWork(100)
    done: list[str] = []

    def fail() -> None:
        done.append("fails")
        raise KeyError

    async with asyncio.TaskGroup() as group:
        work._paced = asyncio.get_running_loop().time() + 1  # noqa: SLF001 - as after long work
        for name in ("a1", "a2", "a3", "b1"):
            group.create_task(work.do(name[0], partial(done.append, name)))
        await asyncio.sleep(0)
        assert done == []
        with pytest.raises(KeyError):
            await work.do("b", fail)
    assert done == ["a1", "b1", "a2", "fails", "a3"]
    assert not work.waiting


async def test_work_that_waits_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as much work may wait as requests run, half of it of one owner; work whose client leaves is not done."""
    monkeypatch.setattr(server.gates.long_work, "LONG_WORK_SHARE_MAX", 1e-9)
    work = LongWork(8)
    done: list[str] = []
    await work.do("a", lambda: done.append("first"))
    waiting = [asyncio.create_task(work.do(owner, lambda: done.append("more"))) for owner in ("a", "a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="too much to do"):
        await work.do("a", lambda: done.append("more"))
    waiting.append(asyncio.create_task(work.do("c", lambda: done.append("more"))))
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="too much to do"):
        await work.do("d", lambda: done.append("more"))
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    assert not work.waiting
    assert done == ["first"]


@pytest.mark.parametrize("what", ["documents", "bodies", "messages"])
async def test_long_work_of_many_clients(
    settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Of many long requests that arrive together, one is read or prepared, while others' requests are answered."""
    place, name = {
        "documents": (Documents, "_prepared"),
        "bodies": (server.transports.fast_path, "read_body"),
        "messages": (server.transports.websocket, "read_message"),
    }[what]
    count = 0
    original = getattr(place, name)

    def note(*given: object) -> object:
        nonlocal count
        if what == "documents" or len(str(given[0])) > SHORT_BODY_BYTES:
            count += 1
        return original(*given)

    async with site(settings, dsn) as reached, AsyncExitStack() as stack:
        other = await stack.enter_async_context(opened(reached))
        other.send(request())
        assert (await other.receive())[::2] == (200, ANSWER)
        monkeypatch.setattr(place, name, note)
        monkeypatch.setattr(server.gates.long_work, "LONG_WORK_SHARE_MAX", 1e-9)
        for number in range(10):
            if what == "messages":
                client = await stack.enter_async_context(reached.signed_in())
                await client.send(type="ping", payload={"a": " " * SHORT_BODY_BYTES})
            else:
                stranger = await stack.enter_async_context(opened(reached))
                query = f"{{ a{number}: __typename }}" if what == "documents" else "{ __typename }"
                long = " " * (SHORT_BODY_BYTES if what == "bodies" else 0)
                stranger.send(request(json.dumps({"query": query}).encode() + long.encode()))
        work: LongWork = reached.app.state.pipeline.long_work
        await until(lambda: sum(map(len, work.waiting.values())) >= 9)
        for _ in range(10):
            other.send(request())
            assert (await other.receive())[::2] == (200, ANSWER)
        assert count <= 1
        monkeypatch.undo()
        work._paced = 0.0  # noqa: SLF001 - as after a while
        work._take_turn()  # noqa: SLF001 - the same
        await until(lambda: not work.waiting)


async def test_many_requests_with_one_new_document(
    settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that arrive together with the same new document wait for one preparation, and none is refused."""
    prepared: list[str] = []
    original = Documents._prepared  # noqa: SLF001 - it is counted

    def note(documents: Documents, schema: GraphQLSchema, text: str) -> Prepared:
        prepared.append(text)
        return original(documents, schema, text)

    monkeypatch.setattr(Documents, "_prepared", note)
    async with site(replace(settings, requests_at_once_max=4), dsn) as reached, AsyncExitStack() as stack:
        work: LongWork = reached.app.state.pipeline.long_work
        clients = [await stack.enter_async_context(opened(reached)) for _ in range(4)]
        for client in clients:
            work._paced = asyncio.get_running_loop().time() + 0.3  # noqa: SLF001 - as after long work
            client.send(request(b'{"query": "{ a: __typename }"}'))
        assert [(await client.receive())[0] for client in clients] == [200] * 4
    assert prepared == ["{ a: __typename }"]
