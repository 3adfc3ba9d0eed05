"""Rows become GraphQL objects, here and nowhere else."""

from typing import TypeVar, cast

from db.credit_entry import CreditEntryRow
from db.user import UserRow
from db.video_data import VideoDataRow
from db.video_event import VideoEventRow
from schema.credit_entry import CreditEntry, CreditEntryKind
from schema.node import EntryKey, EventKey, UserKey, VideoKey, encode_id
from schema.scalar import URL
from schema.user import User
from schema.video_data import MusicTrack, VideoData, Voice, Volume
from schema.video_event import VideoEvent
from schema.video_status import VideoStatus

Row = TypeVar("Row")


def known(row: Row | None) -> Row:
    """Return a row that its statement's outcome promises."""
    assert row is not None  # noqa: S101 - anything else is a fault in the statement
    return row


def user(row: UserRow) -> User:
    """Show a user."""
    return User(
        id=encode_id(UserKey(row.user_id)),
        user_id=row.user_id,
        name=row.name,
        email=row.email,
        picture=_url(row.picture),
        credits=row.credits,
        version=row.version,
        first_purchased_at=row.first_purchased_at,
        created_at=row.created_at,
    )


def credit_entry(row: CreditEntryRow) -> CreditEntry:
    """Show a line of the ledger."""
    return CreditEntry(
        id=encode_id(EntryKey(row.user_id, row.number)),
        user_id=row.user_id,
        video_id=row.video_id,
        number=row.number,
        kind=CreditEntryKind(row.kind),
        amount=row.amount,
        balance_after=row.balance_after,
        attempt=row.attempt,
        idempotency_key=row.idempotency_key,
        actor=row.actor,
        memo=row.memo,
        created_at=row.created_at,
    )


def video_event(row: VideoEventRow) -> VideoEvent:
    """Show a change of status."""
    return VideoEvent(
        id=encode_id(EventKey(row.user_id, row.video_id, row.number)),
        user_id=row.user_id,
        video_id=row.video_id,
        number=row.number,
        status=VideoStatus(row.status),
        attempt=row.attempt,
        actor=row.actor,
        comments=row.comments,
        created_at=row.created_at,
    )


def video_data(row: VideoDataRow) -> VideoData:
    """Show a video."""
    return VideoData(
        id=encode_id(VideoKey(row.user_id, row.id)),
        user_id=row.user_id,
        video_id=row.id,
        queue_number=row.queue_number,
        title=row.title,
        video_style=row.video_style,
        topic=row.topic,
        voice=None if row.voice_id is None else Voice(voice_id=row.voice_id, name=cast(str, row.voice_name)),
        music_track=None
        if row.music_track_name is None
        else MusicTrack(name=row.music_track_name, url=cast(URL, row.music_track_url)),
        volume=Volume(background_music=row.volume_background_music, voice=row.volume_voice),
        audio_url=_url(row.audio_url),
        download_url=_url(row.download_url),
        created_by=row.created_by,
        status=VideoStatus(row.status),
        comments=row.comments,
        render_progress=row.render_progress,
        render_id=row.render_id,
        bucket_name=row.bucket_name,
        queued_at=row.queued_at,
        render_started_at=row.render_started_at,
        trashed_at=row.trashed_at,
        attempt=row.attempt,
        cost=row.cost,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _url(stored: str | None) -> URL | None:
    return None if stored is None else URL(stored)
