"""The ledger: one function per statement that reads it. Mutations write it with the balance."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from db.database import Database
from db.statement import paged, statement


class CreditEntryRow(NamedTuple):
    """One line of a wallet's ledger, as it was written."""

    wallet_id: UUID
    number: int
    kind: str
    amount: int
    balance_after: int
    uncovered: int
    user_id: UUID
    video_id: UUID | None
    attempt: int | None
    idempotency_key: str | None
    actor: str
    memo: str | None
    created_at: datetime


GET_CREDIT_ENTRIES = statement("get_credit_entries", credit_entries=CreditEntryRow)
LIST_ADDED_CREDIT_ENTRIES = statement("list_added_credit_entries", page=CreditEntryRow)
LIST_CREDIT_ENTRIES = paged("list_credit_entries", page=CreditEntryRow)
LIST_CREDIT_ENTRIES_OF_VIDEO = paged("list_credit_entries_of_video", page=CreditEntryRow)


async def get_credit_entries(
    database: Database, keys: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], CreditEntryRow]:
    """Return those of the entries that exist, by wallet's id and number."""
    records = await database.rows(GET_CREDIT_ENTRIES, [key[0] for key in keys], [key[1] for key in keys])
    return {(row.wallet_id, row.number): row for row in (CreditEntryRow._make(record) for record in records)}


async def list_added_credit_entries(
    database: Database, keys: Sequence[tuple[UUID, int]], limit: int
) -> dict[tuple[UUID, int], list[CreditEntryRow]]:
    """Return the entries that follow a number of a wallet's, oldest first, for each such pair."""
    wallet_ids, numbers = [key[0] for key in keys], [key[1] for key in keys]
    found: dict[tuple[UUID, int], list[CreditEntryRow]] = {key: [] for key in keys}
    for record in await database.rows(LIST_ADDED_CREDIT_ENTRIES, wallet_ids, numbers, limit):
        found[record["wallet_id"], record["after"]].append(CreditEntryRow._make(record[:-1]))
    return found


async def list_credit_entries(
    database: Database, wallet_ids: Sequence[UUID], after: int, before: int, limit: int, backward: bool
) -> dict[UUID, list[CreditEntryRow]]:
    """Return a page of each wallet's entries, newest first; ``backward``: oldest first."""
    records = await database.rows(LIST_CREDIT_ENTRIES[backward], wallet_ids, after, before, limit)
    found: dict[UUID, list[CreditEntryRow]] = {wallet_id: [] for wallet_id in wallet_ids}
    for wallet_id, rows in groupby(map(CreditEntryRow._make, records), attrgetter("wallet_id")):
        found[wallet_id].extend(rows)
    return found


async def list_credit_entries_of_video(
    database: Database, videos: Sequence[tuple[UUID, UUID]], after: int, before: int, limit: int, backward: bool
) -> dict[tuple[UUID, UUID], list[CreditEntryRow]]:
    """Return a page of each video's entries, newest first; ``backward``: oldest first."""
    wallet_ids, ids = [video[0] for video in videos], [video[1] for video in videos]
    found: dict[tuple[UUID, UUID], list[CreditEntryRow]] = {video: [] for video in videos}
    for record in await database.rows(LIST_CREDIT_ENTRIES_OF_VIDEO[backward], wallet_ids, ids, after, before, limit):
        found[record["wallet_id"], record["video_id"]].append(CreditEntryRow._make(record))
    return found
