"""Reads that are run together: each caller gets its rows, as they are when it asks, whatever becomes of the others."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

import db.user
from db.change_feed import UNSEEN, WatchedWallet
from db.database import Database, RetryLaterError
from db.shared_data_loader import KEYS_MAX, READERS
from db.user import UserRow
from resolvers.live import Live, State, Watch
from resolvers.loaders import Loaders
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


async def asking(database: Database, gate: Gate, accounts: Sequence[Account]) -> "list[asyncio.Future[UserRow | None]]":
    """Ask for each account's user, all at once, and let them be read for."""
    asked = [database.row(gate, account.user_id) for account in accounts]
    for _ in range(3):
        await asyncio.sleep(0)
    return asked


def balance(user: UserRow | None) -> int:
    assert user is not None
    return user.credits


async def test_who_asks_at_once_or_meanwhile_is_read_for_batched(database: Database) -> None:
    """Who asks in one turn of the event loop is read for by one statement, in which each user is once.

    Those who come later are read for beside them when they are as many, and by the next one where two are at work.
    """
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(7)]
    ids = [account.user_id for account in accounts]
    asked = await asking(database, gate, [accounts[0], accounts[1], accounts[0]])
    asked += await asking(database, gate, [accounts[2], accounts[2]])
    assert gate.asked == [ids[:2]]
    asked += await asking(database, gate, [accounts[3]])
    asked += await asking(database, gate, [accounts[4]])
    asked += await asking(database, gate, [accounts[5], accounts[6], accounts[6]])
    assert gate.asked == [ids[:2], ids[2:4]]
    gate.open.set()
    assert [balance(user) for user in await asyncio.gather(*asked)] == [0, 1, 0, 2, 2, 3, 4, 5, 6, 6]
    assert gate.asked == [ids[:2], ids[2:4], ids[4:]]
    assert balance(await database.row(gate, ids[3])) == 3


async def test_on_other_terms_it_is_another_statement(database: Database) -> None:
    """What is asked for on the same terms is read together, and never what is asked for on others."""
    asked: list[tuple[list[int], str]] = []

    async def fetch(_: Database, keys: list[int], terms: str) -> dict[int, str]:
        asked.append((keys, terms))
        return {key: f"{terms} {key}" for key in keys if key != 3}

    found = await asyncio.gather(
        database.row(fetch, 1, "a"),
        database.row(fetch, 1, "b"),
        database.row(fetch, 2, "a"),
        database.row(fetch, 3, "a"),
    )
    assert tuple(found) == ("a 1", "b 1", "a 2", None)
    assert asked == [([1, 2, 3], "a"), ([1], "b")]


async def test_too_many_are_read_for_in_turn(database: Database) -> None:
    """No statement reads for more than so many keys."""
    gate = Gate()
    account = await Account.open(database, 1)
    others = [Account(database, UUID(int=number)) for number in range(READERS * KEYS_MAX)]
    asked = await asking(database, gate, [*others, account])
    gate.open.set()
    found = await asyncio.gather(*asked)
    assert [len(each) for each in gate.asked] == [*[KEYS_MAX] * READERS, 1]
    assert balance(found[-1]) == 1
    assert found[0] is None


async def test_who_is_late_holds_up_nobody(database: Database) -> None:
    """While two statements do not end, others are read for all the same."""
    late_ones = asyncio.Event()

    async def fetch(_: Database, keys: list[int]) -> dict[int, int]:
        if 3 not in keys:
            await late_ones.wait()
        return {key: key for key in keys}

    late = []
    for key in (1, 2):
        late.append(database.row(fetch, key))
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await database.row(fetch, 3) == 3
    late_ones.set()
    assert await asyncio.gather(*late) == [1, 2]


