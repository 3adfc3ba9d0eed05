"""When Python looks through all objects for garbage in cycles, while everything else waits."""

import asyncio
import gc
import sys

LOOK_SECONDS = 1.0
NEVER = 1_000_000_000
# Python looks through new objects whenever there are 700 more, which a few requests hold at a time: for nothing.
YOUNG = 10_000


async def collect_seldom() -> None:
    """Look through all objects when there are twice as many as were left the last time, until cancelled.

    Of 5,000 subscribers there are so many that it takes 0.8 seconds, and Python by itself does it every few seconds. It
    must not be never: exceptions may leave cycles behind. New objects are looked through once, more often, but not as
    often as Python does: those that are left are hardly ever garbage, and a second look takes up to 30 ms.
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
