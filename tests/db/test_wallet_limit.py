"""One user's calls that wait for a lock hold a fraction of the connections, and nobody else waits for them."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

import db.database
import db.user
from db import group_commit
from db.database import Database, RetryLaterError
from db.wallet_limit import WalletLimit
from resolvers.objects import required
from tests.race import BLOCKED, Account

POOL_SIZE = 10
OTHERS = 10
CALLS_OF_EACH = 20


async def every_kind(account: Account, key: str, videos: list[UUID]) -> list[Any]:
    """Make a call of each kind, on videos of an account."""
    return await asyncio.gather(
        account.create(key),
        account.adjust(f"adjust {key}", 1),
        account.register(0),
        account.report(videos[0], None, progress=50),
        account.report(videos[1], "READY"),
        account.report(videos[2], "FAILED"),
        account.report(videos[3], "CANCELED"),
        account.store(videos[4], None, script="once"),
        account.trash(videos[5], trashed=True),
        account.retry(videos[6], f"retry {key}"),
    )


async def with_videos(database: Database) -> tuple[Account, list[UUID]]:
    account = await Account.open(database, 100)
    videos = [required((await account.create(f"video {number}")).video).id for number in range(7)]
    await account.report(videos[6], "FAILED")
    return account, videos


@pytest.mark.parametrize("pool_size", [2, 4, POOL_SIZE, 20])
async def test_a_locked_users_calls_leave_the_connections_to_others(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch, pool_size: int
) -> None:
    """While a user's rows are locked, twenty calls of that user wait, and all calls of others are answered.

    No more than the user's share of connections waits in PostgreSQL, and no batch fails but the first ones.
    """
    limited = await db.database.connect(dsn, pool_size=pool_size, timeout_seconds=60)
    failed: Counter[str] = Counter()
    run = group_commit.run_batch

    async def counting(*arguments: Any) -> Any:
        records = await run(*arguments)
        failed["batches"] += None in records
        return records

    monkeypatch.setattr(group_commit, "run_batch", counting)
    (locked, locked_videos), *others = [await with_videos(limited) for _ in range(1 + OTHERS)]
    share = max(1, limited.pool.get_max_size() // 4)
    async with Account(database, locked.user_id).locked(), asyncio.timeout(60):
        kinds = asyncio.create_task(every_kind(locked, "first", locked_videos))
        stuck: list[asyncio.Task[Any]] = [asyncio.create_task(locked.create(f"stuck {number}")) for number in range(10)]
        for number in range(CALLS_OF_EACH // 10):
            stuck.append(asyncio.create_task(locked.adjust(f"later {number}", 1)))
            for account, videos in others:
                await every_kind(account, f"key {number}", videos)
                assert await database.pool.fetchval(BLOCKED) <= share + group_commit.WRITERS
        assert not any(task.done() for task in (kinds, *stuck))
        while await database.pool.fetchval(BLOCKED) != share:  # noqa: ASYNC110 - PostgreSQL sets no event
            await asyncio.sleep(0.002)
        assert failed["batches"] <= 2 * group_commit.WRITERS
    outcomes = Counter(answer.outcome for answer in await asyncio.gather(*stuck))
    assert outcomes == {"created": 10, "adjusted": CALLS_OF_EACH // 10}
    assert {answer.outcome for answer in await kinds} == {
        *("created", "adjusted", "replayed", "noted", "moved", "updated", "changed", "restarted")
    }
    assert not limited._stuck_wallets  # noqa: SLF001 - it shows nowhere else
    await limited.close()


async def test_waiting_for_ones_share_ends_with_the_deadline(dsn: str, database: Database) -> None:
    """A call that waits behind its user's other calls is RETRY when its time is up, and has not begun."""
    hurried = await db.database.connect(dsn, pool_size=2, timeout_seconds=0.3)
    account = await Account.open(hurried, 100)
    async with Account(database, account.user_id).locked():
        calls = [asyncio.create_task(account.create(f"key {number}")) for number in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {RetryLaterError}
    assert (await account.create("another")).outcome == "created"
    await hurried.close()


async def test_slots_are_given_in_order_and_forgotten() -> None:
    """Each user has so many slots, given in the order of arrival, also when a call that waits is cancelled."""
    limit = WalletLimit(2)
    users = [UUID(int=1), UUID(int=2)]
    running: list[tuple[UUID, int]] = []
    most: Counter[UUID] = Counter()
    order: dict[UUID, list[int]] = {user: [] for user in users}

    async def call(user: UUID, number: int) -> None:
        async with limit.slot(user):
            running.append((user, number))
            order[user].append(number)
            most[user] = max(most[user], sum(each == user for each, _ in running))
            await asyncio.sleep(0)
            running.remove((user, number))

    tasks = [asyncio.create_task(call(user, number)) for number in range(10) for user in users]
    await asyncio.sleep(0)
    tasks[8].cancel()  # The fifth call of the first user, which waits.
    await asyncio.wait(tasks)
    assert most == {users[0]: 2, users[1]: 2}
    assert order == {users[0]: [0, 1, 2, 3, 5, 6, 7, 8, 9], users[1]: list(range(10))}
    del tasks
    assert not limit._slots  # noqa: SLF001 - what it keeps shows nowhere else
