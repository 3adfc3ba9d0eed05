"""Admission control: limits on running and queued GraphQL requests. Excess is rejected immediately.

One user, or one address without a user, may have half of the slots and half of the queue, rounded up: requests that
hang, on a locked row say, cannot take the places of everybody else. The queue serves owners in turn, and each owner's
requests in the order of their arrival.

A request's slot is in one of five states:

    NEW ──start──→ RUNNING ──release──→ RELEASED
     └──wait──→ WAITING ──→ RUNNING          a slot became free
                   ├──→ LEFT ──→ RELEASED    the client went away
                   └──→ RELEASED             the request was cancelled, or its deadline passed
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum, auto

from server.wire.request import ClientGone, Refused

RETRY_SECONDS = 1

# Whose share of the slots a request takes: a user's subject, or an address. None has no share: a WORKER or an ADMIN.
Owner = Hashable | None


class State(Enum):
    """What a slot's request does; see the module's docstring."""

    NEW = auto()
    WAITING = auto()
    RUNNING = auto()
    LEFT = auto()
    RELEASED = auto()


NEW, WAITING, RUNNING, LEFT, RELEASED = State  # Locals of the module are found faster than an enum's members.


class Admission:
    """The slots, and the queue for them."""

    def __init__(self, running_max: int, waiting_max: int) -> None:
        self.free = running_max
        self.room = running_max + waiting_max  # for requests that run or wait
        self.running_each_max = -(-running_max // 2)
        self.room_each_max = self.running_each_max + -(-waiting_max // 2)
        self.running: dict[Owner, int] = {}
        self.admitted: dict[Owner, int] = {}  # running and waiting
        self.waiting: dict[Owner, deque[Slot]] = {}
        # The owners that have waiting requests, and slots left in their share.
        self.next: OrderedDict[Owner, None] = OrderedDict()

    def may_run(self, owner: Owner) -> bool:
        """Tell whether an owner has slots left in its share."""
        return owner is None or self.running.get(owner, 0) < self.running_each_max

    def fill(self) -> None:
        """Give free slots to waiting requests, owner by owner."""
        while self.free and self.next:
            owner, _ = self.next.popitem(last=False)
            self.waiting[owner].popleft().run()
            self.queue(owner)

    def queue(self, owner: Owner) -> None:
        """Update whether an owner may get one of the next slots."""
        if not self.waiting.get(owner):
            self.waiting.pop(owner, None)
            self.next.pop(owner, None)
        elif self.may_run(owner):
            self.next[owner] = None
        else:
            self.next.pop(owner, None)


class Slot:
    """One request's place, until it is released."""

    __slots__ = ("_admission", "_owner", "_woken", "state")

    def __init__(self, admission: Admission, owner: Owner) -> None:
        """Admit a request; Refused where too many are running and waiting already, of all or of this owner."""
        if admission.room == 0:
            raise overloaded()
        if owner is not None:
            admitted = admission.admitted.get(owner, 0)
            if admitted >= admission.room_each_max:
                message = f"{admitted} of your requests are under way: wait for some of them, then send this one again."
                raise Refused(429, message, code="LIMIT_EXCEEDED", retry_after=str(RETRY_SECONDS))
            admission.admitted[owner] = admitted + 1
        admission.room -= 1
        self._admission = admission
        self._owner = owner
        self._woken: asyncio.Future[None] | None = None
        self.state = NEW

    def start(self) -> bool:
        """Run without waiting, and tell whether that is possible."""
        admission, owner = self._admission, self._owner
        if not admission.free:
            return False
        if owner is not None:  # Not by `may_run` and so on: each call would cost every request.
            running = admission.running.get(owner, 0)
            if running >= admission.running_each_max:
                return False
            admission.running[owner] = running + 1
        admission.free -= 1
        self.state = RUNNING
        return True

    def run(self) -> None:
        """Take a free slot after a wait."""
        self.start()
        assert self._woken is not None  # noqa: S101 - it waits
        if not self._woken.done():
            self._woken.set_result(None)

    async def wait(self) -> None:
        """Wait until it runs; ClientGone where its client has left."""
        if self.state is NEW:
            self.state = WAITING
            self._woken = asyncio.get_running_loop().create_future()
            self._admission.waiting.setdefault(self._owner, deque()).append(self)
            self._admission.queue(self._owner)
            await self._woken
        if self.state is LEFT:
            raise ClientGone

    def leave(self) -> None:
        """Note that the client has gone: a waiting request is dropped, a running one is finished."""
        if self.state is WAITING:
            self._dequeue()
        elif self.state is not NEW:
            return
        self.state = LEFT
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def release(self) -> None:
        """Make room for another request; further calls do nothing."""
        state, self.state = self.state, RELEASED
        if state is RELEASED:
            return
        admission, owner = self._admission, self._owner
        if state is WAITING:
            self._dequeue()
        admission.room += 1
        if owner is not None:
            admission.admitted[owner] -= 1
            if not admission.admitted[owner]:
                del admission.admitted[owner]
        if state is RUNNING:
            admission.free += 1
            if owner is not None:
                admission.running[owner] -= 1
                if not admission.running[owner]:
                    del admission.running[owner]
            if admission.waiting:
                admission.queue(owner)
                admission.fill()

    def _dequeue(self) -> None:
        self._admission.waiting[self._owner].remove(self)
        self._admission.queue(self._owner)


def overloaded() -> Refused:
    """Refuse a request for which there is no room; nothing has been done for it."""
    message = f"The server has too much to do: send the request again in {RETRY_SECONDS} second."
    return Refused(503, message, code="RETRY", retry_after=str(RETRY_SECONDS))
