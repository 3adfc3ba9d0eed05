"""Videos, their lifecycle and what is stored with them: one function per query or mutation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple
from uuid import UUID

from db.credit_entry import CreditEntryRow
from db.database import Database
from db.json_text import json_argument
from db.mutation import Mutation
from db.statement import paged, statement
from db.wallet import WalletRow


class VideoDataRow(NamedTuple):
    """A video as it stands in the table."""

    wallet_id: UUID
    id: UUID
    user_id: UUID
    title: str
    video_style: str
    topic: str | None
    voice_id: str | None
    voice_name: str | None
    music_track_name: str | None
    music_track_url: str | None
    audio_url: str | None
    download_url: str | None
    created_by: str | None
    status: str
    comments: Any
    render_progress: int
    render_id: str | None
    bucket_name: str | None
    queue_id: UUID | None
    queued_at: datetime | None
    render_started_at: datetime | None
    trashed_at: datetime | None
    volume_background_music: float
    volume_voice: float
    attempt: int
    cost: int
    version: int
    created_at: datetime
    updated_at: datetime


class VideoContentRow(NamedTuple):
    """The large content of a video, JSON as text; columns that were not wanted are None.

    ``sizes`` has the bytes of each as text, ``total_bytes`` those of all videos. Where these are more than was allowed,
    all are None.
    """

    wallet_id: UUID
    video_id: UUID
    script: str | None
    caption: str | None
    images: str | None
    caption_json: str | None
    config: str | None
    sizes: list[int]
    total_bytes: int


CONTENT_COLUMNS = ("script", "caption", "images", "caption_json", "config")


class VideoDataCountsRow(NamedTuple):
    """How many videos there are; ``trashed`` counts videos of every status."""

    total: int
    completed: int
    in_progress: int
    failed: int
    canceled: int
    trashed: int


class QuotaRow(NamedTuple):
    """The usage of the quota that refused a call, and when it resets; None for storage, which does not."""

    used: int
    resets_at: datetime | None


COUNT_VIDEO_DATA = statement("count_video_data")
GET_QUEUE_POSITIONS = statement("get_queue_positions")
GET_VIDEO_CONTENT = statement("get_video_content")
GET_VIDEO_DATA = statement("get_video_data", video_data=VideoDataRow)
LIST_ALL_VIDEOS = paged("list_all_videos", video_data=VideoDataRow)
LIST_RENDER_QUEUE = paged("list_render_queue", video_data=VideoDataRow)
LIST_VIDEOS = paged("list_videos", page=VideoDataRow)

CREATE_VIDEO_DATA = Mutation(
    "create_video_data", wallet=WalletRow, video=VideoDataRow, entry=CreditEntryRow, quota=QuotaRow
)
RETRY_VIDEO_DATA = Mutation(
    "retry_video_data", wallet=WalletRow, video=VideoDataRow, entry=CreditEntryRow, quota=QuotaRow
)
TRASH_VIDEO_DATA = Mutation("trash_video_data", video=VideoDataRow)
UPDATE_VIDEO_DATA = Mutation("update_video_data", video=VideoDataRow, quota=QuotaRow)
UPDATE_VIDEO_RECORD_STATUS = Mutation(
    "update_video_record_status", wallet=WalletRow, video=VideoDataRow, entry=CreditEntryRow
)


@dataclass(frozen=True, slots=True)
class CreateVideoDataRow:
    """What became of a creation, with the objects as far as they exist."""

    outcome: Literal[
        "idempotency_key_reused",
        "replayed",
        "user_not_found",
        "creations_exceeded",
        "storage_exceeded",
        "insufficient_credits",
        "created",
    ]
    wallet: WalletRow | None
    video: VideoDataRow | None
    entry: CreditEntryRow | None
    quota: QuotaRow | None


@dataclass(frozen=True, slots=True)
class UpdateVideoRecordStatusRow:
    """What became of a report, with the objects as far as they exist."""

    outcome: Literal[
        "video_data_not_found",
        "stale_attempt",
        "contradictory",
        "unchanged",
        "illegal_transition",
        "credits_out_of_range",
        "noted",
        "moved",
    ]
    wallet: WalletRow | None
    video: VideoDataRow | None
    entry: CreditEntryRow | None


@dataclass(frozen=True, slots=True)
class RetryVideoDataRow:
    """What became of a retry, with the objects as far as they exist."""

    outcome: Literal[
        "idempotency_key_reused",
        "replayed",
        "video_data_not_found",
        "illegal_transition",
        "creations_exceeded",
        "insufficient_credits",
        "restarted",
    ]
    wallet: WalletRow | None
    video: VideoDataRow | None
    entry: CreditEntryRow | None
    quota: QuotaRow | None


@dataclass(frozen=True, slots=True)
class TrashVideoDataRow:
    """What became of a move into the trash or out of it."""

    outcome: Literal["video_data_not_found", "unchanged", "changed"]
    video: VideoDataRow | None


@dataclass(frozen=True, slots=True)
class UpdateVideoDataRow:
    """What became of an update, and the video as it is now."""

    outcome: Literal["video_data_not_found", "unchanged", "version_conflict", "storage_exceeded", "updated"]
    video: VideoDataRow | None
    quota: QuotaRow | None


async def create_video_data(
    database: Database,
    wallet_id: UUID,
    idempotency_key: str,
    request_hash: bytes,
    user_id: UUID,
    cost: int,
    actor: str,
    title: str,
    video_style: str,
    topic: str | None,
    script: str | None,
    caption: Any,
    voice_id: str | None,
    voice_name: str | None,
    created_by: str | None,
    creations_max: int | None = None,
    storage_max: int | None = None,
) -> CreateVideoDataRow:
    """Create a video of a user's and charge a wallet for it, once per key, if the credits and the quotas suffice."""
    answer = await database.answer(
        CREATE_VIDEO_DATA,
        wallet_id,
        idempotency_key,
        request_hash,
        user_id,
        cost,
        actor,
        title,
        video_style,
        topic,
        script,
        json_argument(caption),
        voice_id,
        voice_name,
        created_by,
        creations_max,
        storage_max,
    )
    return CreateVideoDataRow(*answer)


