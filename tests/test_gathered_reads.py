"""Reads that are run together: each caller gets its rows, as they are when it asks, whatever becomes of the others."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

import db.user
from db.database import Database, RetryLaterError
from db.gathered_reads import CALLERS_MAX, READERS
from db.user import UserRow
from tests.race import Account


class Gate:
    """Reads users when it is let, and remembers for whom."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked: list[list[UUID]] = []
        self.failure: Exception | None = None

    async def __call__(self, database: Database, user_ids: Sequence[UUID]) -> dict[UUID, UserRow]:
        self.asked.append(list(user_ids))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        return await db.user.get_users(database, user_ids)


async def reading(
    database: Database, gate: Gate, accounts: Sequence[Account]
) -> list[asyncio.Task[dict[UUID, UserRow]]]:
    """Have each account's user read for, in this order, and let all of them ask."""
    tasks = [asyncio.create_task(database.rows_by_key(gate, [account.user_id])) for account in accounts]
    await asyncio.sleep(0)
    return tasks


async def test_who_asks_meanwhile_is_read_for_together(database: Database) -> None:
    """Two read alone, those who come meanwhile by one statement, in which each user is once; each gets its own."""
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(6)]
    asked = [account.user_id for account in accounts]
    tasks = await reading(database, gate, [*accounts, accounts[-1]])
    assert gate.asked == [[asked[0]], [asked[1]]]
    gate.open.set()
    found = await asyncio.gather(*tasks)
    assert gate.asked == [[asked[0]], [asked[1]], asked[2:]]
    assert [rows[account.user_id].credits for rows, account in zip(found, accounts, strict=False)] == list(range(6))
    await database.rows_by_key(gate, asked[:1])
    assert len(gate.asked) == READERS + 2


async def test_too_many_are_read_for_in_turn(database: Database) -> None:
    """No statement reads for more than so many callers."""
    gate = Gate()
    account = await Account.open(database, 1)
    others = [Account(database, UUID(int=number)) for number in range(READERS + CALLERS_MAX)]
    tasks = await reading(database, gate, [*others, account])
    gate.open.set()
    found = await asyncio.gather(*tasks)
    assert [len(each) for each in gate.asked] == [*[1] * READERS, CALLERS_MAX, 1]
    assert found[-1][account.user_id].credits == 1
    assert account.user_id not in found[0]


async def test_what_was_written_before_is_read(database: Database) -> None:
    """Of many who write and then read at once, each reads its own change, or a later one."""
    accounts = [await Account.open(database, 0) for _ in range(4)]

    async def write_and_read(account: Account, name: str) -> None:
        for number in range(20):
            adjusted = await account.adjust(f"{name} {number}", 1)
            assert adjusted.user is not None
            read = await database.rows_by_key(db.user.get_users, [account.user_id])
            assert read[account.user_id].version >= adjusted.user.version

    await asyncio.gather(*(write_and_read(account, name) for account in accounts for name in ("one", "two")))


async def test_who_gives_up_takes_nobody_along(database: Database) -> None:
    """A caller that is cancelled, one who reads or one who waits, leaves the others theirs."""
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(6)]
    tasks = await reading(database, gate, accounts)
    for given_up in (tasks[0], tasks[1], tasks[2]):
        given_up.cancel()
    await asyncio.wait(tasks[:3])
    gate.open.set()
    found = await asyncio.gather(*tasks[3:])
    assert [rows[account.user_id].credits for rows, account in zip(found, accounts[3:], strict=True)] == [3, 4, 5]
    assert gate.asked[2:] == [[account.user_id for account in accounts[3:]]]


async def test_a_failure_is_raised_to_all_and_passes(database: Database) -> None:
    """Who was to be read for by a statement that fails is told so; the next ones are read for."""
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(5)]
    tasks = await reading(database, gate, accounts)
    gate.failure = RetryLaterError()
    gate.open.set()
    for task in tasks:
        with pytest.raises(RetryLaterError):
            await task
    gate.failure = None
    tasks = await reading(database, gate, accounts)
    assert [list(rows) for rows in await asyncio.gather(*tasks[:READERS])] == [
        [account.user_id] for account in accounts[:READERS]
    ]
    await asyncio.gather(*tasks)