async def test_nothing_is_kept_of_what_nobody_waits_for(database: Database) -> None:
    """However many terms there are, what was asked for on them is forgotten when all who asked have their rows."""

    async def fetch(_: Database, keys: list[int], __: int) -> dict[int, int]:
        return dict.fromkeys(keys, 0)

    await asyncio.gather(*(database.row(fetch, 1, terms) for terms in range(100)))
    given_up = database.row(fetch, 1, 0)
    given_up.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert database._loaders == {}  # noqa: SLF001 - what it keeps shows nowhere else.


async def test_what_was_written_before_is_read(database: Database) -> None:
    """Of many who write and then read at once, each reads its own change, or a later one."""
    accounts = [await Account.open(database, 0) for _ in range(4)]

    async def write_and_read(account: Account, name: str) -> None:
        for number in range(20):
            adjusted = await account.adjust(f"{name} {number}", 1)
            assert adjusted.wallet is not None
            read = await database.row(db.user.get_users, account.user_id)
            assert read is not None
            assert read.version >= adjusted.wallet.version

    await asyncio.gather(*(write_and_read(account, name) for account in accounts for name in ("one", "two")))


async def test_who_gives_up_takes_nobody_along(database: Database) -> None:
    """A caller that is cancelled, one who is read for or one who waits, leaves the others theirs."""
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(6)]
    asked = []
    for among in (accounts[:1], accounts[1:3], accounts[3:]):
        asked += await asking(database, gate, among)
    for given_up in (asked[0], asked[2], asked[3]):
        given_up.cancel()
    gate.open.set()
    assert [balance(await asked[number]) for number in (1, 4, 5)] == [1, 4, 5]
    assert gate.asked[2:] == [[account.user_id for account in accounts[4:]]]


async def test_who_shares_loaders_takes_nobody_along(database: Database) -> None:
    """Of several who read the same row with shared loaders, each may be cancelled, the first too."""
    account = await Account.open(database, 7)
    loaders = Loaders(database, shared=True)

    async def load() -> UserRow | None:
        return await loaders.user(account.user_id)

    first, second = asyncio.create_task(load()), asyncio.create_task(load())
    await asyncio.sleep(0)
    first.cancel()
    assert balance(await second) == 7
    assert first.cancelled()


async def test_who_follows_takes_nobody_along(database: Database) -> None:
    """Of two who follow the same, are woken together, and read the same, one may leave while it is being read."""
    account = await Account.open(database, 7)
    live, subject = Live(database), WatchedWallet(account.user_id, UNSEEN)

    async def read(watch: Watch) -> UserRow | None:
        return await (await watch.woken()).user(account.user_id)

    with live.watch(subject) as one, live.watch(subject) as other:
        first, second = asyncio.create_task(read(one)), asyncio.create_task(read(other))
        await asyncio.sleep(0)
        while {one.state, other.state} != {State.BUSY}:  # noqa: ASYNC110 - a watch sets no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        assert balance(await second) == 7


async def test_an_operation_sees_a_row_as_it_read_it_first(database: Database) -> None:
    """What changes meanwhile shows in the next operation, and in the same one nothing contradicts what it has shown."""
    account = await Account.open(database, 1)
    loaders = Loaders(database)
    assert balance(await loaders.user(account.user_id)) == 1
    await account.adjust("more", 1)
    assert balance(await loaders.user(account.user_id)) == 1
    assert balance(await Loaders(database).user(account.user_id)) == 2


async def test_a_failure_is_raised_to_all_and_passes(database: Database) -> None:
    """Who was to be read for by a statement that fails is told so; the next ones are read for."""
    gate = Gate()
    accounts = [await Account.open(database, number) for number in range(5)]
    asked = []
    for among in (accounts[:1], accounts[1:2], accounts[2:]):
        asked += await asking(database, gate, among)
    gate.failure = RetryLaterError()
    gate.open.set()
    for user in asked:
        with pytest.raises(RetryLaterError):
            await user
    gate.failure = None
    assert [balance(user) for user in await asyncio.gather(*await asking(database, gate, accounts))] == list(range(5))
