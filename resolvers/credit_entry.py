"""The subscription to new ledger entries."""

from collections.abc import AsyncGenerator
from typing import Annotated
from uuid import UUID

import strawberry

from db.change_feed import UNSEEN, WatchedWallet
from db.database import RetryLaterError
from resolvers import objects
from resolvers.connection import NEWEST_ENTRY_FIRST, cursor, window
from resolvers.context import Context, Info
from resolvers.rules import admit
from schema.connection import Edge, Page
from schema.credit_entry import CreditEntry
from schema.error import RequestError

_After = Annotated[
    str | None,
    strawberry.argument(
        description="The cursor of the newest entry that you have, from here or from `creditEntries`: entries "
        "added since then come first. Without it, only new entries are sent."
    ),
]


async def credit_entry_added(info: Info, after: _After = None) -> AsyncGenerator[Edge[CreditEntry], None]:
    user_id = admit(info).identity.user_id
    number = None if after is None else window(Page(None, after, None, None), NEWEST_ENTRY_FIRST).after
    return _added(info.context, user_id, number)


async def _added(context: Context, user_id: UUID, number: int | None) -> AsyncGenerator[Edge[CreditEntry], None]:
    with context.live.watch(WatchedWallet(user_id, UNSEEN)) as watch:
        checked = False
        while True:
            watch.rest_seconds = context.rest_seconds
            context.new_response(await watch.woken())
            try:
                user, newest = await context.loaders.viewer(user_id) or (None, None)
                newest_number = newest.number if newest else 0
                number = newest_number if number is None else number
                if number > newest_number and not checked:
                    raise RequestError("BAD_USER_INPUT", "`after` is not a cursor of your ledger.")
                checked = True
                while number < newest_number:
                    rows = await context.loaders.added_credit_entries(user_id, number)
                    for row in rows:
                        number = row.number
                        context.new_response(context.loaders)
                        yield Edge(cursor=cursor(NEWEST_ENTRY_FIRST, number), node=objects.credit_entry(row))
            except RetryLaterError:
                continue
            watch.subject = WatchedWallet(user_id, user and user.version)
