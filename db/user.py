"""Users and their balances: one function per query or mutation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from db.credit_entry import CreditEntryRow
from db.database import Database
from db.json_text import json_text
from db.mutation import Mutation
from db.statement import paged, statement
from db.wallet import WalletRow


class UserRow(NamedTuple):
    """A user and the wallet of the user's own, as they stand in the tables."""

    user_id: UUID
    registered_id: UUID
    name: str | None
    email: str | None
    picture: str | None
    created_at: datetime
    credits: int
    version: int
    first_purchased_at: datetime | None


GET_USERS = statement("get_users", user_wallets=UserRow)
GET_VIEWERS = statement("get_viewers", user_wallets=UserRow, entry=CreditEntryRow)
LIST_USERS = paged("list_users", user_wallets=UserRow)
REGISTER_USER = Mutation("register_user", account=UserRow, entry=CreditEntryRow)
ADJUST_USER_CREDITS = Mutation("adjust_user_credits", wallet=WalletRow, entry=CreditEntryRow)


@dataclass(frozen=True, slots=True)
class RegisterUserRow:
    """What became of a registration, the user, and the sign-up credits' entry if any were granted."""

    outcome: Literal["registered", "replayed"]
    user: UserRow
    entry: CreditEntryRow | None


@dataclass(frozen=True, slots=True)
class AdjustUserCreditsRow:
    """What became of an adjustment, with the wallet and the entry as far as they exist."""

    outcome: Literal[
        "idempotency_key_reused",
        "replayed",
        "user_not_found",
        "insufficient_credits",
        "credits_out_of_range",
        "adjusted",
    ]
    wallet: WalletRow | None
    entry: CreditEntryRow | None


async def get_users(database: Database, user_ids: Sequence[UUID]) -> dict[UUID, UserRow]:
    """Return those of the users that exist, by id."""
    return {record["user_id"]: UserRow._make(record) for record in await database.rows(GET_USERS, user_ids)}


async def get_viewers(
    database: Database, user_ids: Sequence[UUID]
) -> dict[UUID, tuple[UserRow, CreditEntryRow | None]]:
    """Return those of the users that exist, by id, each with the newest entry, which has the balance."""
    end = len(UserRow._fields)
    found = ((record[:end], record[end:]) for record in await database.rows(GET_VIEWERS, user_ids))
    return {
        user[0]: (UserRow._make(user), None if entry[0] is None else CreditEntryRow._make(entry))
        for user, entry in found
    }


async def list_users(database: Database, after: UUID, before: UUID, limit: int, backward: bool) -> list[UserRow]:
    """Return users registered between ``before`` and ``after``, newest first; ``backward``: oldest first."""
    return [UserRow._make(record) for record in await database.rows(LIST_USERS[backward], after, before, limit)]


async def register_user(
    database: Database,
    user_id: UUID,
    subject: str,
    profile: Mapping[str, str | None],
    signup_credits: int,
    actor: str,
) -> RegisterUserRow:
    """Register a user, with a wallet that has the sign-up credits, or keep a registered one's profile current.

    Of ``name``, ``email`` and ``picture`` the profile has those that are given; None clears one.
    """
    answer = await database.answer(REGISTER_USER, user_id, subject, json_text(profile), signup_credits, actor)
    return RegisterUserRow(*answer)


async def adjust_user_credits(
    database: Database,
    wallet_id: UUID,
    idempotency_key: str,
    request_hash: bytes,
    user_id: UUID,
    amount: int,
    take_available: bool,
    kind: str,
    actor: str,
    memo: str | None,
) -> AdjustUserCreditsRow:
    """Add a signed amount to a wallet's credits, once per key, unless that would leave 0 to 2,147,483,647.

    ``user_id`` is for whom, of those who spend from the wallet. With ``take_available`` a negative amount takes what
    there is, and the entry notes what was uncovered.
    """
    answer = await database.answer(
        ADJUST_USER_CREDITS,
        wallet_id,
        idempotency_key,
        request_hash,
        user_id,
        amount,
        take_available,
        kind,
        actor,
        memo,
    )
    return AdjustUserCreditsRow(*answer)
