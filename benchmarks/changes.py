"""Changes of balances, and of one video, at a steady pace, by a process that announces them to others."""

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid4

import uvloop

import db.database
import db.user
import db.video_data
from benchmarks.cases import SCRIPT
from benchmarks.stage import Stage
from db.change_feed import ChangeFeed

AT_ONCE = 16
VIDEO_CHANGES_PER_SECOND = 5
LONG_SCRIPT = SCRIPT * 40  # What is not read of it is soon more than the network holds.
_HASH, _ACTOR = bytes(32), "ADMIN:benchmark"


class Changed(NamedTuple):
    """Which version a user was given, and when the statement had returned, on the clock that all processes share."""

    subject: int
    version: int
    time: float


def change(stage: Stage, users: int, per_second: float, video: tuple[UUID, UUID] | None) -> list[Changed]:
    """Change the balances of the first ``users`` in turn, and a video beside, for as long as a run takes."""
    changed: list[Changed] = []
    run = uuid4().hex

    async def work(database: db.database.Database, numbers: Iterator[int], begin: float) -> None:
        for n in numbers:
            await asyncio.sleep(max(0.0, begin + n / per_second - time.monotonic()))
            if time.monotonic() >= begin + stage.seconds:
                return
            user_id = stage.identities[n % users].user_id
            row = await db.user.adjust_user_credits(
                database, user_id, f"{run}-{n}", _HASH, user_id, 1, False, "PURCHASE", _ACTOR, "1 credit"
            )
            assert row.wallet is not None
            changed.append(Changed(n % users, row.wallet.version, time.monotonic()))

    async def write(database: db.database.Database, begin: float, user_id: UUID, video_id: UUID) -> None:
        while time.monotonic() < begin + stage.seconds:
            stored = {"script": f"{time.monotonic()} {LONG_SCRIPT}"}
            await db.video_data.update_video_data(database, user_id, video_id, None, stored)
            await asyncio.sleep(1 / VIDEO_CHANGES_PER_SECOND)

    async def work_all() -> None:
        database = await db.database.connect(stage.dsn, pool_size=AT_ONCE + 1, timeout_seconds=10)
        feed = ChangeFeed(
            stage.dsn,
            notify=True,
            subjects=lambda: (),
            follows_queue=lambda: False,
            heard=lambda _: None,
            queue_moved=lambda: None,
        )
        database.on_change = feed.announce
        async with feed.running(), asyncio.TaskGroup() as tasks:
            numbers, begin = count(), time.monotonic()
            for _ in range(AT_ONCE):
                tasks.create_task(work(database, numbers, begin))
            if video is not None:
                tasks.create_task(write(database, begin, *video))
        await database.close()

    uvloop.run(work_all())
    return changed
