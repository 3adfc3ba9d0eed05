"""What is followed live in this process: woken when it may have changed, and read again together."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from db.change_feed import Subject
from db.database import Database
from resolvers.loaders import Loaders

# What changes within this time is read together: one statement for each table, however many follow it.
GATHER_SECONDS = 0.005
# What has been read rests before it is read again; what changes meanwhile is joined. What keeps changing rests twice as
# long each time, so that telling it leaves the processor to those who change it; after as much quiet, it begins anew.
REST_SECONDS_MIN = 0.05
REST_SECONDS_MAX = 0.5


class Watch:
    """Something that is followed, as it was last seen by whoever follows it."""

    __slots__ = ("_loaders", "_rest", "_woken", "in_queue", "rest_seconds", "rests_until", "subject")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.rest_seconds = 0.0  # between two readings, at least; what changes meanwhile is joined
        self.in_queue = False  # whether it tells a place in the render queue, which others' videos change
        self.rests_until = 0.0
        self._rest = 0.0  # the last one
        self._loaders: Loaders | None = None
        self._woken: asyncio.Future[None] | None = None

    def wake(self, loaders: Loaders, now: float) -> None:
        """Have it read with these loaders, which have read nothing before now, and then rest."""
        is_quiet = now >= self.rests_until + self._rest
        self._rest = REST_SECONDS_MIN if is_quiet else min(2 * self._rest, REST_SECONDS_MAX)
        self.rests_until = now + max(self._rest, self.rest_seconds)
        self._loaders = loaders
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def woken(self) -> Loaders:
        """Wait until it may have changed; return what to read it with. Of several times meanwhile, the last counts."""
        if self._loaders is None:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
            self._woken = None
        loaders, self._loaders = self._loaders, None
        assert loaders is not None  # noqa: S101 - it is set before the future is
        return loaders


class Live:
    """All that is followed in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watches: defaultdict[UUID, set[Watch]] = defaultdict(set)
        self._due: set[Watch] = set()
        self._resting: dict[Watch, asyncio.TimerHandle] = {}  # those that are due after their rest
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watch(self, subject: Subject) -> Iterator[Watch]:
        """Follow something, from before it is read for the first time, so that no change is missed."""
        watch = Watch(subject)
        self._watches[subject.user_id].add(watch)
        self._wake([watch])
        try:
            yield watch
        finally:
            self._due.discard(watch)
            if watch in self._resting:
                self._resting.pop(watch).cancel()
            self._watches[subject.user_id].discard(watch)
            if not self._watches[subject.user_id]:
                del self._watches[subject.user_id]

    def subjects(self) -> set[Subject]:
        """List what is followed, as it was last seen."""
        return {watch.subject for watches in self._watches.values() for watch in watches}

    def follows_queue(self) -> bool:
        """Tell whether a place in the render queue is followed."""
        return any(watch.in_queue for watches in self._watches.values() for watch in watches)

    def wake(self, user_ids: Iterable[UUID]) -> None:
        """Have read again what is followed of these users."""
        for user_id in user_ids:
            if user_id in self._watches:
                self._wake(self._watches[user_id])

    def wake_queue(self) -> None:
        """Have read again whatever tells a place in the render queue."""
        self._wake(watch for watches in self._watches.values() for watch in watches if watch.in_queue)

    def _wake(self, watches: Iterable[Watch]) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for watch in watches:
            if watch.rests_until <= now:
                self._gather(watch)
            elif watch not in self._resting:
                self._resting[watch] = loop.call_at(watch.rests_until, self._rested, watch)

    def _rested(self, watch: Watch) -> None:
        del self._resting[watch]
        self._gather(watch)

    def _gather(self, watch: Watch) -> None:
        self._due.add(watch)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        loaders = Loaders(self._database, shared=True)
        due, self._due = self._due, set()
        for watch in due:
            watch.wake(loaders, now)
