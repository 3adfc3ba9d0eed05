"""A render worker's claim of a video, which no other worker is given."""

from uuid import uuid4

from videocredits_client.exchange import Exchange, Patience, exchange
from videocredits_client.operation import as_input
from videocredits_client.operations import RENDER_QUEUE, UPDATE_VIDEO_RECORD_STATUS
from videocredits_client.types import UpdateVideoRecordStatusSuccess, VideoData, VideoStatus

LOOKED_AT = 10


def claim(patience: Patience) -> Exchange[VideoData | None]:
    """Move the longest waiting video that can be had to RENDERING, and return it; None if there is none.

    Of two workers that move one, one is answered that it was not moved before. Where that answer is lost, the same
    move is sent again and is told that it was: so each claim has a name, which stays with the video as its comments.
    """
    name = {"claim": uuid4().hex}
    queue = yield from exchange(RENDER_QUEUE, {"first": LOOKED_AT}, patience)
    for video in queue.nodes:
        report = {"record_id": video.id, "attempt": video.attempt, "status": VideoStatus.RENDERING, "comments": name}
        result = yield from exchange(UPDATE_VIDEO_RECORD_STATUS, {"input": as_input(report)}, patience)
        if isinstance(result, UpdateVideoRecordStatusSuccess) and (
            not result.replayed or result.video_data.comments == name
        ):
            return result.video_data
    return None
