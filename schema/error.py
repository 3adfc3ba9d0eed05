"""What can go wrong: refusals, which are data, and errors, which are in the response's `errors`."""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from graphql import GraphQLError


class RequestError(GraphQLError):
    """A request that cannot be served: `code` and `details` become the error's extensions."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message, extensions={"code": code, **details})


def response_too_large(bytes_max: int) -> RequestError:
    """Return the error for a response of more bytes than the operator allows."""
    return RequestError(
        "LIMIT_EXCEEDED",
        f"The response would have more than {bytes_max:,} bytes: ask for shorter pages or fewer large fields. "
        "If it was a mutation, it has happened.",
        limit="responseBytes",
        maximum=bytes_max,
    )


@strawberry.interface(
    description="A refusal: what you asked for was understood, and not done. Nothing has changed. "
    "Ask for `code` and `message` on any of them, and for the details of those that your page shows in its own words."
)
class Error:
    code: str = strawberry.field(
        description="Which refusal this is, in capitals, such as `INSUFFICIENT_CREDITS`. It never changes."
    )
    message: str = strawberry.field(
        description="What happened, in a sentence for developers. Its wording may change: decide by `code` or type."
    )


@strawberry.type(
    description="The user's credits do not cover it. Nothing was charged, and the idempotency key stays free."
)
class InsufficientCredits(Error):
    balance: int = strawberry.field(description="The credits that the user has.")
    required: int = strawberry.field(description="The credits that it takes.")


@strawberry.enum(description="What is bounded for each user.")
class Quota(Enum):
    CREATIONS_PER_DAY = strawberry.enum_value(
        "CREATIONS_PER_DAY",
        description="Attempts at videos, by `createVideoData` and `retryVideoData`, on a day of UTC.",
    )
    STORAGE_BYTES = strawberry.enum_value(
        "STORAGE_BYTES",
        description="What the user's videos hold together: script, caption, images, captionJson and config, in whole "
        "blocks of 65,536 bytes, and at least one for each video.",
    )


@strawberry.type(
    description="The user has used up what the server allows. Nothing has changed, and an idempotency key stays free."
)
class QuotaExceeded(Error):
    quota: Quota = strawberry.field(description="Which quota it is.")
    limit: float = strawberry.field(description="How much it allows: a whole number of attempts or bytes.")
    used: float = strawberry.field(description="How much of it is used.")
    resets_at: datetime | None = strawberry.field(
        description="When the quota resets; null for storage, which shrinks when videos hold less."
    )


@strawberry.type(description="There is no such user, or it is not yours to see.")
class UserNotFound(Error):
    pass


@strawberry.type(description="There is no such video, or it is not yours to see.")
class VideoDataNotFound(Error):
    pass


@strawberry.type(
    description="This idempotency key was used before, with other arguments. "
    "Send the same arguments again to get the first answer, or take a fresh key for a new request."
)
class IdempotencyKeyReused(Error):
    idempotency_key: str = strawberry.field(description="The key that was used before.")


@strawberry.type(description="The balance would go beyond what an account can hold.")
class CreditsOutOfRange(Error):
    balance: int = strawberry.field(description="The credits that the user has.")
    maximum: int = strawberry.field(description="The most credits that a user can have.")


@strawberry.type(
    description="Another tab or program saved the video first, so what you saw when you changed it is out of date. "
    "Nothing was saved: read the video again, put your change on top, and save with its version."
)
class VersionConflict(Error):
    expected_version: int = strawberry.field(description="The version that you expected.")
    current_version: int = strawberry.field(description="The version that the video has now.")


@strawberry.type(
    description="Refused for a reason that has no type of its own yet: `code` says which. "
    "It is part of every result from the start, so that a new refusal breaks no client. Today: `CREDITS_OUT_OF_RANGE`, "
    "when a refund would push the balance beyond what an account can hold."
)
class OperationRefused(Error):
    pass
