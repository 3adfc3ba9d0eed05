"""Which users' rows have changed, heard from all processes: a notice is a hint, and polling finds what none told of."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias
from uuid import UUID

UNSEEN = -1  # The version of what has not been read yet: no row has it.
UNSEEN_PAGE = ""


class WatchedUser(NamedTuple):
    """A user, with the version that was seen last; None: there was none."""

    user_id: UUID
    version: int | None


class WatchedVideo(NamedTuple):
    """A video, with the version that was seen last."""

    user_id: UUID
    video_id: UUID
    version: int


class WatchedPage(NamedTuple):
    """A user's newest videos, so many of those that are wanted, with the digest of what was seen last."""

    user_id: UUID
    size: int
    statuses: tuple[str, ...] | None
    trashed: bool | None
    digest: str


Subject: TypeAlias = WatchedUser | WatchedVideo | WatchedPage


def page_digest(videos: Sequence[tuple[UUID, int]]) -> str:
    """Digest the ids and versions of a page's videos, as `poll_changes.sql` does."""
    text = ",".join(f"{video_id}:{version}" for video_id, version in videos)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class ChangeFeed:
    """Announces changes to all processes, and hears of theirs, over one connection."""

    def __init__(
        self,
        dsn: str,
        *,
        notify: bool,
        subjects: Callable[[], Iterable[Subject]],
        heard: Callable[[Iterable[UUID]], None],
        queue_moved: Callable[[], None],
    ) -> None:
        raise NotImplementedError

    def announce(self, user_id: UUID) -> None:
        """Tell all processes, soon, that rows of this user may have changed."""

    async def run(self) -> None:
        """Announce and hear until cancelled."""
