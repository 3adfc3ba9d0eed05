"""Live subscriptions of this process: each is woken when its rows may have changed, and all read together.

A `Watch` is one subscription's. The states of a watch, and what leads from one to the next:

    BUSY ────── its subscription asks to be woken, and nothing has changed ──────► IDLE
    BUSY ────── it asks to be woken, and a change came meanwhile ────────────────► RESTING or DUE
    IDLE ────── a change ────────────────────────────────────────────────────────► RESTING or DUE
    RESTING ─── its rest is over, or a new subscriber asks for a fresh state ────► DUE
    DUE ─────── the end of the gathering, with loaders to read with ─────────────► BUSY
    any ─────── the subscription ends ───────────────────────────────────────────► ENDED

A watch is BUSY from the moment its loaders are made until its subscription has read and shown everything. So each of
its readings begins after the previous one has ended, and versions never go backwards.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from uuid import UUID

from db.change_feed import Subject
from db.database import Database
from resolvers.loaders import Loaders

# Changes within this time are read together: one statement for each table, however many subscriptions read.
GATHER_SECONDS = 0.005
# After a reading, a watch rests before the next one, which then covers all changes in between. Continual changes double
# the rest each time, so that showing them leaves the CPU to the mutations; a rest without changes makes it short again.
REST_SECONDS_MIN = 0.05
REST_SECONDS_MAX = 0.5

State = Enum("State", ["BUSY", "IDLE", "RESTING", "DUE", "ENDED"])


class Watch:
    """One subscription: what it follows, as last seen, and when it may read again."""

    __slots__ = (
        "_asked",
        "_confirming",
        "_is_changed",
        "_live",
        "_rest",
        "_rest_timer",
        "_woken",
        "in_queue",
        "rest_seconds",
        "rests_until",
        "state",
        "subject",
    )

    def __init__(self, live: "Live", subject: Subject) -> None:
        self.subject = subject
        self.rest_seconds = 0.0  # the shortest time between two readings
        self.in_queue = False  # whether it shows a position in the render queue, which other wallets' videos change
        self.rests_until = 0.0
        self.state = State.BUSY
        self._live = live
        self._rest = 0.0  # the last one
        self._rest_timer: asyncio.TimerHandle | None = None
        self._is_changed = True  # since the last reading began; nothing has been read yet
        self._woken: asyncio.Future[Loaders] | None = None
        self._asked: list[asyncio.Future[None]] = []  # for a state that is read from now on
        self._confirming: list[asyncio.Future[None]] = []  # by the reading that has begun

    async def woken(self) -> Loaders:
        """Wait until the rows may have changed; return loaders that have read nothing yet."""
        assert self.state is State.BUSY  # noqa: S101 - one subscription, one reading at a time
        self.state = State.IDLE
        self._woken = asyncio.get_running_loop().create_future()
        if self._is_changed:
            self.change()
        return await self._woken

    def change(self) -> None:
        """Take note that the rows may have changed."""
        match self.state:
            case State.BUSY:
                self._is_changed = True
            case State.IDLE:
                if self._asked or self.rests_until <= asyncio.get_running_loop().time():
                    self._become_due()
                else:
                    self.state = State.RESTING
                    loop = asyncio.get_running_loop()
                    self._rest_timer = loop.call_at(self.rests_until, self._become_due)

    async def refreshed(self) -> None:
        """Have the rows read again at once; return when what was read after this call has been shown.

        A new subscriber of a stream that others follow already costs one reading, as the first one did; those that
        come together share it.
        """
        if self.state is State.ENDED:
            return
        asked = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        if self.state is State.RESTING:
            self._become_due()
        else:
            self.change()
        await asked

    def confirm(self) -> None:
        """Release those who asked for a fresh state: it has been shown, or equals what was shown before."""
        for asked in self._confirming:
            if not asked.done():
                asked.set_result(None)
        self._confirming.clear()

    def begin(self, loaders: Loaders, now: float) -> None:
        """Begin a reading with these loaders, and the rest after it."""
        assert self.state is State.DUE  # noqa: S101 - only then is it in the gathering
        assert self._woken is not None  # noqa: S101 - as above
        self.state, self._is_changed = State.BUSY, False
        is_quiet = now >= self.rests_until + self._rest
        self._rest = REST_SECONDS_MIN if is_quiet else min(2 * self._rest, REST_SECONDS_MAX)
        self.rests_until = now + max(self._rest, self.rest_seconds)
        self._confirming += self._asked
        self._asked.clear()
        if not self._woken.done():  # The subscription may have been cancelled.
            self._woken.set_result(loaders)

    def end(self) -> None:
        """Read no more; nobody waits for a fresh state any longer."""
        self._stop_resting()
        self.state = State.ENDED
        self._confirming += self._asked
        self.confirm()

    def _become_due(self) -> None:
        self._stop_resting()
        self.state = State.DUE
        self._live.gather(self)

    def _stop_resting(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None


class Live:
    """All watches of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self._due: set[Watch] = set()
        self._gathering: asyncio.TimerHandle | None = None

    @contextmanager
    def watch(self, subject: Subject) -> Iterator[Watch]:
        """Watch a subject. Enter this before the first reading, so that no change is missed."""
        watch = Watch(self, subject)
        self._watches[subject.wallet_id].add(watch)
        try:
            yield watch
        finally:
            watch.end()
            self._due.discard(watch)
            self._watches[subject.wallet_id].discard(watch)
            if not self._watches[subject.wallet_id]:
                del self._watches[subject.wallet_id]

    def subjects(self) -> set[Subject]:
        """Return what is watched, as last seen."""
        return {watch.subject for watches in self._watches.values() for watch in watches}

    def follows_queue(self) -> bool:
        """Return whether any watch shows a position in the render queue."""
        return any(watch.in_queue for watches in self._watches.values() for watch in watches)

    def wake(self, wallet_ids: Iterable[UUID]) -> None:
        """Wake the watches of these wallets, whose rows may have changed."""
        for wallet_id in wallet_ids:
            for watch in self._watches.get(wallet_id, ()):
                watch.change()

    def wake_queue(self) -> None:
        """Wake the watches that show a position in the render queue, which may have changed."""
        for watches in self._watches.values():
            for watch in watches:
                if watch.in_queue:
                    watch.change()

    def gather(self, watch: Watch) -> None:
        """Have a watch begin its reading together with all others that become due within GATHER_SECONDS."""
        self._due.add(watch)
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._begin)

    def _begin(self) -> None:
        self._gathering = None
        now = asyncio.get_running_loop().time()
        loaders = Loaders(self._database, shared=True)
        due, self._due = self._due, set()
        for watch in due:
            watch.begin(loaders, now)
