"""Deadlines, of which one timer watches over all."""

import asyncio
import math
from asyncio import CancelledError
from operator import attrgetter
from types import TracebackType
from typing import Any, Protocol


class Due(Protocol):
    """What has a deadline, by the event loop's clock; `expire` is called when it has passed."""

    deadline: float

    def expire(self) -> None: ...


class Deadlines:
    """Watches over what is to be done by some time.

    As `asyncio.timeout_at`, which sets a timer for each: that takes as long as to read the request. Here there is one,
    for the first deadline that there was when it was set.
    """

    def __init__(self) -> None:
        self._open: set[Due] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_time = 0.0
        self.latest = math.inf  # No deadline is later.

    def end_by(self, time: float) -> None:
        """Let no deadline, of now or later, be after this time."""
        self.latest = time
        if self._timer is not None and self.loop is not None:
            self._set_timer(self.loop, self._timer_time)

    def add(self, due: Due, loop: asyncio.AbstractEventLoop) -> None:
        """Watch over it."""
        self._open.add(due)
        if self.loop is not loop:  # The timer, if there is one, ended with its loop.
            self.loop, self._timer = loop, None
        if self._timer is None or due.deadline < self._timer_time:
            self._set_timer(loop, due.deadline)

    def remove(self, due: Due) -> None:
        """Watch over it no more; the timer stays: to set it anew each time would be to have one for each."""
        self._open.discard(due)

    def expire_all(self) -> None:
        """Expire everything that is watched over now, whatever its deadline."""
        due, self._open = self._open, set()
        for each in due:
            each.expire()

    def _set_timer(self, loop: asyncio.AbstractEventLoop, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_time = min(time, self.latest)
        self._timer = loop.call_at(self._timer_time, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for due in sorted(self._open, key=attrgetter("deadline")):
            time = min(due.deadline, self.latest)
            if time > now:
                self._set_timer(loop, time)
                return
            self._open.remove(due)
            due.expire()


class Section:
    """A block of a task with a deadline, entered once, with `with`: when it has passed, it ends in TimeoutError."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "deadline")

    def __init__(self, deadlines: Deadlines, deadline: float) -> None:
        self.deadline = deadline
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        # Asked of the loop that is known: to ask which one runs is a call of the system in Python 3.11.
        task = asyncio.current_task(self._deadlines.loop) or asyncio.current_task()
        assert task is not None  # noqa: S101 - it is entered in a coroutine, which only a task runs
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._deadlines.add(self, task.get_loop())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._expired:
            self._deadlines.remove(self)
        # Whoever else has cancelled the task meanwhile means it: then it stays cancelled.
        elif self._task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, CancelledError):
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self._task.cancel()
