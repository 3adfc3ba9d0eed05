"""Calls that wait are run together, and mean what they would have meant one after the other."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest

import db.database
from db import group_commit
from db.connection_pool import ConnectionPool
from db.credit_entry import CreditEntryRow
from db.database import Database, RetryLaterError
from db.group_commit import BATCH_MAX, ROW_CALLS_MAX, WRITERS, Call
from db.mutation import Mutation
from db.user import AdjustUserCreditsRow, UserRow
from db.video_data import VideoDataRow
from db.wallet import WalletRow
from db.wallet_limit import WALLET_CONNECTIONS_FRACTION
from resolvers.objects import required
from tests.db.test_interleaving import Unfinished
from tests.race import (
    Account,
    MutationRow,
    blocked,
    charged,
    check_answers_agree,
    check_verified,
    deadlocks,
    run_alone,
    waiting,
)

Answer = TypeVar("Answer")
STATUSES = [None, "FAILED", "GENERATING_AUDIO", "GENERATING_IMAGES", "READY", "RENDER_QUEUED", "RENDERING", "COMPLETED"]
KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid()"""
ROUNDS = 20
TABLES = "users, credit_entries, video_data, video_contents, video_events"


class Batches:
    """What has been run in batches, and a gate that each has to pass."""

    def __init__(self) -> None:
        self.sizes: Counter[int] = Counter()
        self.failed = 0
        self.rows: list[tuple[int, ...]] = []  # those of the newest batch
        self.gate = asyncio.Event()
        self.gate.set()

    async def shut(self, database: Database) -> list[asyncio.Task[Account]]:
        """Have calls queue up until the gate is open; return those that have begun and are held before it."""
        self.gate.clear()
        begun = self.sizes.total()
        held = []
        for number in range(1, WRITERS + 1):
            held.append(asyncio.create_task(Account.open(database, 1)))
            async with asyncio.timeout(30):
                while self.sizes.total() < begun + number:  # noqa: ASYNC110 - a batch sets no event
                    await asyncio.sleep(0)
        return held

    async def together(self, database: Database, calls: Iterable[Coroutine[Any, Any, Answer]]) -> list[Answer]:
        """Run calls in the batches that they make when all connections are at work."""
        held = await self.shut(database)
        running = [asyncio.create_task(call) for call in calls]
        await asyncio.sleep(0)
        self.gate.set()
        await asyncio.gather(*held)
        return await asyncio.gather(*running)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    noted = Batches()
    run = group_commit.run_batch

    async def noting(
        connections: ConnectionPool, mutation: Mutation, batch: Sequence[Call]
    ) -> Sequence[asyncpg.Record | None]:
        noted.sizes[len(batch)] += 1
        noted.rows = [call.row for call in batch]
        await noted.gate.wait()
        records = await run(connections, mutation, batch)
        noted.failed += None in records
        return records

    monkeypatch.setattr(group_commit, "run_batch", noting)
    return noted


async def test_a_lone_call_waits_for_nobody(database: Database, batches: Batches) -> None:
    """Calls that come one after the other are each run at once, by themselves."""
    account = await Account.open(database, 10)
    for each in range(5):
        assert (await account.create(f"key {each}")).outcome == "created"
    assert (batches.sizes, batches.failed) == ({1: 6}, 0)


async def test_what_waits_is_run_batched(database: Database, batches: Batches) -> None:
    """Two hundred calls that wait take four transactions, none of more than so many; each is told its own."""
    account = await Account.open(database, 200)
    titles = [f"title {each} {'…' * each * 2}" for each in range(200)]
    answers = await batches.together(database, [account.create(title[:9], title) for title in titles])
    assert [answer.video and answer.video.title for answer in answers] == titles
    assert batches.sizes == {1: 1 + WRITERS, BATCH_MAX: 3, 200 - 3 * BATCH_MAX: 1}
    assert len(await account.ledger()) == 201


