"""Mutations of videos: inputs and results."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON
from strawberry.utils.str_converters import to_camel_case

from schema.credit_entry import CreditEntry
from schema.error import (
    Error,
    IdempotencyKeyReused,
    InsufficientCredits,
    OperationRefused,
    QuotaExceeded,
    UserNotFound,
    VersionConflict,
    VideoDataNotFound,
)
from schema.limits import (
    IDEMPOTENCY_KEY_LENGTH_MAX,
    IMAGES_MAX,
    NAME_LENGTH_MAX,
    SCRIPT_LENGTH_MAX,
    SECONDS_MAX,
    TITLE_LENGTH_MAX,
    TOPIC_LENGTH_MAX,
    Limited,
    items,
    number,
    text,
)
from schema.scalar import URL
from schema.user import User
from schema.video_data import VideoData
from schema.video_status import VideoStatus

_KEY = (
    "Names this request, so that it happens once however often it is sent: a fresh UUID for each click, kept until "
    "there is an answer. One user's keys are for all mutations together, and never expire."
)
_REPLAYED = (
    "Whether this had been done before under the same key: then nothing changed now, and the entry is the first one."
)
_RECORD_ID = "Which video."
_ORDER = "If several refusals apply, the first in this order is answered."


@strawberry.type(description="The video cannot go from its present status to that one. Nothing has changed.")
class IllegalTransition(Error):
    current_status: VideoStatus = strawberry.field(description="The status that the video has.")
    video_data: VideoData = strawberry.field(description="The video as it is.")


@strawberry.type(description="The report is about an attempt that is over: the video has been retried since.")
class StaleAttempt(Error):
    current_attempt: int = strawberry.field(description="The attempt that the video is in.")


@strawberry.type(
    description="The report contradicts how the video ended. It has another download URL than the stored one, or one "
    "for a video that was refunded. Nothing has changed."
)
class ContradictoryReport(Error):
    video_data: VideoData = strawberry.field(description="The video as it is.")


@strawberry.input(description="The voice that speaks a video's script.")
class VoiceInput(Limited):
    voice_id: str = text("The voice provider's id of it.", NAME_LENGTH_MAX)
    name: str = text("What people call it.", NAME_LENGTH_MAX)


@strawberry.input(description="The music behind a video.")
class MusicTrackInput(Limited):
    name: str = text("What people call it.", NAME_LENGTH_MAX)
    url: URL = strawberry.field(description="Where it is.")


@strawberry.input(description="One of a video's images.")
class VideoImageInput(Limited):
    image: URL = strawberry.field(description="Where it is.")
    start: float = number("When it appears, in seconds from the video's start.", 0, SECONDS_MAX)
    duration: float = number("How long it is shown, in seconds.", 0, SECONDS_MAX)


@strawberry.input(description="How loud a video's parts are.")
class VolumeInput(Limited):
    background_music: float = number("The music, from silent to as recorded.", 0, 1, default=0.4)
    voice: float = number("The voice, from silent to as recorded.", 0, 1, default=1.0)


@strawberry.input(description="A new video. What it costs is the server's to say, and comes off the user's credits.")
class CreateVideoDataInput(Limited):
    title: str = text("What the user calls it.", TITLE_LENGTH_MAX)
    video_style: str = text("The style of its pictures.", NAME_LENGTH_MAX)
    topic: str | None = text("What it is about.", TOPIC_LENGTH_MAX, default=None)
    script: str | None = text("What the voice is to say.", SCRIPT_LENGTH_MAX, default=None)
    caption: JSON | None = strawberry.field(description="The caption style that the user picked.", default=None)
    voice: VoiceInput | None = strawberry.field(description="The voice that speaks the script.", default=None)
    created_by: str | None = text(
        "Who makes it, in the app's own words: an e-mail address.", NAME_LENGTH_MAX, default=None
    )
    user_id: strawberry.ID | None = strawberry.field(
        description="Whose video it is, when an ADMIN creates it for somebody; yours if left out.", default=None
    )
    idempotency_key: str = text(_KEY, IDEMPOTENCY_KEY_LENGTH_MAX)


@strawberry.type(description="The video was created and charged.")
class CreateVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    user: User = strawberry.field(description="Its user as it is now.")
    entry: CreditEntry = strawberry.field(description="The charge, as it was written.")
    replayed: bool = strawberry.field(description=_REPLAYED)


CreateVideoDataResult = Annotated[
    CreateVideoDataSuccess
    | IdempotencyKeyReused
    | UserNotFound
    | QuotaExceeded
    | InsufficientCredits
    | OperationRefused,
    strawberry.union("CreateVideoDataResult", description=f"What became of the creation. {_ORDER}"),
]


@strawberry.input(
    description="A report about a video: any of its parts may be left out. Safe to send twice and in any order: the "
    "same status again changes nothing, progress never falls, and a failure is refunded once."
)
class UpdateVideoRecordStatusInput(Limited):
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)
    status: VideoStatus | None = strawberry.field(
        description="The status that it takes on; left out, it keeps its own.", default=None
    )
    comments: JSON | None = strawberry.field(
        description="What to say with it: mostly, why it failed. A new status comes with comments of its own, or with "
        "none. Left out at the end, they may follow; the first ones stay.",
        default=None,
    )
    render_progress: int | None = number("How much is rendered, in percent.", 0, 100, default=None)
    download_url: URL | None = strawberry.field(
        description="The finished video. Once the video has ended, it is stored only if there is none.", default=None
    )
    attempt: int | None = number(
        "Which attempt the report is about: the video's `attempt` when the work began. Left out, it is the first, "
        "so that a late report from before a retry is refused.",
        1,
        2_147_483_647,
        default=None,
    )

    def _faults(self) -> list[tuple[str, str]]:
        faults = super()._faults()
        if self.status is None and self.comments is None and self.render_progress is None and self.download_url is None:
            what = "is missing, and so are `comments`, `renderProgress` and `downloadUrl`: report one of them"
            faults.append(("status", what))
        return faults


@strawberry.type(description="The report was taken.")
class UpdateVideoRecordStatusSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    user: User = strawberry.field(description="Its user as it is now.")
    entry: CreditEntry | None = strawberry.field(
        description="The refund of the present attempt, if it has FAILED or was CANCELED; else null."
    )
    replayed: bool = strawberry.field(
        description="Whether the report contained nothing new, so that nothing changed. Of two workers that move one "
        "video to RENDERING, one gets false: it starts the render."
    )


UpdateVideoRecordStatusResult = Annotated[
    UpdateVideoRecordStatusSuccess
    | VideoDataNotFound
    | StaleAttempt
    | IllegalTransition
    | ContradictoryReport
    | OperationRefused,
    strawberry.union("UpdateVideoRecordStatusResult", description=f"What became of the report. {_ORDER}"),
]


@strawberry.input(description="A video to call off.")
class CancelVideoDataInput:
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)


@strawberry.type(description="The video is called off, and its credits were given back.")
class CancelVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    user: User = strawberry.field(description="Its user as it is now.")
    entry: CreditEntry = strawberry.field(description="The refund, as it was written.")
    replayed: bool = strawberry.field(description="Whether it had been called off before: then nothing changed now.")


CancelVideoDataResult = Annotated[
    CancelVideoDataSuccess | VideoDataNotFound | IllegalTransition | OperationRefused,
    strawberry.union("CancelVideoDataResult", description=f"What became of calling it off. {_ORDER}"),
]


@strawberry.input(description="A failed or canceled video to try again. It is charged again, at today's cost.")
class RetryVideoDataInput(Limited):
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)
    idempotency_key: str = text(_KEY, IDEMPOTENCY_KEY_LENGTH_MAX)


@strawberry.type(description="A new attempt has begun and was charged.")
class RetryVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    user: User = strawberry.field(description="Its user as it is now.")
    entry: CreditEntry = strawberry.field(description="The charge, as it was written.")
    replayed: bool = strawberry.field(description=_REPLAYED)


RetryVideoDataResult = Annotated[
    RetryVideoDataSuccess
    | IdempotencyKeyReused
    | VideoDataNotFound
    | IllegalTransition
    | QuotaExceeded
    | InsufficientCredits
    | OperationRefused,
    strawberry.union("RetryVideoDataResult", description=f"What became of the retry. {_ORDER}"),
]


@strawberry.input(description="A video to put into the trash. Its credits and its life are not touched.")
class TrashVideoDataInput:
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)


@strawberry.type(description="The video is in the trash.")
class TrashVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    replayed: bool = strawberry.field(description="Whether it was in the trash before: then nothing changed now.")


TrashVideoDataResult = Annotated[
    TrashVideoDataSuccess | VideoDataNotFound | OperationRefused,
    strawberry.union("TrashVideoDataResult", description="What became of putting it into the trash."),
]


@strawberry.input(description="A video to take out of the trash.")
class RestoreVideoDataInput:
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)


@strawberry.type(description="The video is not in the trash.")
class RestoreVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")
    replayed: bool = strawberry.field(description="Whether it was not in the trash before: then nothing changed now.")


RestoreVideoDataResult = Annotated[
    RestoreVideoDataSuccess | VideoDataNotFound | OperationRefused,
    strawberry.union("RestoreVideoDataResult", description="What became of taking it out of the trash."),
]


# What `updateVideoData` stores only for workers: the render farm's handles and results.
WORKERS_COLUMNS = ("audio_url", "download_url", "render_id", "bucket_name")
_FOR_WORKERS = ", ".join(f"`{to_camel_case(name)}`" for name in WORKERS_COLUMNS)


@strawberry.input(
    description="What to store with a video. Only the fields that are given change; null empties one. "
    f"For workers alone: {_FOR_WORKERS}."
)
class UpdateVideoDataInput(Limited):
    record_id: strawberry.ID = strawberry.field(description=_RECORD_ID)
    expected_version: int | None = strawberry.field(
        description="The version that you saw. If somebody has saved since, nothing is saved; workers' reports are no "
        "saves. To save again what is already stored changes nothing and succeeds.",
        default=None,
    )
    script: str | None = text("What the voice says.", SCRIPT_LENGTH_MAX, default=strawberry.UNSET)
    music_track: MusicTrackInput | None = strawberry.field(description="The music behind it.", default=strawberry.UNSET)
    images: list[VideoImageInput] | None = items("Its images in order.", IMAGES_MAX, default=strawberry.UNSET)
    caption_json: JSON | None = strawberry.field(description="The generated captions.", default=strawberry.UNSET)
    config: JSON | None = strawberry.field(description="What the editor page keeps.", default=strawberry.UNSET)
    volume: VolumeInput | None = strawberry.field(
        description="How loud its parts are; null sets the defaults.", default=strawberry.UNSET
    )
    audio_url: URL | None = strawberry.field(description="The spoken script.", default=strawberry.UNSET)
    download_url: URL | None = strawberry.field(description="The finished video.", default=strawberry.UNSET)
    render_id: str | None = text("The render farm's id of the render.", NAME_LENGTH_MAX, default=strawberry.UNSET)
    bucket_name: str | None = text("The render farm's bucket.", NAME_LENGTH_MAX, default=strawberry.UNSET)


@strawberry.type(description="What was given is stored.")
class UpdateVideoDataSuccess:
    video_data: VideoData = strawberry.field(description="The video as it is now.")


UpdateVideoDataResult = Annotated[
    UpdateVideoDataSuccess | VideoDataNotFound | VersionConflict | QuotaExceeded | OperationRefused,
    strawberry.union("UpdateVideoDataResult", description=f"What became of the update. {_ORDER}"),
]
