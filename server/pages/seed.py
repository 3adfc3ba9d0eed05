"""What a development server has from its first start: a user with credits, and videos for GraphiQL's examples."""

from typing import Any, NamedTuple

import db.credit_entry
import db.user
import db.video_data
from db.database import Database
from resolvers.connection import NEWEST_ENTRY_FIRST, window
from resolvers.context import Terms
from resolvers.idempotency import request_hash
from resolvers.identity import Role
from schema.connection import Page
from schema.limits import CREDITS_MAX
from schema.node import UserKey, VideoKey, encode_id
from schema.video_status import VideoStatus
from server.auth.development import IDENTITIES

# So much is bought that the developer does not run short: it pays for so many videos.
VIDEOS_PAID_FOR = 90

# One for all keys: what a later version words otherwise, or prices otherwise, is still the same request.
_REQUEST = request_hash("seed")

_USER = IDENTITIES[Role.USER]
_WORKER = IDENTITIES[Role.WORKER]
_ADMIN = IDENTITIES[Role.ADMIN]


class _Video(NamedTuple):
    title: str
    topic: str
    status: VideoStatus = VideoStatus.QUEUED
    comments: Any = None
    download_url: str | None = None


# By idempotency key.
VIDEOS = {
    "seed-completed": _Video(
        "The Lighthouse Keeper",
        "A keeper who talks to ships",
        VideoStatus.COMPLETED,
        download_url="https://videos.example.com/the-lighthouse-keeper.mp4",
    ),
    "seed-failed": _Video(
        "Whales Sing",
        "Why whales sing, and to whom",
        VideoStatus.FAILED,
        comments={"error": "The voice service did not answer."},
    ),
    "seed-render-queued": _Video("Bread in Five Minutes", "The shortest recipe", VideoStatus.RENDER_QUEUED),
    "seed-ready": _Video("A Walk on Mars", "What you would see on the first day", VideoStatus.READY),
    "seed-queued": _Video("How Bees Vote", "Bees that choose a new home"),
}


async def seed(database: Database, terms: Terms) -> None:
    """Register the development user, buy credits, and make the videos, as far as that has not been done before.

    What was done since is never undone. What the terms leave no credits for is left out.
    """
    await db.user.register_user(
        database,
        _USER.user_id,
        _USER.subject,
        profile={},
        signup_credits=terms.signup_credits,
        actor=_USER.actor,
    )
    await db.user.adjust_user_credits(
        database,
        _USER.user_id,
        "seed-purchase",
        _REQUEST,
        _USER.user_id,
        min(VIDEOS_PAID_FOR * terms.video_cost, CREDITS_MAX),
        False,
        "PURCHASE",
        _ADMIN.actor,
        "For development",
    )
    for key, video in VIDEOS.items():
        await _make(database, terms, key, video)


async def _make(database: Database, terms: Terms, key: str, video: _Video) -> None:
    created = await db.video_data.create_video_data(
        database,
        _USER.user_id,
        key,
        _REQUEST,
        _USER.user_id,
        terms.video_cost,
        _USER.actor,
        video.title,
        "realistic",
        video.topic,
        None,
        None,
        None,
        None,
        None,
    )
    # The first version is one that nobody has touched, although the start that created it may have been killed.
    if created.video is not None and created.video.version == 1 and video.status is not VideoStatus.QUEUED:
        await db.video_data.update_video_record_status(
            database,
            _USER.user_id,
            created.video.id,
            video.status.name,
            video.comments,
            None,
            video.download_url,
            None,
            _WORKER.actor,
        )


async def seeded_ids(database: Database) -> dict[str, str]:
    """Return the ids of the development user, as ``user``, and of its first videos, by their idempotency keys."""
    oldest = window(Page(first=None, after=None, last=20, before=None), NEWEST_ENTRY_FIRST)
    ids: dict[str, str] = {"user": encode_id(UserKey(_USER.user_id))}
    entries = await db.credit_entry.list_credit_entries(database, [_USER.user_id], *oldest.bounds)
    for entry in entries[_USER.user_id]:
        if entry.video_id is not None and entry.idempotency_key is not None:
            ids[entry.idempotency_key] = encode_id(VideoKey(_USER.user_id, entry.video_id))
    return ids