async def test_a_batch_holds_few_changes_of_one_video(database: Database, batches: Batches) -> None:
    """A batch holds no more changes of a video than the video keeps request ids for; they run in their order."""
    account = await Account.open(database, 11)
    busy, *others = [required((await account.create(f"key {each}")).video).id for each in range(11)]
    batches.sizes.clear()
    calls = [account.store(busy, version, script=f"new {version}") for version in range(1, 2 * ROW_CALLS_MAX + 3)]
    answers = await batches.together(database, [*calls, *(account.store(video, 1, script="new") for video in others)])
    assert {answer.outcome for answer in answers} == {"updated"}
    assert batches.sizes == Counter({1: WRITERS, ROW_CALLS_MAX + 10: 1, ROW_CALLS_MAX: 1, 2: 1})


@pytest.mark.parametrize(
    ("arriving", "begun"),
    [
        ((1, 1, 1, 1), [[1], [1, 1], [1, 1, 1], [1, 1, 1]]),
        ((2, 2, 1, 3, 1, 1, 9), [[2], [2], [2, 3], [2, 3], [2, 3], [2, 3, 5], [2, 3, 5]]),
        ((BATCH_MAX, BATCH_MAX - 1, 1), [[BATCH_MAX], [BATCH_MAX], [BATCH_MAX, BATCH_MAX]]),
    ],
)
async def test_a_small_batch_waits_while_a_large_one_is_at_work(
    database: Database, batches: Batches, arriving: tuple[int, ...], begun: list[list[int]]
) -> None:
    """Calls go beside a batch that is at work when almost twice as many wait, or enough for a batch of their own.

    All others go when one is over.
    """
    accounts = iter([await Account.open(database, 10) for _ in range(sum(arriving))])
    batches.gate.clear()
    batches.sizes.clear()
    seen = []
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for count in arriving:
            for account in islice(accounts, count):
                group.create_task(account.create("key"))
            for _ in range(5):
                await asyncio.sleep(0)
            seen.append(sorted(batches.sizes.elements()))
        batches.gate.set()
    assert seen == begun
    rest = sum(arriving) - sum(seen[-1])
    assert sorted(batches.sizes.elements()) == sorted([*seen[-1], *([rest] if rest else [])])


async def test_what_is_large_is_run_batched(database: Database, batches: Batches) -> None:
    """Calls whose arguments together fill any buffer on the way are run in one batch all the same."""
    account = await Account.open(database, 50)
    answers = await batches.together(
        database, [account.create(f"key {each}", "x" * 50_000) for each in range(BATCH_MAX - 10)]
    )
    assert Counter(answer.outcome for answer in answers) == {"created": 50, "insufficient_credits": BATCH_MAX - 60}
    assert (batches.sizes[BATCH_MAX - 10], batches.failed) == (1, 0)


async def test_six_creations_on_three_credits(database: Database, batches: Batches) -> None:
    """Six in one batch on three credits leave balances of 2, 1 and 0, and three refusals."""
    account = await Account.open(database, 3)
    answers = await batches.together(database, [account.create(f"key {each}") for each in range(6)])
    told = [(answer.outcome, answer.wallet and answer.wallet.credits) for answer in answers]
    assert told == [("created", 2), ("created", 1), ("created", 0), *[("insufficient_credits", 0)] * 3]
    assert (batches.sizes[6], batches.failed) == (1, 0)


