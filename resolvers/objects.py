"""Rows become GraphQL objects, here and nowhere else."""

from typing import TypeVar

from db.credit_entry import CreditEntryRow
from db.user import UserRow
from db.video_data import VideoDataRow
from db.video_event import VideoEventRow
from resolvers.lazy import lazily
from schema.credit_entry import CreditEntry, CreditEntryKind
from schema.node import entry_id, event_id, user_id, video_id
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


# As the classes' own `[]` has it, in a third of the time: a page has dozens.
_KINDS, _STATUSES = dict(CreditEntryKind.__members__), dict(VideoStatus.__members__)

user = lazily(User, UserRow, id=lambda row: user_id(row.user_id))

credit_entry = lazily(
    CreditEntry,
    CreditEntryRow,
    id=lambda row: entry_id(row.user_id, row.number),
    kind=lambda row: _KINDS[row.kind],
)

video_event = lazily(
    VideoEvent,
    VideoEventRow,
    id=lambda row: event_id(row.user_id, row.video_id, row.number),
    status=lambda row: _STATUSES[row.status],
)

video_data = lazily(
    VideoData,
    VideoDataRow,
    id=lambda row: video_id(row.user_id, row.id),
    video_id=lambda row: row.id,
    voice=lambda row: None if row.voice_id is None else Voice(voice_id=row.voice_id, name=known(row.voice_name)),
    music_track=lambda row: (
        None
        if row.music_track_name is None
        else MusicTrack(name=row.music_track_name, url=URL(known(row.music_track_url)))
    ),
    volume=lambda row: Volume(background_music=row.volume_background_music, voice=row.volume_voice),
    status=lambda row: _STATUSES[row.status],
)
