"""The status history of videos: one function per statement that reads it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.database import Database
from db.statement import paged, statement


class VideoEventRow(NamedTuple):
    """One change of a video's status, as it was written."""

    wallet_id: UUID
    video_id: UUID
    number: int
    status: str
    attempt: int
    actor: str
    comments: Any
    created_at: datetime


GET_VIDEO_EVENTS = statement("get_video_events", video_events=VideoEventRow)
LIST_VIDEO_EVENTS = paged("list_video_events", page=VideoEventRow)


async def get_video_events(
    database: Database, keys: Sequence[tuple[UUID, UUID, int]]
) -> dict[tuple[UUID, UUID, int], VideoEventRow]:
    """Return those of the events that exist, by wallet's id, video's id and number."""
    records = await database.rows(GET_VIDEO_EVENTS, *(list(column) for column in zip(*keys, strict=True)))
    return {
        (row.wallet_id, row.video_id, row.number): row for row in (VideoEventRow._make(record) for record in records)
    }


async def list_video_events(
    database: Database, videos: Sequence[tuple[UUID, UUID]], after: int, before: int, limit: int, backward: bool
) -> dict[tuple[UUID, UUID], list[VideoEventRow]]:
    """Return a page of each video's events, newest first; ``backward``: oldest first."""
    wallet_ids, ids = [video[0] for video in videos], [video[1] for video in videos]
    found: dict[tuple[UUID, UUID], list[VideoEventRow]] = {video: [] for video in videos}
    for record in await database.rows(LIST_VIDEO_EVENTS[backward], wallet_ids, ids, after, before, limit):
        found[record["wallet_id"], record["video_id"]].append(VideoEventRow._make(record))
    return found
