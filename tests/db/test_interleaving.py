"""Any two calls that overlap are answered as if one had come after the other.

One call is stopped before its commit. Another begins, with a snapshot from before that commit, and waits; then the
first one commits. What both were told, and what is in the tables then, is what one of the two orders gives on a twin
account.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import product
from random import getrandbits
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest

from db.credit_entry import CreditEntryRow
from db.database import Database
from db.mutation import Mutation
from db.user import UserRow
from db.video_data import UpdateVideoRecordStatusRow, VideoDataRow
from db.wallet import WalletRow
from resolvers.objects import required
from tests.race import Account, MutationRow, check_verified, waiting

Call: TypeAlias = Callable[[Account, UUID], Awaitable[MutationRow]]

CREDITS_MAX = 2**31 - 1

# What an account and its video, which costs 2, have been through: from the first credits on.
STATES: dict[str, tuple[int, list[Call]]] = {
    "queued, 1 credit": (3, []),
    "queued, full": (2, [lambda account, _: account.adjust("fill", CREDITS_MAX - 1)]),
    "in the render queue, no credits": (2, [lambda account, video: account.report(video, "RENDER_QUEUED")]),
    "rendering": (5, [lambda account, video: account.report(video, "RENDERING", "started", progress=50)]),
    "failed": (2, [lambda account, video: account.report(video, "FAILED", "before")]),
    "failed and spent": (
        2,
        [
            lambda account, video: account.report(video, "RENDER_QUEUED"),
            lambda account, video: account.report(video, "FAILED", "before"),
            lambda account, _: account.adjust("spend", -2),
        ],
    ),
    "completed and trashed": (
        4,
        [
            lambda account, video: account.report(video, "COMPLETED"),
            lambda account, video: account.trash(video, trashed=True),
        ],
    ),
    "retried": (
        4,
        [
            lambda account, video: account.report(video, "CANCELED"),
            lambda account, video: account.retry(video, "retry", 1),
            lambda account, video: account.report(video, "RENDERING", progress=10),
        ],
    ),
}
CALLS: dict[str, Call] = {
    "create": lambda account, _: account.create("new"),
    "create otherwise": lambda account, _: account.create("new", "Wales", 2),
    "create another": lambda account, _: account.create("newer", cost=2),
    "pay 2": lambda account, _: account.adjust("new", 2, "PURCHASE"),
    "pay much": lambda account, _: account.adjust("much", CREDITS_MAX - 3),
    "take 1": lambda account, _: account.adjust("take", -1),
    "take 2": lambda account, _: account.adjust("newer", -2),
    "register": lambda account, _: account.register(9),
    "retry": lambda account, video: account.retry(video, "new"),
    "retry again": lambda account, video: account.retry(video, "retry", 1),
    "retry dearly": lambda account, video: account.retry(video, "newer", 2),
    "fail": lambda account, video: account.report(video, "FAILED", "now"),
    "fail with other words": lambda account, video: account.report(video, "FAILED", "later", progress=70),
    "fail attempt 1": lambda account, video: account.report(video, "FAILED", attempt=1),
    "cancel": lambda account, video: account.report(video, "CANCELED"),
    "complete": lambda account, video: account.report(video, "COMPLETED", "done"),
    "queue": lambda account, video: account.report(video, "RENDER_QUEUED"),
    "render": lambda account, video: account.report(video, "RENDERING", progress=30),
    "progress": lambda account, video: account.report(video, None, progress=60),
    "more progress of attempt 1": lambda account, video: account.report(video, None, progress=80, attempt=1),
    "say": lambda account, video: account.report(video, None, "by the way"),
    "trash": lambda account, video: account.trash(video, trashed=True),
    "restore": lambda account, video: account.trash(video, trashed=False),
    "store": lambda account, video: account.store(video, None, script="one", render_id="1"),
    "store on version 1": lambda account, video: account.store(video, 1, script="two", render_id="2"),
    "store on version 2": lambda account, video: account.store(video, 2, script="three", render_id="3"),
}


class Unfinished(Database):
    """Answers in a transaction that is somebody else's to commit."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        self._connection = connection

    async def answer(self, mutation: Mutation, user_id: UUID, *arguments: object) -> Sequence[Any]:
        given = (user_id, *arguments, getrandbits(63))
        record = await self._connection.fetchrow(mutation.text_for_one, *given)
        return mutation.rows(required(record))


# What the everyday run makes do with: calls that take or give credits, and what they wait for.
EVERYDAY = (
    *("create", "create another", "pay 2", "pay much", "take 2", "retry"),
    *("fail", "cancel", "complete", "queue", "progress", "store on version 2"),
)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("calls", [EVERYDAY, pytest.param(tuple(CALLS), marks=pytest.mark.soak)], ids=["some", "all"])
async def test_two_calls_have_an_order(database: Database, dsn: str, calls: tuple[str, ...], state: str) -> None:
    """What a call is told after waiting for another is what it would have been told had it come after that one."""
    for first, second in product(calls, calls):
        told = await overlapping(database, state, first, second)
        if told != await in_order(database, state, first, second):
            # The second call had not waited, and came before the first one was committed.
            after, before, left = await in_order(database, state, second, first)
            assert told == (before, after, left), (first, second)
    await check_verified(dsn)


async def in_order(database: Database, state: str, first: str, second: str) -> tuple[Any, Any, Any]:
    account, video_id = await at_state(database, state)
    answers = [await CALLS[name](account, video_id) for name in (first, second)]
    return shown(answers[0]), shown(answers[1]), await everything(account)


async def overlapping(database: Database, state: str, first: str, second: str) -> tuple[Any, Any, Any]:
    account, video_id = await at_state(database, state)
    async with database.pool.acquire() as connection, connection.transaction():
        unfinished = Account(Unfinished(connection), account.user_id)
        answer = await CALLS[first](unfinished, video_id)
        running = asyncio.ensure_future(CALLS[second](account, video_id))
        await waiting(database.pool, [running])
    return shown(answer), shown(await running), await everything(account)


async def at_state(database: Database, state: str) -> tuple[Account, UUID]:
    credits_at_first, calls = STATES[state]
    account = await Account.open(database, credits_at_first)
    created = await account.create("first", cost=2)
    assert created.video
    for call in calls:
        await call(account, created.video.id)
    return account, created.video.id


def shown(answer: MutationRow) -> list[Any]:
    """Return of an answer what clients are shown, without what differs between twins.

    A report that has nothing to do with credits may show the wallet of a moment before, as the wallet's version tells.
    """
    user, wallet, video, entry = (plain(getattr(answer, noun, None)) for noun in ("user", "wallet", "video", "entry"))
    if isinstance(answer, UpdateVideoRecordStatusRow):
        if answer.outcome in {"illegal_transition", "stale_attempt"}:
            entry = None
        if entry is None and answer.outcome != "credits_out_of_range":
            wallet = None
    return [answer.outcome, user, wallet, video, entry]


async def everything(account: Account) -> list[Any]:
    """Return all that there is of an account, without what differs between twins."""
    videos = sorted(await account.videos(), key=lambda video: video.title)
    return [plain(await account.user()), *map(plain, await account.ledger()), *map(plain, videos)]


def plain(row: UserRow | WalletRow | VideoDataRow | CreditEntryRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        name: type(value) if isinstance(value, UUID | datetime) or name == "queue_id" else value
        for name, value in row._asdict().items()
    }
