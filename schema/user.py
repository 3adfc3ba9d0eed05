"""Users as clients see them, and the mutations of their credits."""

import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from schema.connection import After, Before, Connection, First, Last, Page
from schema.context import Info
from schema.credit_entry import AdjustmentKind, CreditEntry
from schema.error import (
    CreditsOutOfRange,
    IdempotencyKeyReused,
    InsufficientCredits,
    OperationRefused,
    UserNotFound,
)
from schema.limits import (
    CREDITS_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    MEMO_LENGTH_MAX,
    NAME_LENGTH_MAX,
    Limited,
    number,
    text,
)
from schema.node import Node
from schema.scalar import URL

if TYPE_CHECKING:
    from schema.video_data import VideoData, VideoFilter

_Videos = Connection[Annotated["VideoData", strawberry.lazy("schema.video_data")]]
_Filter = Annotated["VideoFilter", strawberry.lazy("schema.video_data")]


@strawberry.type(description="Somebody who has credits and makes videos.")
class User(Node):
    user_id: strawberry.Private[UUID]
    name: str | None = strawberry.field(description="The full name, if the app provided it.")
    email: str | None = strawberry.field(description="The e-mail address, if the app provided it.")
    picture: URL | None = strawberry.field(description="A picture of the user, if the app provided one.")
    credits: int = strawberry.field(description=f"The balance: 0 to {CREDITS_MAX:,}. `creditEntries` explain it.")
    version: int = strawberry.field(
        description="Raised by every change. Of two answers the one with the higher version is newer."
    )
    first_purchased_at: datetime.datetime | None = strawberry.field(
        description="When credits were bought for the first time; null if never."
    )
    created_at: datetime.datetime = strawberry.field(description="When the user was registered.")

    async def _videos(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter: Annotated[
            _Filter | None, strawberry.argument(description="Which videos; all but the trashed ones if not given.")
        ] = None,
    ) -> _Videos:
        return await info.context.videos(self.user_id, Page(first, after, last, before), filter)

    videos: _Videos = strawberry.field(resolver=_videos, description="The user's videos, newest first.")

    async def _credit_entries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[CreditEntry]:
        return await info.context.credit_entries(self.user_id, Page(first, after, last, before))

    credit_entries: Connection[CreditEntry] = strawberry.field(
        resolver=_credit_entries, description="The user's ledger, newest entry first: every change of `credits`."
    )


@strawberry.type(description="You and your balance, as of one moment.")
class ViewerUpdate:
    user: User | None = strawberry.field(description="You; null until you are registered (see `registerUser`).")
    entry: CreditEntry | None = strawberry.field(
        description="The newest entry of your ledger: its `balanceAfter` is `user.credits`. Null if there is none."
    )


@strawberry.input(
    description="Your profile from the identity provider. Fields left out stay as they are; null clears one."
)
class RegisterUserInput(Limited):
    name: str | None = text("The full name.", NAME_LENGTH_MAX, default=strawberry.UNSET)
    email: str | None = text("The e-mail address.", NAME_LENGTH_MAX, default=strawberry.UNSET)
    picture: URL | None = strawberry.field(description="A picture of the user.", default=strawberry.UNSET)


@strawberry.type(description="You are registered.")
class RegisterUserSuccess:
    user: User = strawberry.field(description="You, as you are now.")
    entry: CreditEntry | None = strawberry.field(
        description="The entry of your sign-up credits; null if the app grants none."
    )
    replayed: bool = strawberry.field(description="Whether you were registered before: then nothing was granted again.")


RegisterUserResult = Annotated[
    RegisterUserSuccess | OperationRefused,
    strawberry.union("RegisterUserResult", description="What became of the registration."),
]


@strawberry.input(description="A change of a user's balance.")
class AdjustUserCreditsInput(Limited):
    user_id: strawberry.ID = strawberry.field(description="Whose balance.")
    amount: int = number(
        "By how many credits: positive to add, negative to take.", -CREDITS_MAX, CREDITS_MAX, not_zero=True
    )
    take_available: bool = strawberry.field(
        description="Whether to take what there is, if the balance is less than a negative `amount` takes: for "
        "chargebacks. The entry's `amount` says what was taken, and `uncovered` what was missing.",
        default=False,
    )
    kind: AdjustmentKind = strawberry.field(description="Why.")
    memo: str | None = text("What to note with it: a reason, the amount paid and how.", MEMO_LENGTH_MAX, default=None)
    idempotency_key: str = text(
        "Names this change, so that it happens once however often it is sent: a payment provider's transaction id, "
        "for example. One user's keys are for all mutations together.",
        IDEMPOTENCY_KEY_LENGTH_MAX,
    )


@strawberry.type(description="The balance was changed.")
class AdjustUserCreditsSuccess:
    user: User = strawberry.field(description="The user as it is now.")
    entry: CreditEntry = strawberry.field(description="The ledger's entry, as it was written.")
    replayed: bool = strawberry.field(
        description="Whether the same change had been made before under this key: then nothing changed now."
    )


AdjustUserCreditsResult = Annotated[
    AdjustUserCreditsSuccess
    | IdempotencyKeyReused
    | UserNotFound
    | InsufficientCredits
    | CreditsOutOfRange
    | OperationRefused,
    strawberry.union(
        "AdjustUserCreditsResult",
        description="What became of the change. If several refusals apply, the first in this order is answered.",
    ),
]
