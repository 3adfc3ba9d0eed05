"""When Python collects garbage in reference cycles, while everything else waits."""

import asyncio
import gc
import sys

LOOK_SECONDS = 1.0
NEVER = 1_000_000_000
# Python collects the youngest generation after every 700 allocations, as many as a few requests hold: for nothing.
YOUNG = 10_000


async def collect_seldom() -> None:
    """Collect the youngest generation every 10,000 allocations, all when memory has doubled, until cancelled.

    With 5,000 subscribers a full collection takes 0.8 seconds, and Python would run one every few seconds. Some cycles
    there are: exceptions leave them behind. The middle generation is never collected by itself: what survives the first
    collection is hardly ever garbage, and a second one takes up to 30 ms.
    """
    steps = gc.get_threshold()
    gc.set_threshold(YOUNG, NEVER, NEVER)
    try:
        while True:
            gc.collect()
            left = sys.getallocatedblocks()
            while sys.getallocatedblocks() < 2 * left:  # noqa: ASYNC110 - nobody tells how many there are
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        gc.set_threshold(*steps)
