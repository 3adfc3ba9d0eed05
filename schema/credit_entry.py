"""The ledger as clients see it."""

import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import strawberry

from schema.context import Info
from schema.node import Node

if TYPE_CHECKING:
    from schema.user import User
    from schema.video_data import VideoData


@strawberry.enum(description="Why a balance changed.")
class CreditEntryKind(Enum):
    SIGNUP = strawberry.enum_value("SIGNUP", description="Credits granted once, at registration.")
    PURCHASE = strawberry.enum_value("PURCHASE", description="Credits bought.")
    REWARD = strawberry.enum_value("REWARD", description="Credits given, for a referral for example.")
    ADJUSTMENT = strawberry.enum_value("ADJUSTMENT", description="A correction by an administrator, up or down.")
    CHARGE = strawberry.enum_value("CHARGE", description="What an attempt at a video cost. Negative.")
    REFUND = strawberry.enum_value(
        "REFUND", description="What a failed or canceled attempt had cost, given back. At most once for each attempt."
    )


@strawberry.enum(description="Why an administrator, or a payment webhook, changes a balance.")
class AdjustmentKind(Enum):
    PURCHASE = strawberry.enum_value("PURCHASE", description="Credits bought (negative: a purchase taken back).")
    REWARD = strawberry.enum_value("REWARD", description="Credits given, for a referral for example.")
    ADJUSTMENT = strawberry.enum_value("ADJUSTMENT", description="A correction, up or down.")


@strawberry.type(
    description="One line of a user's ledger. Entries are never changed or removed; a user's are numbered 1, 2, 3 … "
    "without gaps, and each balance is the one before plus the amount."
)
class CreditEntry(Node):
    wallet_id: strawberry.Private[UUID]
    user_id: strawberry.Private[UUID]
    video_id: strawberry.Private[UUID | None]
    number: int = strawberry.field(description="1 for the user's first entry, 2 for the second, without gaps.")
    kind: CreditEntryKind = strawberry.field(description="Why the balance changed.")
    amount: int = strawberry.field(description="By how many credits; negative if they were taken.")
    balance_after: int = strawberry.field(description="The user's credits after this entry.")
    uncovered: int = strawberry.field(
        description="How many credits more were to be taken than there were, by `takeAvailable`; mostly 0."
    )
    attempt: int | None = strawberry.field(
        description="Which attempt at the video was charged or refunded; null for entries without a video."
    )
    idempotency_key: str | None = strawberry.field(
        description="The key that the entry was asked for with; null for SIGNUP and REFUND, which happen by themselves."
    )
    actor: str = strawberry.field(description="Who did it: role and subject, such as `WORKER:render-1`.")
    memo: str | None = strawberry.field(description="What was noted with it, if anything.")
    created_at: datetime.datetime = strawberry.field(
        description="When it was written. Order entries by `number`, never by this."
    )

    async def _user(self, info: Info) -> Annotated["User", strawberry.lazy("schema.user")]:
        return await info.context.user(self.user_id)

    user: Annotated["User", strawberry.lazy("schema.user")] = strawberry.field(
        resolver=_user, description="For whom it was written: the user who was charged, or got the credits."
    )

    async def _video_data(self, info: Info) -> Annotated["VideoData", strawberry.lazy("schema.video_data")] | None:
        if self.video_id is None:
            return None
        return await info.context.video_data(self.wallet_id, self.video_id)

    video_data: Annotated["VideoData", strawberry.lazy("schema.video_data")] | None = strawberry.field(
        resolver=_video_data, description="The video that was charged or refunded; null for entries without one."
    )
