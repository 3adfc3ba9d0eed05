"""One operation: who asks, the database, and what its nested fields see."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import strawberry

from db.database import Database
from resolvers import objects
from resolvers.connection import NEWEST_ENTRY_FIRST, NEWEST_EVENT_FIRST, NEWEST_VIDEO_FIRST, connection, window
from resolvers.identity import Identity
from resolvers.live import Live
from resolvers.loaders import ContentBudget, ContentLoader, Loaders
from resolvers.video_filter import wanted
from schema.connection import Connection, Page
from schema.credit_entry import CreditEntry
from schema.user import User
from schema.video_data import VideoData, VideoFilter
from schema.video_event import VideoEvent


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator has set about credits."""

    signup_credits: int
    video_cost: int


class Context:
    """Lives for one operation; answers what `schema.context.Context` asks."""

    def __init__(
        self, database: Database, live: Live, terms: Terms, identity: Identity | None, response_bytes_max: int
    ) -> None:
        self.database = database
        self.live = live
        self.terms = terms
        self.identity = identity
        self.response_bytes_max = response_bytes_max
        self.new_response(Loaders(database))
        self.rest_seconds = 0.0  # how long a subscription rests between two events, at least
        self.incomplete = False  # whether a subscription's last event could not be shown whole, and is to come again

    def new_response(self, loaders: Loaders) -> None:
        """Begin a response, the operation's own or one of a subscription's, with what its rows are read with."""
        self.budget = ContentBudget(self.response_bytes_max)
        self.read_anew(loaders)

    def read_anew(self, loaders: Loaders) -> None:
        """Forget the rows that were read, and go on with the same response."""
        self.loaders = loaders
        self._content = ContentLoader(self.database, self.budget)

    async def user(self, user_id: UUID) -> User:
        return objects.user(objects.required(await self.loaders.user(user_id)))

    async def video_data(self, user_id: UUID, video_id: UUID) -> VideoData:
        return objects.video_data(objects.required(await self.loaders.video_data((user_id, video_id))))

    async def video_content(self, user_id: UUID, video_id: UUID, column: str) -> Any:
        return await self._content.load((user_id, video_id), column)

    async def queue_position(self, queue_number: int) -> int | None:
        return await self.loaders.queue_position(queue_number)

    async def videos(self, user_id: UUID, page: Page, video_filter: VideoFilter | None) -> Connection[VideoData]:
        part = window(page, NEWEST_VIDEO_FIRST)
        rows = await self.loaders.videos(user_id, part, wanted(video_filter))
        return connection(rows, part, lambda row: row.id, objects.video_data)

    async def credit_entries(self, user_id: UUID, page: Page) -> Connection[CreditEntry]:
        part = window(page, NEWEST_ENTRY_FIRST)
        rows = await self.loaders.credit_entries(user_id, part)
        return connection(rows, part, lambda row: row.number, objects.credit_entry)

    async def credit_entries_of_video(self, user_id: UUID, video_id: UUID, page: Page) -> Connection[CreditEntry]:
        part = window(page, NEWEST_ENTRY_FIRST)
        rows = await self.loaders.credit_entries_of_video((user_id, video_id), part)
        return connection(rows, part, lambda row: row.number, objects.credit_entry)

    async def video_events(self, user_id: UUID, video_id: UUID, page: Page) -> Connection[VideoEvent]:
        part = window(page, NEWEST_EVENT_FIRST)
        rows = await self.loaders.video_events((user_id, video_id), part)
        return connection(rows, part, lambda row: row.number, objects.video_event)


Info = strawberry.Info[Context, None]