async def update_video_record_status(
    database: Database,
    wallet_id: UUID,
    video_id: UUID,
    status: str | None,
    comments: Any,
    render_progress: int | None,
    download_url: str | None,
    attempt: int | None,
    actor: str,
) -> UpdateVideoRecordStatusRow:
    """Take a report about a video; refund its attempt exactly once if that ends it in FAILED or CANCELED."""
    answer = await database.answer(
        UPDATE_VIDEO_RECORD_STATUS,
        wallet_id,
        video_id,
        status,
        json_argument(comments),
        render_progress,
        download_url,
        attempt,
        actor,
    )
    return UpdateVideoRecordStatusRow(*answer)


async def retry_video_data(
    database: Database,
    wallet_id: UUID,
    video_id: UUID,
    idempotency_key: str,
    request_hash: bytes,
    cost: int,
    actor: str,
    creations_max: int | None = None,
) -> RetryVideoDataRow:
    """Begin a new attempt at a FAILED or CANCELED video and charge for it, once per key."""
    answer = await database.answer(
        RETRY_VIDEO_DATA, wallet_id, video_id, idempotency_key, request_hash, cost, actor, creations_max
    )
    return RetryVideoDataRow(*answer)


async def trash_video_data(database: Database, wallet_id: UUID, video_id: UUID, is_trashed: bool) -> TrashVideoDataRow:
    """Put a video into the trash, or take it out again."""
    return TrashVideoDataRow(*await database.answer(TRASH_VIDEO_DATA, wallet_id, video_id, is_trashed))


async def update_video_data(
    database: Database,
    wallet_id: UUID,
    video_id: UUID,
    expected_version: int | None,
    stored: Mapping[str, Any],
    storage_max: int | None = None,
) -> UpdateVideoDataRow:
    """Store the given columns of a video and no others, unless somebody else saved first or the quota is used up."""
    answer = await database.answer(
        UPDATE_VIDEO_DATA, wallet_id, video_id, expected_version, json_argument(stored), storage_max
    )
    return UpdateVideoDataRow(*answer)


async def get_video_data(
    database: Database, keys: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], VideoDataRow]:
    """Return those of the videos that exist, by wallet's id and video's id."""
    records = await database.rows(GET_VIDEO_DATA, [key[0] for key in keys], [key[1] for key in keys])
    return {(row.wallet_id, row.id): row for row in (VideoDataRow._make(record) for record in records)}


async def get_video_content(
    database: Database, keys: Sequence[tuple[UUID, UUID]], columns: Sequence[str], bytes_max: int
) -> dict[tuple[UUID, UUID], VideoContentRow]:
    """Return the wanted large columns of videos, by wallet's id and video's id, if they fit into so many bytes."""
    wallet_ids, ids = [key[0] for key in keys], [key[1] for key in keys]
    records = await database.rows(GET_VIDEO_CONTENT, wallet_ids, ids, columns, bytes_max)
    return {(row.wallet_id, row.video_id): row for row in (VideoContentRow._make(record) for record in records)}


async def get_queue_positions(database: Database, queue_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Return the places of those that are in the render queue, by their queue ids, the next one being 1."""
    records = await database.rows(GET_QUEUE_POSITIONS, queue_ids)
    return {record["queue_id"]: record["position"] for record in records}


async def list_videos(
    database: Database,
    wallet_ids: Sequence[UUID],
    after: UUID,
    before: UUID,
    limit: int,
    backward: bool,
    statuses: Sequence[str] | None,
    trashed: bool | None,
) -> dict[UUID, list[VideoDataRow]]:
    """Return a page of each wallet's videos, newest first; ``backward``: oldest first."""
    records = await database.rows(LIST_VIDEOS[backward], wallet_ids, after, before, limit, statuses, trashed)
    # As `_make`, in half the time: that is a function of Python's, and takes a record's columns one by one.
    new = tuple.__new__
    rows = [new(VideoDataRow, record[:]) for record in records]
    if len(wallet_ids) == 1:  # as most often; and then there is nothing to tell apart
        return {wallet_ids[0]: rows}
    found: dict[UUID, list[VideoDataRow]] = {wallet_id: [] for wallet_id in wallet_ids}
    for wallet_id, of_user in groupby(rows, attrgetter("wallet_id")):
        found[wallet_id].extend(of_user)
    return found


async def list_all_videos(
    database: Database,
    after: UUID,
    before: UUID,
    limit: int,
    backward: bool,
    statuses: Sequence[str] | None,
    trashed: bool | None,
) -> list[VideoDataRow]:
    """Return a page of all videos, newest first; ``backward``: oldest first."""
    records = await database.rows(LIST_ALL_VIDEOS[backward], after, before, limit, statuses, trashed)
    return [VideoDataRow._make(record) for record in records]


async def list_render_queue(
    database: Database, after: UUID, before: UUID, limit: int, backward: bool
) -> list[VideoDataRow]:
    """Return a page of the videos that wait to be rendered, longest waiting first; ``backward``: last."""
    records = await database.rows(LIST_RENDER_QUEUE[backward], after, before, limit)
    return [VideoDataRow._make(record) for record in records]


async def count_video_data(database: Database) -> VideoDataCountsRow:
    """Count all videos by what became of them."""
    (record,) = await database.rows(COUNT_VIDEO_DATA)
    return VideoDataCountsRow._make(record)
