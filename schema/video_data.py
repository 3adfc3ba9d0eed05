"""Videos as clients see them."""

import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from schema.connection import After, Before, Connection, First, Last, Page
from schema.context import Info
from schema.credit_entry import CreditEntry
from schema.limits import LARGE_FIELD_COST, Limited, items
from schema.node import Node
from schema.scalar import URL
from schema.video_event import VideoEvent
from schema.video_status import VideoStatus

if TYPE_CHECKING:
    from schema.user import User

LARGE = {"cost": LARGE_FIELD_COST}


@strawberry.type(description="The voice that speaks a video's script.")
class Voice:
    voice_id: str = strawberry.field(description="The voice provider's id of it.")
    name: str = strawberry.field(description="What people call it.")


@strawberry.type(description="The music behind a video.")
class MusicTrack:
    name: str = strawberry.field(description="What people call it.")
    url: URL = strawberry.field(description="Where it is.")


@strawberry.type(description="One of a video's images.")
class VideoImage:
    image: URL = strawberry.field(description="Where it is.")
    start: float = strawberry.field(description="When it appears, in seconds from the video's start.")
    duration: float = strawberry.field(description="How long it is shown, in seconds.")


@strawberry.type(description="How loud a video's parts are.")
class Volume:
    background_music: float = strawberry.field(description="The music: 0 (silent) to 1 (as recorded).")
    voice: float = strawberry.field(description="The voice: 0 (silent) to 1 (as recorded).")


@strawberry.enum(description="Whether a list holds trashed videos.")
class TrashFilter(Enum):
    EXCLUDE = strawberry.enum_value("EXCLUDE", description="Only videos that are not in the trash.")
    ONLY = strawberry.enum_value("ONLY", description="Only videos that are in the trash.")
    INCLUDE = strawberry.enum_value("INCLUDE", description="Both.")


@strawberry.input(description="Which videos a list holds.")
class VideoFilter(Limited):
    status: list[VideoStatus] | None = items(
        "Only videos with one of these statuses; null for all.", len(VideoStatus), default=None
    )
    trashed: TrashFilter = strawberry.field(
        description="Whether trashed videos are among them.", default=TrashFilter.EXCLUDE
    )


@strawberry.type(description="A video: what it is made from, how far it is, and what it cost.")
class VideoData(Node):
    wallet_id: strawberry.Private[UUID]
    user_id: strawberry.Private[UUID]
    video_id: strawberry.Private[UUID]
    queue_id: strawberry.Private[UUID | None]
    title: str = strawberry.field(description="What the user calls it.")
    video_style: str = strawberry.field(description="The style of its pictures.")
    topic: str | None = strawberry.field(description="What it is about.")
    voice: Voice | None = strawberry.field(description="The voice that speaks its script.")
    music_track: MusicTrack | None = strawberry.field(description="The music behind it.")
    volume: Volume = strawberry.field(description="How loud its parts are.")
    audio_url: URL | None = strawberry.field(description="The spoken script, once it is generated.")
    download_url: URL | None = strawberry.field(description="The finished video, once it is stored.")
    created_by: str | None = strawberry.field(description="Who made it, in the app's own words: an e-mail address.")
    status: VideoStatus = strawberry.field(description="Where it is in its life.")
    comments: JSON | None = strawberry.field(
        description="What was said with the present status: mostly, why it failed. The first report of a failure wins."
    )
    render_progress: int = strawberry.field(
        description="How much is rendered, 0 to 100 percent. It never falls within an attempt."
    )
    render_id: str | None = strawberry.field(description="The render farm's id of the render.")
    bucket_name: str | None = strawberry.field(description="The render farm's bucket.")
    queued_at: datetime.datetime | None = strawberry.field(
        description="When the present attempt entered the render queue."
    )
    render_started_at: datetime.datetime | None = strawberry.field(
        description="When rendering began in the present attempt."
    )
    trashed_at: datetime.datetime | None = strawberry.field(
        description="When it was put into the trash; null if it is not there."
    )
    attempt: int = strawberry.field(description="The present attempt: 1, and one more with each retry.")
    cost: int = strawberry.field(
        description="What the present attempt was charged, in credits: so much comes back if it fails."
    )
    version: int = strawberry.field(
        description="Raised by every change. Of two answers the one with the higher version is newer; "
        "`updateVideoData` takes it as `expectedVersion`."
    )
    created_at: datetime.datetime = strawberry.field(description="When it was created.")
    updated_at: datetime.datetime = strawberry.field(description="When it last changed.")

    async def _script(self, info: Info) -> str | None:
        script: str | None = await self._content(info, "script")
        return script

    async def _caption(self, info: Info) -> JSON | None:
        caption: JSON | None = await self._content(info, "caption")
        return caption

    async def _caption_json(self, info: Info) -> JSON | None:
        caption_json: JSON | None = await self._content(info, "caption_json")
        return caption_json

    async def _config(self, info: Info) -> JSON | None:
        config: JSON | None = await self._content(info, "config")
        return config

    async def _images(self, info: Info) -> list[VideoImage] | None:
        images = await self._content(info, "images")
        return images and [VideoImage(**image) for image in images]

    async def _content(self, info: Info, column: str) -> Any:
        return await info.context.video_content(self.wallet_id, self.video_id, column)

    script: str | None = strawberry.field(resolver=_script, metadata=LARGE, description="What the voice says.")
    caption: JSON | None = strawberry.field(
        resolver=_caption, metadata=LARGE, description="The caption style that the user picked."
    )
    caption_json: JSON | None = strawberry.field(
        resolver=_caption_json,
        metadata=LARGE,
        description="The generated captions: sentences, utterances and words with their times. Large: select it only "
        "where you show it.",
    )
    config: JSON | None = strawberry.field(
        resolver=_config,
        metadata=LARGE,
        description="What the editor page keeps: transition, subtitles, effects, intensity.",
    )
    images: list[VideoImage] | None = strawberry.field(
        resolver=_images, metadata=LARGE, description="Its images in order, once they are generated."
    )

    async def _queue_position(self, info: Info) -> int | None:
        return None if self.queue_id is None else await info.context.queue_position(self.queue_id)

    queue_position: int | None = strawberry.field(
        resolver=_queue_position,
        description="Its position in the render queue, starting at 1; null unless it is RENDER_QUEUED.",
    )

    async def _user(self, info: Info) -> Annotated["User", strawberry.lazy("schema.user")]:
        return await info.context.user(self.user_id)

    user: Annotated["User", strawberry.lazy("schema.user")] = strawberry.field(
        resolver=_user, description="Whose video it is."
    )

    async def _entries(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[CreditEntry]:
        page = Page(first, after, last, before)
        return await info.context.credit_entries_of_video(self.wallet_id, self.video_id, page)

    entries: Connection[CreditEntry] = strawberry.field(
        resolver=_entries, description="What it cost and what was given back, newest entry first."
    )

    async def _events(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Connection[VideoEvent]:
        return await info.context.video_events(self.wallet_id, self.video_id, Page(first, after, last, before))

    events: Connection[VideoEvent] = strawberry.field(
        resolver=_events, description="Each status that it took on, newest first."
    )


@strawberry.type(description="How many videos there are.")
class VideoDataStats:
    total: int = strawberry.field(description="All of them.")
    completed: int = strawberry.field(description="Videos that are COMPLETED.")
    in_progress: int = strawberry.field(description="Videos that have not ended.")
    failed: int = strawberry.field(description="Videos that are FAILED.")
    canceled: int = strawberry.field(description="Videos that are CANCELED.")
    trashed: int = strawberry.field(description="Videos in the trash, whatever their status.")
