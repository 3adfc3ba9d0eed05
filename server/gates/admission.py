"""Admission control: limits on running and queued GraphQL requests. Excess is rejected immediately.

One user, or one address without a user, may have half of the slots and half of the queue, rounded up: requests that
hang, on a locked row say, cannot take the places of everybody else. The queue serves owners in turn, and each owner's
requests in the order of their arrival.

A request's slot is in one of four states:

    RUNNING ──release──→ RELEASED
    WAITING ──→ RUNNING      a slot became free
       ├──────→ LEFT         the client went away
       └──────→ RELEASED     the request was cancelled, or its deadline passed
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import Enum, auto

from server.wire.request import RETRY_SECONDS, ClientGone, Refused

# Whose share of the slots a request takes: a user's subject, or an address. None has no share: a WORKER or an ADMIN.
Owner = Hashable | None


class State(Enum):
    """What a slot's request does; see the module's docstring."""

    WAITING = auto()
    RUNNING = auto()
    LEFT = auto()
    RELEASED = auto()


WAITING, RUNNING, LEFT, RELEASED = State  # Locals of the module are found faster than an enum's members.


class Admission:
    """The slots, and the queue for them."""

    def __init__(self, running_max: int, waiting_max: int) -> None:
        self._running_max = self.free = running_max
        self.room = running_max + waiting_max  # for requests that run or wait
        self.running_each_max = -(-running_max // 2)
        self.room_each_max = self.running_each_max + -(-waiting_max // 2)
        self.admitted: dict[Owner, int] = {}  # each owner's requests that run or wait
        self.waiting: dict[Owner, deque[Slot]] = {}
        # The owners that have waiting requests, and slots left in their share.
        self.next: OrderedDict[Owner, None] = OrderedDict()

    @property
    def is_busy(self) -> bool:
        """Whether any request runs."""
        return self.free < self._running_max

    def running(self, owner: Owner) -> int:
        """Return how many of an owner's requests run."""
        return self.admitted.get(owner, 0) - len(self.waiting.get(owner, ()))

    def fill(self) -> None:
        """Give free slots to waiting requests, owner by owner."""
        while self.free and self.next:
            owner, _ = self.next.popitem(last=False)
            self.free -= 1
            self.waiting[owner].popleft().run()
            self.queue(owner)

    def queue(self, owner: Owner) -> None:
        """Update whether an owner may get one of the next slots."""
        if not self.waiting.get(owner):
            self.waiting.pop(owner, None)
            self.next.pop(owner, None)
        elif owner is None or self.running(owner) < self.running_each_max:
            self.next[owner] = None
        else:
            self.next.pop(owner, None)


class Slot:
    """One request's place, until it is released."""

    __slots__ = ("_admission", "_owner", "_woken", "state")

    def __init__(self, admission: Admission, owner: Owner) -> None:
        """Admit a request, which runs at once if it can, and else waits.

        Refused where too many are running and waiting already, of all or of this owner.
        """
        if admission.room == 0:
            raise overloaded()
        self._admission = admission
        self._owner = owner
        may_run = admission.free > 0
        if owner is not None:
            admitted = admission.admitted
            count = admitted.get(owner, 0)
            if count >= admission.running_each_max:  # Else it has slots left, and room.
                if count >= admission.room_each_max:
                    message = (
                        f"{count} of your requests are under way: wait for some of them, then send this one again."
                    )
                    raise Refused(429, message, code="LIMIT_EXCEEDED", retry_after=str(RETRY_SECONDS))
                may_run = may_run and admission.running(owner) < admission.running_each_max
            admitted[owner] = count + 1
        admission.room -= 1
        if may_run:
            admission.free -= 1
            self.state = RUNNING
            return
        self.state = WAITING
        self._woken = asyncio.get_running_loop().create_future()
        admission.waiting.setdefault(owner, deque()).append(self)
        admission.queue(owner)

    def run(self) -> None:
        """Take a slot that became free."""
        self.state = RUNNING
        if not self._woken.done():
            self._woken.set_result(None)

    async def wait(self) -> None:
        """Wait until it runs; ClientGone where its client has left."""
        if self.state is WAITING:
            await self._woken
        if self.state is LEFT:
            raise ClientGone

    def leave(self) -> None:
        """Note that the client has gone: a waiting request is dropped, a running one is finished."""
        if self.state is WAITING:
            self.release()
            self.state = LEFT
            if not self._woken.done():
                self._woken.set_result(None)

    def release(self) -> None:
        """Make room for another request; further calls do nothing."""
        state = self.state
        if state is LEFT or state is RELEASED:
            return
        self.state = RELEASED
        admission, owner = self._admission, self._owner
        admission.room += 1
        if owner is not None:
            admitted = admission.admitted
            left = admitted.pop(owner) - 1
            if left:
                admitted[owner] = left
        if state is WAITING:
            admission.waiting[owner].remove(self)
            admission.queue(owner)
        else:
            admission.free += 1
            if admission.waiting:
                admission.queue(owner)
                admission.fill()


def overloaded() -> Refused:
    """Refuse a request for which there is no room; nothing has been done for it."""
    message = f"The server has too much to do: send the request again in {RETRY_SECONDS} second."
    return Refused(503, message, code="RETRY")
