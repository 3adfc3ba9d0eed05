"""The status history as clients see it."""

import datetime
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from schema.node import Node
from schema.video_status import VideoStatus


@strawberry.type(description="One change of a video's status. Events are never changed or removed.")
class VideoEvent(Node):
    wallet_id: strawberry.Private[UUID]
    video_id: strawberry.Private[UUID]
    number: int = strawberry.field(description="1 for the video's first event, 2 for the second, without gaps.")
    status: VideoStatus = strawberry.field(description="The status that the video took on.")
    attempt: int = strawberry.field(description="During which attempt, from 1.")
    actor: str = strawberry.field(description="Who reported it: role and subject, such as `WORKER:render-1`.")
    comments: JSON | None = strawberry.field(description="What the reporter said, if anything.")
    created_at: datetime.datetime = strawberry.field(
        description="When it was written. Order events by `number`, never by this."
    )