@pytest.mark.parametrize("ample", [False, True])
@pytest.mark.parametrize("seed", range(28))
async def test_a_batch_means_what_its_calls_mean_one_after_the_other(  # noqa: C901 - a case for each mutation
    database: Database, dsn: str, batches: Batches, monkeypatch: pytest.MonkeyPatch, seed: int, ample: bool
) -> None:
    """Calls that share a batch are answered as if run by themselves, user by user and video by video.

    Mostly they succeed where credits and quotas are ample; else many are refused, and replayed.
    """
    monkeypatch.setattr(group_commit, "ROW_CALLS_MAX", BATCH_MAX)  # Many calls on one video are the hardest case.
    serial = await db.database.connect(dsn, pool_size=2, timeout_seconds=60)
    accounts, twins = [
        [*[await Account.open(each, 500 if ample else 5) for _ in range(3)], Account(each, uuid4())]
        for each in (database, serial)
    ]
    videos = {
        account.user_id: [required((await account.create(str(key))).video) for key in range(30 if ample else 2)]
        for account in (*accounts[:3], *twins[:3])
    }
    if seed % 7 == 4:
        for account in (*accounts[:3], *twins[:3]):
            for video in videos[account.user_id]:
                await account.report(video.id, "FAILED")

    def calls(those: list[Account]) -> Iterator[tuple[tuple[int, int], Callable[[], Coroutine[Any, Any, MutationRow]]]]:
        random = Random(seed)
        for each in range(60):
            key = f"key {each if ample else random.randrange(30)}"
            title = random.choice(["Whales", "Wales"])
            amount = random.choice([-3, -1, 1, 2] + [2**31 - 3] * (not ample))
            most = None if ample else random.choice([None, 3, 4])
            storage_max = most and most * 65_536
            number, place = random.randrange(4), random.randrange(30 if ample else 2)
            account = those[number]
            video = videos[account.user_id][place].id if number < 3 else uuid4()
            progress, attempt = random.randrange(100), random.choice([None, 1, 2])
            match seed % 7:
                case 0:
                    create = partial(account.create, key, title, abs(amount))
                    bounded = (
                        partial(create, creations_max=most) if each % 2 else partial(create, storage_max=storage_max)
                    )
                    yield (number, 0), bounded
                case 1:
                    kind = random.choice(["PURCHASE", "REWARD", "ADJUSTMENT"])
                    yield (number, 0), partial(account.adjust, key, amount, kind)
                case 2:
                    status = random.choice(STATUSES)
                    report = partial(account.report, video, status, title, progress=progress, attempt=attempt)
                    yield (number, place), report
                case 3:
                    yield (number, place), partial(account.report, video, None, progress=progress, attempt=attempt)
                case 4:
                    retry = partial(account.retry, video, key, abs(amount), creations_max=most)
                    yield (number, place), retry
                case 5:
                    script = random.choice([None, "x" * 40_000 * random.randrange(4)])
                    stored: dict[str, object] = random.choice([{"script": script}, {"render_id": title}])
                    version, storage_max = random.choice([None, None, 1, 2]), most and (most - 1) * 65_536
                    yield (number, place), partial(account.store, video, version, storage_max, **stored)
                case 6:
                    yield (number, place), partial(account.trash, video, random.choice([False, True]))

    answers = await batches.together(database, [call() for _, call in calls(accounts)])
    assert (batches.sizes[60], batches.failed) == (1, 0)
    ordered = list(calls(twins))
    expected: list[MutationRow | None] = [None] * len(ordered)
    for place in sorted(range(len(ordered)), key=lambda place: ordered[place][0]):
        expected[place] = await ordered[place][1]()
    assert [told(answer) for answer in answers] == [told(answer) for answer in expected]
    for account, twin in zip(accounts[:3], twins[:3], strict=True):
        assert [told(entry) for entry in await account.ledger()] == [told(entry) for entry in await twin.ledger()]
        assert [told(video) for video in await account.videos()] == [told(video) for video in await twin.videos()]
        assert await events(account) == await events(twin)
    await serial.close()
    await check_verified(dsn)


