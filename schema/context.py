"""What fields may ask of their operation's context, which `resolvers` implements."""

from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import strawberry

from schema.connection import Connection, Page

if TYPE_CHECKING:
    from schema.credit_entry import CreditEntry
    from schema.user import User
    from schema.video_data import VideoData, VideoFilter
    from schema.video_event import VideoEvent


class Context(Protocol):
    """Nested objects and lists, read by DataLoaders: a page of parents costs one statement for each kind of child."""

    async def user(self, user_id: UUID) -> "User": ...

    async def video_data(self, wallet_id: UUID, video_id: UUID) -> "VideoData": ...

    async def video_content(self, wallet_id: UUID, video_id: UUID, column: str) -> Any: ...

    async def queue_position(self, queue_id: UUID) -> int | None: ...

    async def videos(
        self, wallet_id: UUID, page: Page, video_filter: "VideoFilter | None"
    ) -> "Connection[VideoData]": ...

    async def credit_entries(self, wallet_id: UUID, page: Page) -> "Connection[CreditEntry]": ...

    async def credit_entries_of_video(
        self, wallet_id: UUID, video_id: UUID, page: Page
    ) -> "Connection[CreditEntry]": ...

    async def video_events(self, wallet_id: UUID, video_id: UUID, page: Page) -> "Connection[VideoEvent]": ...


Info = strawberry.Info[Context, None]
