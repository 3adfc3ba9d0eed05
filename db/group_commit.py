"""Calls of one statement that arrive while others are at work are run together: one round trip, one commit."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from uuid import UUID

import asyncpg

from db.connection_pool import ConnectionPool, PoolConnection
from db.json_text import json_text
from db.statement import statement

# Statements that have a form for many calls at once, ``queries/batched``, and which of their arguments is JSON, if any
# is: asyncpg has no arrays of what it is taught to write, so there it goes as text.
BATCHED = {
    statement(name): (statement(f"batched/{name}"), json_argument)
    for name, json_argument in (
        ("adjust_user_credits", None),
        ("create_video_data", 9),
        ("update_render_progress", None),
        ("update_video_record_status", 3),
    )
}
# Such a form is planned once, for tables that may be almost empty then and are not for long.
WRITERS_SESSION_SETTINGS = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off"}

WRITERS = 3  # While some wait for their commits, another goes on.
BATCH_MAX = 64
BATCH_SECONDS_MAX = 2  # Those who wait behind a batch that does not end are not to wait for ever.
LOCK_MILLISECONDS_MAX = 50  # Whoever waits for somebody else's lock holds up all others of its batch.


@dataclass(slots=True, eq=False)
class Call:
    """One call of a statement that changes a user's rows, and what its caller waits for until its time is up.

    That is the record or, where the batch had none for it, the task that runs the call by itself.
    """

    query: str
    user_id: UUID
    arguments: tuple[object, ...]  # the user's id among them, as the first
    deadline: float
    answered: "asyncio.Future[asyncpg.Record | asyncio.Task[asyncpg.Record]]"
    row: tuple[int, ...] = field(init=False)  # Which row is locked: a user's, or a user's video.

    def __post_init__(self) -> None:
        """Read the row from the arguments: of numbers, which are compared and hashed faster than UUIDs."""
        self.row = tuple([argument.int for argument in self.arguments[:2] if isinstance(argument, UUID)])

    def expire(self) -> None:
        """Tell the caller, if it still waits, that its time is up."""
        if not self.answered.done():
            self.answered.set_exception(TimeoutError())


class GroupCommit:
    """Runs each statement's calls in batches, on connections of its own, in the order in which they arrive.

    A call that finds a connection idle, and its row in no batch that is at work, goes at once, unless a batch of
    several is at work: each has a commit of its own, and small ones would keep large ones from theirs. There is no
    timer: those who wait go when they are almost twice as many, or when a batch is over. In a batch each call sees what
    those before it did, as if they had been run one after the other. The batch goes by rows, and then by arrival: so no
    two of them can wait for each other. ``ended`` is called for each call that was begun, with None when it is to be
    run again by itself: unless the connection was lost, it has done nothing.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: ConnectionPool,
        ended: Callable[[Call, asyncpg.Record | None], None],
    ) -> None:
        self._loop = loop
        self._connections = connections
        self._ended = ended
        self._waiting: dict[str, list[Call]] = {}
        self._idle = WRITERS
        self._rows: set[tuple[int, ...]] = set()  # those of the batches that are at work
        self._sizes: list[int] = []  # how many rows each of these has
        self._working: set[asyncio.Task[None]] = set()

    def begin(self, call: Call) -> None:
        """Have a call run as soon as it can, unless its caller has gone before its turn comes."""
        self._waiting.setdefault(call.query, []).append(call)
        if self._idle and call.row not in self._rows and self._are_many_enough():
            self._idle -= 1
            task = self._loop.create_task(self._work())
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    def _are_many_enough(self) -> bool:
        """Tell whether enough wait to go beside the batches at work: one beside one, three beside two, and so on."""
        return sum(map(len, self._waiting.values())) >= min(2 * max(self._sizes, default=1) - 1, BATCH_MAX)

    async def close(self) -> None:
        """Let what has begun finish, then close the connections."""
        if self._working:
            await asyncio.wait(self._working)
        await self._connections.close()

    async def _work(self) -> None:
        """Run what waits until nothing does that can be run."""
        try:
            while batch := self._next():
                rows = {call.row for call in batch}
                self._rows |= rows
                self._sizes.append(len(rows))
                try:
                    records = await run_batch(self._connections, batch[0].query, batch)
                finally:
                    self._rows -= rows
                    self._sizes.remove(len(rows))
                for call, record in zip(batch, records, strict=True):
                    self._ended(call, record)
        finally:
            self._idle += 1

    def _next(self) -> list[Call]:
        """Take calls of the statement that has waited for longest; those of them that are too many wait again.

        Those whose row is in a batch that is at work wait until it is over. They would only wait for it in PostgreSQL,
        and whoever waits there for a row that others take one after the other can be passed over again and again.
        """
        for query in list(self._waiting):
            calls = [call for call in self._waiting[query] if not call.answered.done()]
            batch = [call for call in calls if call.row not in self._rows][:BATCH_MAX]
            if batch or not calls:
                del self._waiting[query]
            if batch:
                taken = set(map(id, batch))
                if rest := [call for call in calls if id(call) not in taken]:
                    self._waiting[query] = rest
                return sorted(batch, key=attrgetter("row"))
        return []


async def run_batch(connections: ConnectionPool, query: str, batch: Sequence[Call]) -> Sequence[asyncpg.Record | None]:
    """Return the record of each call, or None for each that fails, with all others, or takes too long.

    Several calls of a statement that has a form for many are first run by that, which does for most of them what is
    mostly to be done, and nothing for the others. These follow in a second transaction, as do calls of statements that
    have none: pipelined, one after the other.
    """
    records: list[asyncpg.Record | None] = [None] * len(batch)

    async def run(connection: PoolConnection) -> None:
        if query in BATCHED and len(batch) > 1:
            for record in await connection.fetch(*_batched(query, batch)):
                records[record["place"] - 1] = record
        rest = [place for place, record in enumerate(records) if record is None]
        if len(rest) == 1:  # as most are, of a caller who is alone; and cheaper so
            records[rest[0]] = await connection.fetchrow(query, *batch[rest[0]].arguments)
        elif rest:
            found = await connection.fetchmany(query, [batch[place].arguments for place in rest])
            for place, record in zip(rest, found, strict=True):
                records[place] = record

    with suppress(Exception):  # Whatever it is, who is to blame for it meets it again, by itself.
        await connections.run(run)
    return records


def _batched(query: str, batch: Sequence[Call]) -> tuple[str, *tuple[Sequence[object], ...]]:
    """Return a statement's form for many calls, and its arguments for these."""
    text, json_argument = BATCHED[query]
    columns: list[Sequence[object]] = list(zip(*[call.arguments for call in batch], strict=True))
    if json_argument is not None:
        columns[json_argument] = [None if each is None else json_text(each) for each in columns[json_argument]]
    return text, *columns
