"""Users and their credits."""

from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated, assert_never

import strawberry

import db.user
from db.change_feed import UNSEEN, WatchedWallet
from resolvers import objects, refusals
from resolvers.connection import NEWEST_USER_FIRST, connection, window
from resolvers.context import Info
from resolvers.idempotency import request_hash
from resolvers.loaders import Loaders
from resolvers.objects import required
from resolvers.rules import admit
from resolvers.states import Seen, states
from schema.connection import After, Before, Connection, First, Last, Page
from schema.node import UserKey, decode_id
from schema.user import (
    AdjustUserCreditsInput,
    AdjustUserCreditsResult,
    AdjustUserCreditsSuccess,
    RegisterUserInput,
    RegisterUserResult,
    RegisterUserSuccess,
    User,
    ViewerUpdate,
)


async def viewer(info: Info) -> User | None:
    row = await info.context.loaders.user(admit(info).identity.user_id)
    return row and objects.user(row)


async def viewer_updated(info: Info) -> AsyncGenerator[ViewerUpdate, None]:
    user_id = admit(info).identity.user_id

    async def read(loaders: Loaders) -> Seen[ViewerUpdate]:
        row, entry = await loaders.viewer(user_id) or (None, None)
        update = ViewerUpdate(user=row and objects.user(row), entry=entry and objects.credit_entry(entry))
        version = row and row.version
        return Seen(WatchedWallet(user_id, version), ("user", version), update)

    return states(info.context, WatchedWallet(user_id, UNSEEN), read)


async def user(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The user's id.")]
) -> User | None:
    access = admit(info)
    key = decode_id(id)
    if not isinstance(key, UserKey) or not access.reaches(key.user_id):
        return None
    row = await info.context.loaders.user(key.user_id)
    return row and objects.user(row)


async def users(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[User]:
    admit(info)
    part = window(Page(first, after, last, before), NEWEST_USER_FIRST)
    rows = await db.user.list_users(info.context.database, *part.bounds)
    return connection(rows, part, lambda row: row.registered_id, objects.user)


async def register_user(
    info: Info, input: Annotated[RegisterUserInput, strawberry.argument(description="Your profile.")]
) -> RegisterUserResult:
    identity = admit(info).identity
    row = await db.user.register_user(
        info.context.database,
        identity.user_id,
        identity.subject,
        {name: value for name, value in asdict(input).items() if value is not strawberry.UNSET},
        info.context.terms.signup_credits,
        identity.actor,
    )
    return RegisterUserSuccess(
        user=objects.user(row.user),
        entry=None if row.entry is None else objects.credit_entry(row.entry),
        replayed=row.outcome == "replayed",
    )


async def adjust_user_credits(
    info: Info, input: Annotated[AdjustUserCreditsInput, strawberry.argument(description="Whose balance, and how.")]
) -> AdjustUserCreditsResult:
    access = admit(info)
    key = decode_id(input.user_id)
    if not isinstance(key, UserKey) or not access.reaches(key.user_id):
        return refusals.user_not_found()
    row = await db.user.adjust_user_credits(
        info.context.database,
        key.user_id,
        input.idempotency_key,
        request_hash(
            "adjustUserCredits",
            amount=input.amount,
            take_available=input.take_available,
            kind=input.kind.name,
            memo=input.memo,
        ),
        key.user_id,
        input.amount,
        input.take_available,
        input.kind.name,
        access.identity.actor,
        input.memo,
    )
    match row.outcome:
        case "idempotency_key_reused":
            return refusals.idempotency_key_reused(input.idempotency_key)
        case "user_not_found":
            return refusals.user_not_found()
        case "insufficient_credits":
            return refusals.insufficient_credits(required(row.wallet), -input.amount)
        case "credits_out_of_range":
            return refusals.credits_out_of_range(required(row.wallet))
        case "adjusted" | "replayed":
            return AdjustUserCreditsSuccess(
                user=objects.owner(key.user_id, required(row.wallet), info.context.loaders),
                entry=objects.credit_entry(required(row.entry)),
                replayed=row.outcome == "replayed",
            )
        case _:
            assert_never(row.outcome)
