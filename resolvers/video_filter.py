"""Converts a filter on videos to its statement's parameters."""

from typing import NamedTuple

from schema.video_data import TrashFilter, VideoFilter

_TRASHED = {TrashFilter.EXCLUDE: False, TrashFilter.ONLY: True, TrashFilter.INCLUDE: None}


class Wanted(NamedTuple):
    """The statuses (None: all) and whether trashed (None: either)."""

    statuses: tuple[str, ...] | None
    trashed: bool | None


def wanted(video_filter: VideoFilter | None) -> Wanted:
    """Convert a filter; without one, all videos except trashed ones."""
    if video_filter is None:
        return Wanted(None, trashed=False)
    statuses = video_filter.status
    return Wanted(
        None if statuses is None else tuple(status.name for status in statuses), _TRASHED[video_filter.trashed]
    )
