"""Refusals, each with its code and the sentence that developers read."""

from typing import Literal

from db.video_data import QuotaRow, VideoDataRow
from db.wallet import WalletRow
from resolvers import objects
from resolvers.context import Quotas
from schema.error import (
    CreditsOutOfRange,
    IdempotencyKeyReused,
    InsufficientCredits,
    OperationRefused,
    Quota,
    QuotaExceeded,
    UserNotFound,
    VersionConflict,
    VideoDataNotFound,
)
from schema.limits import CREDITS_MAX
from schema.video_mutation import ContradictoryReport, IllegalTransition, StaleAttempt
from schema.video_status import VideoStatus


def user_not_found() -> UserNotFound:
    return UserNotFound(code="USER_NOT_FOUND", message="There is no such user, or it is not yours to see.")


def video_data_not_found() -> VideoDataNotFound:
    return VideoDataNotFound(code="VIDEO_DATA_NOT_FOUND", message="There is no such video, or it is not yours to see.")


def insufficient_credits(wallet: WalletRow, required: int) -> InsufficientCredits:
    return InsufficientCredits(
        code="INSUFFICIENT_CREDITS",
        message=f"It takes {required:,} credits, and the balance is {wallet.credits:,}.",
        balance=wallet.credits,
        required=required,
    )


def quota_exceeded(
    outcome: Literal["creations_exceeded", "storage_exceeded"], quota: QuotaRow, quotas: Quotas
) -> QuotaExceeded:
    if outcome == "creations_exceeded":
        which, limit = Quota.CREATIONS_PER_DAY, objects.required(quotas.creations_per_day_max)
        message = f"The user may begin {limit:,} attempts at videos a day, and has begun {quota.used:,} today."
    else:
        which, limit = Quota.STORAGE_BYTES, objects.required(quotas.storage_bytes_per_user_max)
        message = f"The user's videos may hold {limit:,} bytes, and hold {quota.used:,}: store less with some of them."
    return QuotaExceeded(
        code="QUOTA_EXCEEDED",
        message=message,
        quota=which,
        limit=limit,
        used=quota.used,
        resets_at=quota.resets_at,
    )


def credits_out_of_range(wallet: WalletRow) -> CreditsOutOfRange:
    return CreditsOutOfRange(
        code="CREDITS_OUT_OF_RANGE",
        message=f"The balance is {wallet.credits:,}, and an account holds at most {CREDITS_MAX:,} credits.",
        balance=wallet.credits,
        maximum=CREDITS_MAX,
    )


def refund_out_of_range(wallet: WalletRow) -> OperationRefused:
    return OperationRefused(
        code="CREDITS_OUT_OF_RANGE",
        message=f"The balance is {wallet.credits:,}: with the refund it would be more than an account can hold, "
        f"{CREDITS_MAX:,} credits. Lower it first; the video is as it was.",
    )


def idempotency_key_reused(idempotency_key: str) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        code="IDEMPOTENCY_KEY_REUSED",
        message="This idempotency key was used before, with other arguments: take a fresh one for a new request.",
        idempotency_key=idempotency_key,
    )


def illegal_transition(video: VideoDataRow, wanted: VideoStatus) -> IllegalTransition:
    return IllegalTransition(
        code="ILLEGAL_TRANSITION",
        message=f"A video that is {video.status} cannot become {wanted.name}.",
        current_status=VideoStatus(video.status),
        video_data=objects.video_data(video),
    )


def stale_attempt(video: VideoDataRow) -> StaleAttempt:
    return StaleAttempt(
        code="STALE_ATTEMPT",
        message=f"The report is about another attempt: the video is in attempt {video.attempt}. "
        "Give the attempt that the report is about as `attempt`; left out, it is the first.",
        current_attempt=video.attempt,
    )


def contradictory_report(video: VideoDataRow) -> ContradictoryReport:
    return ContradictoryReport(
        code="CONTRADICTORY_REPORT",
        message=f"The video is {video.status}, with {'another' if video.download_url else 'no'} download URL: "
        "the first report of an end wins, and only what it left out may follow.",
        video_data=objects.video_data(video),
    )


def version_conflict(video: VideoDataRow, expected_version: int) -> VersionConflict:
    return VersionConflict(
        code="VERSION_CONFLICT",
        message=f"The video has version {video.version}, not {expected_version}: somebody saved first.",
        expected_version=expected_version,
        current_version=video.version,
    )
