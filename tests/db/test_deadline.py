"""Deadlines that share a timer: whoever is late is told so, and nobody else."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
import uvloop

from db.deadline import Deadlines, Section

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


class Late(Exception):  # noqa: N818 - It is what was found, and reads so where it is caught.
    """What a task ended with whose deadline passed."""


async def wait(deadlines: Deadlines, seconds: float) -> None:
    """Wait for ever, or until the deadline."""
    try:
        with Section(deadlines, asyncio.get_running_loop().time() + seconds):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        raise Late from None


@pytest.mark.parametrize("new_loop", LOOPS)
def test_each_ends_when_its_time_has_come(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Deadlines pass in the order of their times, whatever that of their beginnings, and in a second loop too."""
    deadlines = Deadlines()

    async def all_of(*times: float) -> None:
        order: list[float] = []
        started = asyncio.get_running_loop().time()

        async def one(seconds: float) -> None:
            with pytest.raises(Late):
                await wait(deadlines, seconds)
            assert asyncio.get_running_loop().time() >= started + seconds - 0.002  # Timers have whole milliseconds.
            order.append(seconds)

        await asyncio.gather(*(one(seconds) for seconds in times))
        assert order == sorted(times)

    for _ in range(2):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(all_of(0.06, 0.02, 0.1, 0.04, -1, 0.08))


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_timer_ends_with_its_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A timer that a loop left behind is none to rely on."""
    deadlines = Deadlines()

    async def begin() -> None:
        with Section(deadlines, asyncio.get_running_loop().time() + 0.02):
            pass

    for work in (begin(), wait(deadlines, 0.04)):
        with asyncio.Runner(loop_factory=new_loop) as runner, suppress(Late):
            runner.run(asyncio.wait_for(work, 1))


async def test_an_earlier_deadline_waits_for_no_later_one() -> None:
    """A deadline that is set later and is to pass earlier does."""
    deadlines = Deadlines()
    late = asyncio.create_task(wait(deadlines, 60))
    await asyncio.sleep(0)
    with pytest.raises(Late):
        await asyncio.wait_for(wait(deadlines, 0.01), 5)
    assert not late.done()
    late.cancel()


async def test_whoever_is_done_is_left_alone() -> None:
    """A task that has left in time is not cancelled, though the timer of its deadline goes on; others are in time."""
    deadlines = Deadlines()
    now = asyncio.get_running_loop().time()
    with Section(deadlines, now + 0.02):
        await asyncio.sleep(0)
    later = asyncio.create_task(wait(deadlines, 0.05))
    await asyncio.sleep(0.03)
    assert not later.done()
    with pytest.raises(Late):
        await later


@pytest.mark.parametrize("open_before", [True, False])
async def test_no_deadline_is_later_than_the_end(open_before: bool) -> None:
    """An end that is set for all deadlines holds for those of then and of later, whatever the timer waits for."""
    deadlines = Deadlines()
    tasks = [asyncio.create_task(wait(deadlines, 60))]
    await asyncio.sleep(0)
    if not open_before:
        tasks.pop().cancel()
        await asyncio.sleep(0)
    deadlines.end_by(asyncio.get_running_loop().time() + 0.01)
    tasks.append(asyncio.create_task(wait(deadlines, 60)))
    await asyncio.wait(tasks, timeout=10)
    assert all(isinstance(task.exception(), Late) for task in tasks)
    with pytest.raises(Late):
        await asyncio.wait_for(wait(deadlines, 60), 10)


async def test_what_else_is_raised_stays() -> None:
    """An error that is raised by then is raised on, and nothing is left of the deadline."""
    deadlines = Deadlines()
    with pytest.raises(KeyError), Section(deadlines, asyncio.get_running_loop().time() + 0.01):
        raise KeyError
    await asyncio.sleep(0.02)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_whoever_is_cancelled_stays_cancelled() -> None:
    """A cancellation by somebody else is none of the deadline's, before it passes or at the same time."""
    deadlines = Deadlines()
    early = asyncio.create_task(wait(deadlines, 60))
    await asyncio.sleep(0)
    early.cancel()
    with pytest.raises(asyncio.CancelledError):
        await early

    async def wait_and_clean_up() -> None:
        with Section(deadlines, asyncio.get_running_loop().time() + 0.01):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await asyncio.sleep(60)

    both = asyncio.create_task(wait_and_clean_up())
    await asyncio.sleep(0.03)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_a_deadline_within_another() -> None:
    """Of two deadlines the one that passes is told, by whoever set it."""
    deadlines = Deadlines()

    async def one_within_another(outer: float, inner: float) -> str:
        now = asyncio.get_running_loop().time()
        try:
            with Section(deadlines, now + outer):
                try:
                    await wait(deadlines, inner)
                except Late:
                    return "inner"
        except TimeoutError:
            return "outer"
        return "none"

    for outer, inner in ((0.01, 1), (1, 0.01)):
        assert await one_within_another(outer, inner) == ("inner" if inner < outer else "outer")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