async def test_a_failure_is_refunded_in_a_batch_too(database: Database, batches: Batches) -> None:
    """Failures share a batch, those of one user too: each is refunded."""
    accounts = [await Account.open(database, 10) for _ in range(3)]
    videos = [(each, required((await each.create(key)).video).id) for each in accounts for key in ("1", "2")]
    answers = await batches.together(database, [account.report(video, "FAILED") for account, video in videos])
    assert (batches.sizes[6], batches.failed) == (1, 0)
    assert [answer.outcome for answer in answers] == ["moved"] * 6
    check_answers_agree(answers)
    assert [(await account.user()).credits for account in accounts] == [10] * 3
    assert [(await account.ledger())[-1].kind for account in accounts] == ["REFUND"] * 3


async def events(account: Account) -> list[asyncpg.Record]:
    """Read what happened to an account's videos, oldest video first."""
    return await account.database.pool.fetch(
        """SELECT number, status, attempt, actor, comments FROM video_events
           WHERE wallet_id = $1 ORDER BY video_id, number""",
        account.user_id,
    )


async def test_one_key_twice_in_a_batch(database: Database, batches: Batches) -> None:
    """A key that is sent twice at once has one effect, the second is a replay, and the batch does not fail by it."""
    account, other = [await Account.open(database, 100) for _ in range(2)]
    calls = [account.create("key"), account.create("key"), other.create("key"), account.create("new")]
    created = await batches.together(database, calls)
    assert [answer.outcome for answer in created] == ["created", "replayed", "created", "created"]
    adjusted = await batches.together(database, [account.adjust("buy", 1), account.adjust("buy", 1)])
    assert [answer.outcome for answer in adjusted] == ["adjusted", "replayed"]
    assert (batches.failed, (await account.user()).credits) == (0, 99)


async def test_what_a_batch_answers_is_what_is_stored(database: Database, batches: Batches) -> None:
    """What a batch tells of videos, entries and users is what is read afterwards, to the last column."""
    accounts = [await Account.open(database, 10) for _ in range(5)]
    created = await batches.together(database, [account.create("key") for account in accounts])
    adjusted = await batches.together(database, [account.adjust("buy", 3, "PURCHASE") for account in accounts])
    for account, creation, adjustment in zip(accounts, created, adjusted, strict=True):
        assert [creation.video] == await account.videos()
        assert [creation.entry, adjustment.entry] == (await account.ledger())[1:]
        assert adjustment.wallet == await account.wallet()
    for status, progress in (("RENDER_QUEUED", None), (None, 9), ("RENDERING", 8)):
        before = [(account, (await account.videos())[0]) for account in accounts]
        reports = [account.report(video.id, status, progress=progress, attempt=1) for account, video in before]
        for account, answer in zip(accounts, await batches.together(database, reports), strict=True):
            assert ([answer.video], answer.wallet, answer.entry) == (
                await account.videos(),
                await account.wallet(),
                None,
            )


def told(answer: object) -> object:
    """Leave out what differs from one user to the next: ids, times (not whether there is one), places in the queue."""
    if isinstance(answer, UserRow | WalletRow | VideoDataRow | CreditEntryRow):
        theirs = {"user_id", "wallet_id", "id", "video_id", "queue_id", "registered_id"}
        return {
            name: value is not None if name.endswith("_at") else value
            for name, value in answer._asdict().items()
            if name not in theirs
        }
    return [
        getattr(answer, "outcome", None),
        *(
            told(getattr(answer, noun, None))
            for noun in ("user", "wallet", "video", "entry")
            if getattr(answer, noun, None)
        ),
        getattr(getattr(answer, "quota", None), "used", None),
    ]


async def test_a_call_that_fails_takes_no_other_along(database: Database, batches: Batches) -> None:
    """Of a batch in which one call is an error of PostgreSQL's, the others are answered, and that one raises it."""
    account = await Account.open(database, 20)

    async def outcome(number: int) -> str:
        try:
            return (await account.create(f"key {number}", "Wha\0les" if number == 5 else "Whales")).outcome
        except asyncpg.CharacterNotInRepertoireError:
            return "error"

    outcomes = await batches.together(database, [outcome(number) for number in range(12)])
    assert outcomes == [*["created"] * 5, "error", *["created"] * 6]
    assert (batches.failed, (await account.user()).credits) == (1, 20 - 11)


