"""Which videos a list holds, as its statement takes it."""

from typing import NamedTuple

from schema.video_data import TrashFilter, VideoFilter

_TRASHED = {TrashFilter.EXCLUDE: False, TrashFilter.ONLY: True, TrashFilter.INCLUDE: None}


class Wanted(NamedTuple):
    """The statuses (None: all) and whether trashed (None: either)."""

    statuses: tuple[str, ...] | None
    trashed: bool | None


def wanted(video_filter: VideoFilter | None) -> Wanted:
    """Read a filter; without one, all videos but the trashed."""
    if video_filter is None:
        return Wanted(None, trashed=False)
    statuses = video_filter.status
    return Wanted(
        None if statuses is None else tuple(status.name for status in statuses), _TRASHED[video_filter.trashed]
    )
