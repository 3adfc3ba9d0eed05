"""Converts rows to GraphQL objects; no other module does."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import UUID

from db.credit_entry import CreditEntryRow
from db.user import UserRow
from db.video_data import VideoDataRow
from db.video_event import VideoEventRow
from db.wallet import WalletRow
from resolvers.row_object import Computed, object_from_row
from schema.credit_entry import CreditEntry, CreditEntryKind
from schema.node import entry_id, event_id, user_id, video_id
from schema.scalar import URL
from schema.user import User
from schema.video_data import MusicTrack, VideoData, Voice, Volume
from schema.video_event import VideoEvent
from schema.video_status import VideoStatus

if TYPE_CHECKING:
    from resolvers.loaders import Loaders

Row = TypeVar("Row")


def required(row: Row | None) -> Row:
    """Return a row that the outcome guarantees."""
    assert row is not None  # noqa: S101 - anything else is a fault in the SQL
    return row


# The same as `CreditEntryKind[name]`, in a third of the time: a page has dozens.
_kind, _status = dict(CreditEntryKind.__members__).__getitem__, dict(VideoStatus.__members__).__getitem__

user = object_from_row(User, UserRow, id=(user_id, "user_id"))


async def _read(column: str, user_id: UUID, loaders: "Loaders") -> object:
    return getattr(required(await loaders.user(user_id)), column)


def _later(*columns: str, of: str) -> dict[str, Computed]:
    return {column: (partial(_read, column), of, "loaders") for column in columns}


_PROFILE = ("name", "email", "picture", "created_at")
_MONEY = ("credits", "version", "first_purchased_at")


class _Unread(NamedTuple):
    user_id: UUID


_own = object_from_row(
    User,
    WalletRow,
    beside=("loaders",),
    id=(user_id, "wallet_id"),
    user_id=(lambda own_id: own_id, "wallet_id"),
    **_later(*_PROFILE, of="wallet_id"),
)
_unread = object_from_row(
    User, _Unread, beside=("loaders",), id=(user_id, "user_id"), **_later(*_PROFILE, *_MONEY, of="user_id")
)


def owner(user_id: UUID, wallet: WalletRow, loaders: "Loaders") -> User:
    """Return the user whom a mutation is about, with what it left in the wallet if that is the user's own.

    The rest, as the profile, is read only if it is selected.
    """
    return _own(wallet, loaders) if wallet.wallet_id == user_id else _unread(_Unread(user_id), loaders)


credit_entry = object_from_row(
    CreditEntry,
    CreditEntryRow,
    id=(entry_id, "wallet_id", "number"),
    kind=(_kind, "kind"),
)

video_event = object_from_row(
    VideoEvent,
    VideoEventRow,
    id=(event_id, "wallet_id", "video_id", "number"),
    status=(_status, "status"),
)


def _voice(voice_id: str | None, name: str | None) -> Voice | None:
    return None if voice_id is None else Voice(voice_id=voice_id, name=required(name))


def _music_track(name: str | None, url: str | None) -> MusicTrack | None:
    return None if name is None else MusicTrack(name=name, url=URL(required(url)))


def _volume(background_music: float, voice: float) -> Volume:
    return Volume(background_music=background_music, voice=voice)


video_data = object_from_row(
    VideoData,
    VideoDataRow,
    id=(video_id, "wallet_id", "id"),
    video_id=(lambda own_id: own_id, "id"),
    voice=(_voice, "voice_id", "voice_name"),
    music_track=(_music_track, "music_track_name", "music_track_url"),
    volume=(_volume, "volume_background_music", "volume_voice"),
    status=(_status, "status"),
)