async def test_two_first_attempts_under_one_key_in_two_batches(database: Database, dsn: str) -> None:
    """A key that two processes use at the same moment, each in a batch, has one effect; the others have theirs."""
    other = await db.database.connect(dsn, pool_size=10, timeout_seconds=60)
    for number in range(10):
        account = await Account.open(database, 50)
        twin = Account(other, account.user_id)
        answers: list[AdjustUserCreditsRow] = await asyncio.gather(
            *(each.adjust(f"{number}: {key}", 1) for key in range(20) for each in (account, twin))
        )
        check_answers_agree(answers)
        assert Counter(answer.outcome for answer in answers) == {"adjusted": 20, "replayed": 20}
        assert (await account.user()).credits == 70
    await other.close()


@pytest.mark.parametrize(("lock_milliseconds", "batch_seconds"), [(50, 3600), (0, 0.1)])
async def test_a_strangers_lock_delays_its_user_alone(
    dsn: str, monkeypatch: pytest.MonkeyPatch, lock_milliseconds: int, batch_seconds: float
) -> None:
    """While somebody holds a user's row, that user's calls wait and nobody else's do, by either of two limits."""
    monkeypatch.setattr(db.database, "LOCK_MILLISECONDS_MAX", lock_milliseconds)
    monkeypatch.setattr(db.database, "BATCH_SECONDS_MAX", batch_seconds)
    database = await db.database.connect(dsn, pool_size=20, timeout_seconds=60)
    held, free = [await Account.open(database, 100) for _ in range(2)]
    async with held.locked(), asyncio.timeout(30):
        locked_out = [asyncio.create_task(held.create(f"key {each}")) for each in range(5)]
        for round_ in range(5):
            answers = await asyncio.gather(*(free.create(f"{round_}: {each}") for each in range(10)))
            assert {answer.outcome for answer in answers} == {"created"}
        await blocked(database, database.pool.get_max_size() // WALLET_CONNECTIONS_FRACTION)
        assert not any(task.done() for task in locked_out)
    assert {answer.outcome for answer in await asyncio.gather(*locked_out)} == {"created"}
    assert ((await held.user()).credits, (await free.user()).credits) == (95, 50)
    await database.close()


async def test_calls_whose_connection_is_killed_happen_once(database: Database, dsn: str, batches: Batches) -> None:
    """Connections that are ended again and again while batches run delay the calls; each happens once."""
    account = await Account.open(database, 1000)
    administrator = await asyncpg.connect(dsn)
    calls = [asyncio.create_task(account.create(f"key {each}")) for each in range(500)]
    while not all(task.done() for task in calls):
        await administrator.execute(f"{KILL} AND state = 'active'")
        await asyncio.sleep(0.02)
    assert {(await task).outcome for task in calls} == {"created"}
    assert len(await account.ledger()) == 501
    # Others are in their place, and it goes on as before.
    await administrator.execute(KILL)
    await administrator.close()
    await account.create("another")
    failed = batches.failed
    answers = await batches.together(database, [account.create(f"new {each}") for each in range(20)])
    assert {answer.outcome for answer in answers} == {"created"}
    assert (batches.sizes[20], batches.failed) == (1, failed)


async def test_whoever_gives_up_before_their_turn_has_done_nothing(dsn: str, batches: Batches) -> None:
    """A call that still waits when its time is up is RETRY, and is not begun afterwards; nor is a cancelled one."""
    database = await db.database.connect(dsn, pool_size=10, timeout_seconds=0.5)
    account = await Account.open(database, 10)
    held = await batches.shut(database)
    late, cancelled = (asyncio.create_task(account.create(key)) for key in ("late", "cancelled"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(RetryLaterError):
        await asyncio.wait_for(late, 30)
    batches.gate.set()
    await asyncio.gather(*held, return_exceptions=True)
    assert (await account.adjust("another", 1)).outcome == "adjusted"
    assert [entry.kind for entry in await account.ledger()] == ["SIGNUP", "ADJUSTMENT"]
    await database.close()


async def test_what_ends_after_its_time_is_told_of(dsn: str, batches: Batches) -> None:
    """A batch that commits when its callers have gone, late or cancelled, has done it all the same, and tells of it."""
    database = await db.database.connect(dsn, pool_size=10, timeout_seconds=0.5)
    account, other = [await Account.open(database, 10) for _ in range(2)]
    changed: list[UUID] = []
    database.on_change = changed.append
    batches.gate.clear()
    late = asyncio.create_task(account.create("late"))
    cancelled = asyncio.create_task(other.create("cancelled"))
    while not batches.sizes[2]:  # noqa: ASYNC110 - a batch sets no event
        await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(RetryLaterError):
        await asyncio.wait_for(late, 30)
    assert changed == []
    batches.gate.set()
    await database.close()
    assert sorted(changed) == sorted([account.user_id, other.user_id])
    database = await db.database.connect(dsn, pool_size=2, timeout_seconds=60)
    assert (await Account(database, account.user_id).create("late")).outcome == "replayed"
    assert (await Account(database, other.user_id).create("cancelled")).outcome == "replayed"
    await database.close()


async def test_what_fails_after_its_caller_has_gone_is_done_all_the_same(database: Database, batches: Batches) -> None:
    """A cancelled caller's call that had begun is run again by itself when its batch fails."""
    account = await Account.open(database, 10)
    held = await batches.shut(database)
    calls = [asyncio.create_task(account.create(key, title)) for key, title in (("1", "Wha\0les"), ("2", "Whales"))]
    await asyncio.sleep(0)
    batches.gate.set()
    while not batches.sizes[2]:  # noqa: ASYNC110 - a batch sets no event
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*held, *calls, return_exceptions=True)
    await run_alone(database)
    assert batches.failed == 1
    async with asyncio.timeout(30):
        while not await account.videos():  # noqa: ASYNC110 - nobody is left who would be told
            await asyncio.sleep(0.002)
    assert (await account.create("2")).outcome == "replayed"


async def test_every_change_is_told_of(database: Database, batches: Batches) -> None:
    """Each call of a batch tells of its own user, be the batch whole or run again call by call."""
    accounts = [await Account.open(database, 10) for _ in range(5)]
    changed: list[UUID] = []
    database.on_change = changed.append
    await batches.together(database, [account.create("key") for account in accounts])
    assert {account.user_id for account in accounts} <= set(changed)
    changed.clear()
    async with accounts[0].locked():
        held = asyncio.create_task(batches.together(database, [account.create("2") for account in accounts]))
        await waiting(database.pool, [held])
        while len({account.user_id for account in accounts[1:]} & set(changed)) < 4:  # noqa: ASYNC110 - as it is told
            await asyncio.sleep(0.002)
        changed.clear()
    await held
    assert accounts[0].user_id in changed


async def test_closing_lets_what_has_begun_finish(dsn: str, batches: Batches) -> None:
    """A database that is closed while a batch runs and others wait answers them all first."""
    database = await db.database.connect(dsn, pool_size=10, timeout_seconds=60)
    account = await Account.open(database, 10)
    held = await batches.shut(database)
    calls = [asyncio.create_task(account.create(title, title)) for title in ("Wha\0les", "Whales", "Wales")]
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    await asyncio.wait([closing], timeout=0.1)
    assert not closing.done()
    batches.gate.set()
    await closing
    assert all(task.done() for task in held)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncpg.CharacterNotInRepertoireError)
    assert [getattr(answer, "outcome", answer) for answer in answers[1:]] == ["created"] * 2


async def test_no_statement_starves(database: Database, batches: Batches) -> None:
    """However many calls of one statement wait, those of another have their turn after one batch of them."""
    account = await Account.open(database, 2000)
    order: list[str] = []

    async def call(kind: str, number: int) -> None:
        await (account.create(f"{kind} {number}") if kind == "create" else account.adjust(f"{kind} {number}", 1))
        order.append(kind)

    calls = [("create", each) for each in range(500)] + [("adjust", each) for each in range(10)]
    await batches.together(database, [call(*each) for each in calls])
    # Two batches run at once.
    assert order.index("adjust") <= WRITERS * BATCH_MAX


async def test_migrations_wait_for_no_connection_that_is_idle(database: Database, dsn: str, batches: Batches) -> None:
    """Batches that are over leave no table locked, also those that failed, or whose callers had all gone."""
    migration = await asyncpg.connect(dsn)
    account = await Account.open(database, 10)
    held = await batches.shut(database)
    gone = [asyncio.create_task(account.trash(account.user_id, trashed=True)) for _ in range(3)]
    await asyncio.sleep(0)
    for call in gone:
        call.cancel()
    batches.gate.set()
    await asyncio.gather(*held, *gone, return_exceptions=True)
    with pytest.raises(asyncpg.CharacterNotInRepertoireError):
        await account.create("key", "Wha\0les")
    async with account.locked():
        adjusting = asyncio.create_task(account.adjust("key", 1))
        await waiting(database.pool, [adjusting])
    await adjusting
    await migration.execute(f"BEGIN; LOCK TABLE {TABLES} IN ACCESS EXCLUSIVE MODE NOWAIT; ROLLBACK")
    await migration.close()


@pytest.mark.parametrize("size", [1, 5, 6, 8])
async def test_the_writers_are_some_of_the_pools_connections(dsn: str, batches: Batches, size: int) -> None:
    """However much is asked at once, there are no more connections than the pool's size says, and all are used."""
    database = await db.database.connect(dsn, pool_size=size, timeout_seconds=60)
    if size >= db.database.GROUPED_POOL_SIZE_MIN:
        held = await batches.shut(database)
        batches.gate.set()
        await asyncio.gather(*held)
    account, other = [await Account.open(database, 1000) for _ in range(2)]
    for kind in ("key", "other"):
        creations = [account.create(f"{kind} {each}") for each in range(40)]
        await asyncio.gather(*creations, *(other.adjust(f"{kind}: {each}", 1) for each in range(40)))
        await asyncio.gather(*(account.user() for _ in range(40)))
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'videocredits' AND datname = current_database()"
    )
    assert await database.pool.fetchval(count) == size
    await database.close()


