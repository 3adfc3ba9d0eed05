"""Shared by the race tests: an account, a common start for all calls, and the check that all answers agree."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg

import db.credit_entry
import db.user
import db.video_data
from db.credit_entry import CreditEntryRow
from db.database import Database
from db.user import AdjustUserCreditsRow, RegisterUserRow, UserRow
from db.verify import verify
from db.video_data import (
    CreateVideoDataRow,
    RetryVideoDataRow,
    TrashVideoDataRow,
    UpdateVideoDataRow,
    UpdateVideoRecordStatusRow,
    VideoDataRow,
)
from db.wallet import WalletRow
from resolvers.idempotency import request_hash

Answer = TypeVar("Answer")
MutationRow = (
    AdjustUserCreditsRow
    | CreateVideoDataRow
    | RegisterUserRow
    | RetryVideoDataRow
    | TrashVideoDataRow
    | UpdateVideoDataRow
    | UpdateVideoRecordStatusRow
)
REFUNDED = {"FAILED", "CANCELED"}
MANY = 1_000_000
# Without autovacuum's, and the change feed's, which polls on its own.
BLOCKED = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND wait_event_type = 'Lock' AND query NOT LIKE '%queue_digest%'"""


@dataclass(frozen=True)
class Account:
    """A wallet's credits and videos, directly on the database, with the arguments that matter to a race.

    The wallet is the user's own, unless it is another one, such as a team's.
    """

    database: Database
    user_id: UUID
    team_id: UUID | None = None

    @property
    def wallet_id(self) -> UUID:
        return self.team_id or self.user_id

    @classmethod
    async def open(cls, database: Database, credits: int) -> "Account":
        account = cls(database, uuid4())
        await account.register(credits)
        return account

    async def register(self, credits: int) -> RegisterUserRow:
        return await db.user.register_user(
            self.database,
            self.user_id,
            str(self.user_id),
            profile={},
            signup_credits=credits,
            actor="USER:racer",
        )

    async def adjust(
        self, key: str, amount: int, kind: str = "ADJUSTMENT", *, take_available: bool = False
    ) -> AdjustUserCreditsRow:
        arguments = request_hash("adjustUserCredits", amount=amount, take_available=take_available, kind=kind)
        return await db.user.adjust_user_credits(
            self.database,
            self.wallet_id,
            key,
            arguments,
            self.user_id,
            amount,
            take_available,
            kind,
            "ADMIN:root",
            memo=None,
        )

    async def create(
        self,
        key: str,
        title: str = "Whales",
        cost: int = 1,
        *,
        script: str | None = None,
        creations_max: int | None = None,
        storage_max: int | None = None,
    ) -> CreateVideoDataRow:
        arguments = request_hash("createVideoData", title=title, script=script)
        return await db.video_data.create_video_data(
            self.database,
            self.wallet_id,
            key,
            arguments,
            self.user_id,
            cost,
            actor="USER:racer",
            title=title,
            video_style="realistic",
            topic=None,
            script=script,
            caption=None,
            voice_id=None,
            voice_name=None,
            created_by=None,
            creations_max=creations_max,
            storage_max=storage_max,
        )

    async def report(
        self,
        video_id: UUID,
        status: str | None,
        comments: str | None = None,
        *,
        progress: int | None = None,
        attempt: int | None = None,
    ) -> UpdateVideoRecordStatusRow:
        return await db.video_data.update_video_record_status(
            self.database,
            self.wallet_id,
            video_id,
            status,
            comments,
            progress,
            download_url=None,
            attempt=attempt,
            actor="WORKER:render-1",
        )

    async def retry(
        self, video_id: UUID, key: str, cost: int = 1, *, creations_max: int | None = None
    ) -> RetryVideoDataRow:
        arguments = request_hash("retryVideoData", record_id=str(video_id))
        return await db.video_data.retry_video_data(
            self.database, self.wallet_id, video_id, key, arguments, cost, "USER:racer", creations_max
        )

    async def trash(self, video_id: UUID, trashed: bool) -> TrashVideoDataRow:
        return await db.video_data.trash_video_data(self.database, self.wallet_id, video_id, trashed)

    async def store(
        self, video_id: UUID, expected_version: int | None, storage_max: int | None = None, **stored: object
    ) -> UpdateVideoDataRow:
        return await db.video_data.update_video_data(
            self.database, self.wallet_id, video_id, expected_version, stored, storage_max
        )

    async def user(self) -> UserRow:
        return (await db.user.get_users(self.database, [self.user_id]))[self.user_id]

    async def wallet(self) -> WalletRow:
        columns = ", ".join(WalletRow._fields)
        (record,) = await self.database.rows(f"SELECT {columns} FROM wallets WHERE wallet_id = $1", self.wallet_id)
        return WalletRow._make(record)

    async def videos(self) -> list[VideoDataRow]:
        everything = (UUID(int=2**128 - 1), UUID(int=0), MANY, True, None, None)
        return (await db.video_data.list_videos(self.database, [self.wallet_id], *everything))[self.wallet_id]

    async def ledger(self) -> list[CreditEntryRow]:
        """Return the entries, oldest first, after checking that they are numbered from 1 and explain the balance."""
        pages = await db.credit_entry.list_credit_entries(
            self.database, [self.wallet_id], 2**63 - 1, 0, MANY, backward=True
        )
        entries = pages[self.wallet_id]
        assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
        balance = 0
        for entry in entries:
            balance += entry.amount
            assert entry.balance_after == balance
        assert (await self.wallet()).credits == balance
        return entries

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Lock the account and its videos, so that every call that changes them waits."""
        async with self.database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM video_data WHERE wallet_id = $1 FOR NO KEY UPDATE", self.wallet_id)
            await connection.execute("SELECT FROM wallets WHERE wallet_id = $1 FOR NO KEY UPDATE", self.wallet_id)
            yield


async def at_once(account: Account, calls: Iterable[Coroutine[Any, Any, Answer]], *, held: bool) -> list[Answer]:
    """Run calls simultaneously; ``held``: each has taken its snapshot before any of them is decided."""
    if not held:
        return await asyncio.gather(*calls)
    async with account.locked():
        running = [asyncio.create_task(call) for call in calls]
        await waiting(account.database.pool, running)
    return await asyncio.gather(*running)


async def blocked(database: Database, count: int = 1) -> None:
    """Wait until this many statements wait for a lock."""
    while await database.pool.fetchval(BLOCKED) < count:  # noqa: ASYNC110 - PostgreSQL sets no event
        await asyncio.sleep(0)


async def unblocked(database: Database) -> None:
    """Wait until no statement waits for a lock: a canceled one may do so for a moment longer."""
    while await database.pool.fetchval(BLOCKED):  # noqa: ASYNC110 - PostgreSQL sets no event
        await asyncio.sleep(0)


async def waiting(pool: "asyncpg.Pool[asyncpg.Record]", running: Iterable[asyncio.Task[Any]]) -> None:
    """Return when each of these tasks waits for a lock, or has finished."""
    tasks = set(running)
    while await pool.fetchval(BLOCKED) < sum(not task.done() for task in tasks):  # noqa: ASYNC110 - PostgreSQL sets no event
        await asyncio.sleep(0.002)


async def run_alone(database: Database) -> None:
    """Run each call on its own connection from now on."""
    assert database._group_commit is not None  # noqa: SLF001 - no setting turns it off
    await database._group_commit.connections.close()  # noqa: SLF001 - as above
    database._group_commit = None  # noqa: SLF001 - as above


async def charged(account: Account) -> None:
    """Wait until an abandoned call has charged the account: an immediate check may come before it."""
    async with asyncio.timeout(30):
        while len(await account.ledger()) < 2:  # noqa: ASYNC110 - PostgreSQL sets no event
            await asyncio.sleep(0.002)


def check_answers_agree(answers: Iterable[MutationRow]) -> None:
    """Check that all answers agree on each version of a user, wallet or video, and on each entry."""
    seen: dict[tuple[object, ...], UserRow | WalletRow | VideoDataRow | CreditEntryRow] = {}
    for answer in answers:
        user, wallet, video, entry = (getattr(answer, noun, None) for noun in ("user", "wallet", "video", "entry"))
        if user:
            assert seen.setdefault(("user", user.user_id, user.version), user) == user
        if wallet:
            assert seen.setdefault(("wallet", wallet.wallet_id, wallet.version), wallet) == wallet
        if video:
            assert seen.setdefault(("video", video.id, video.version), video) == video
        if entry:
            assert seen.setdefault(("entry", entry.wallet_id, entry.number), entry) == entry


async def check_verified(dsn: str) -> None:
    """Check that every rule about the data holds."""
    connection = await asyncpg.connect(dsn)
    assert [checked async for checked in verify(connection) if checked.broken] == []
    await connection.close()


async def statistics(database: Database, dsn: str, query: str) -> asyncpg.Record:
    """Close the database, and read statistics: its connections report theirs at their end, at the latest."""
    await database.close()
    connection = await asyncpg.connect(dsn)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while await connection.fetchval(others):  # noqa: ASYNC110 - PostgreSQL sets no event
        await asyncio.sleep(0.01)
    (row,) = await connection.fetch(query)
    await connection.close()
    return row


async def deadlocks(database: Database, dsn: str) -> int:
    """Close the database and return the number of deadlocks that PostgreSQL found in it."""
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    count: int = (await statistics(database, dsn, query))["deadlocks"]
    return count
