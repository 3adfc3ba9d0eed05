"""When the server runs the garbage collector."""

import asyncio
import gc
import sys
import weakref
from contextlib import suppress

import pytest

import server.process.garbage_collection
from server.process.garbage_collection import NEVER, YOUNG, collect_seldom


class Knot:
    """An object in a reference cycle."""

    def __init__(self) -> None:
        self.end = self


async def test_old_garbage_is_collected_when_memory_has_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that became garbage when old, such as sockets, are collected once memory has doubled, not long before."""
    monkeypatch.setattr(server.process.garbage_collection, "LOOK_SECONDS", 0.001)
    before = gc.get_threshold()
    knot = Knot()
    collecting = asyncio.create_task(collect_seldom())
    await asyncio.sleep(0.01)
    reference = weakref.ref(knot)
    del knot
    gc.collect(1)
    await asyncio.sleep(0.01)
    assert reference() is not None
    assert gc.get_threshold() == (YOUNG, NEVER, NEVER)

    as_many_more = [object() for _ in range(sys.getallocatedblocks() + 100_000)]
    async with asyncio.timeout(30):
        while reference() is not None:  # noqa: ASYNC110 - the garbage collector has no event
            await asyncio.sleep(0.001)
    del as_many_more

    collecting.cancel()
    with suppress(asyncio.CancelledError):
        await collecting
    assert gc.get_threshold() == before