async def test_a_row_is_in_one_batch_at_a_time(database: Database, batches: Batches) -> None:
    """While a user's calls are at work, more of them wait although a connection is idle; another user's do not."""
    account, other = [await Account.open(database, 10) for _ in range(2)]
    batches.gate.clear()
    calls: list[asyncio.Task[Any]] = [asyncio.create_task(account.create("first"))]
    await asyncio.sleep(0)
    begun = batches.sizes.total()
    calls += [asyncio.create_task(account.create("second")), asyncio.create_task(account.adjust("third", 1))]
    for _ in range(10):
        await asyncio.sleep(0)
    assert batches.sizes.total() == begun + 1
    calls.append(asyncio.create_task(other.create("first")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (batches.sizes.total(), batches.rows) == (begun + 2, [(other.user_id.int,)])
    batches.gate.set()
    assert [(await call).outcome for call in calls] == ["created", "created", "adjusted", "created"]


async def test_a_batch_takes_its_rows_in_one_order(database: Database, batches: Batches) -> None:
    """Calls are sorted by user and video, whatever the order of their arrival."""
    accounts = sorted([await Account.open(database, 10) for _ in range(9)], key=lambda each: each.user_id, reverse=True)
    created = await batches.together(database, [account.create("key") for account in accounts])
    assert batches.rows == [(account.user_id.int,) for account in reversed(accounts)]
    videos = [required(answer.video) for answer in created]
    await batches.together(
        database, [each.report(video.id, "FAILED") for each, video in zip(accounts, videos, strict=True)]
    )
    assert batches.rows == [(video.user_id.int, video.id.int) for video in reversed(videos)]


async def test_processes_do_not_wait_for_each_other_in_a_circle(database: Database, dsn: str) -> None:
    """Mixed calls of three processes on the same users and videos, in batches and alone, make no deadlock."""
    processes = [database, *[await db.database.connect(dsn, pool_size=10, timeout_seconds=60) for _ in range(2)]]
    accounts = [await Account.open(database, 1000) for _ in range(6)]
    videos = [(each, required((await each.create(key)).video).id) for each in accounts for key in ("1", "2", "3")]
    random = Random(0)
    for number in range(ROUNDS):
        calls: list[Callable[[], Coroutine[Any, Any, MutationRow]]] = []
        for process in processes:
            for each, video in random.sample(videos, len(videos)):
                account, key = Account(process, each.user_id), f"{number}: {random.randrange(10)}"
                calls += random.sample(
                    [
                        partial(account.report, video, random.choice(["FAILED", "CANCELED"])),
                        partial(account.report, video, None, progress=number),
                        partial(account.retry, video, key),
                        partial(account.create, key),
                        partial(account.adjust, key, 1),
                        partial(account.store, video, None, script="words"),
                        partial(account.store, video, None, render_id=key),
                        partial(account.trash, video, random.choice([False, True])),
                    ],
                    3,
                )
        check_answers_agree(await asyncio.gather(*(call() for call in calls)))
    for process in processes[1:]:
        await process.close()
    await check_verified(dsn)
    assert await deadlocks(database, dsn) == 0


@pytest.mark.parametrize("call", ["create", "adjust"])
async def test_a_user_who_registers_while_a_batch_waits(
    database: Database, dsn: str, batches: Batches, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Of a user who registered after the batch took its locks it judges nothing before it has locked that one, too."""
    monkeypatch.setattr(db.database, "LOCK_MILLISECONDS_MAX", 0)
    waiting_long = await db.database.connect(dsn, pool_size=10, timeout_seconds=60)
    held = await Account.open(database, 10)
    late = Account(database, UUID(int=held.user_id.int + 1))
    calls = {
        "create": lambda account, key: account.create(key),
        "adjust": lambda account, key: account.adjust(key, -1),
    }
    async with AsyncExitStack() as stack:
        async with held.locked():
            accounts = [Account(waiting_long, account.user_id) for account in (held, late)]
            running = asyncio.create_task(
                batches.together(waiting_long, [calls[call](account, "key") for account in accounts])
            )
            await blocked(database)
            await late.register(10)
            connection = await stack.enter_async_context(database.pool.acquire())
            await stack.enter_async_context(connection.transaction())
            await calls[call](Account(Unfinished(connection), late.user_id), "rival")
        await blocked(database)
    answers = await running
    assert batches.failed == 0
    assert [answer.wallet and answer.wallet.credits for answer in answers] == [9, 8]
    assert len(await late.ledger()) == 3
    await waiting_long.close()


async def test_a_caller_that_is_cancelled_when_its_call_runs_by_itself(database: Database, batches: Batches) -> None:
    """What runs by itself after its batch has failed is finished although its caller is cancelled."""
    account = await Account.open(database, 10)
    async with account.locked():
        caller = asyncio.create_task(account.create("key"))
        while not batches.failed:  # noqa: ASYNC110 - a batch sets no event
            await asyncio.sleep(0.002)
        await waiting(database.pool, [caller])
        caller.cancel()
        await asyncio.wait([caller])
    await charged(account)
    assert (await account.create("key")).outcome == "replayed"
