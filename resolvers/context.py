"""The context of one operation: the caller, the database, and what nested fields read."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import strawberry

import schema.context
from db.database import Database
from resolvers import objects
from resolvers.connection import NEWEST_ENTRY_FIRST, NEWEST_EVENT_FIRST, NEWEST_VIDEO_FIRST, connection, window
from resolvers.identity import Identity
from resolvers.live import Live, Watch
from resolvers.loaders import ContentBudget, ContentLoader, Loaders
from resolvers.video_filter import wanted
from schema.connection import Connection, Page
from schema.credit_entry import CreditEntry
from schema.user import User
from schema.video_data import VideoData, VideoFilter
from schema.video_event import VideoEvent


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one user may create and store; None means no limit."""

    creations_per_day_max: int | None = None
    storage_bytes_per_user_max: int | None = None


NO_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's settings for credits and quotas."""

    signup_credits: int
    video_cost: int
    quotas: Quotas = NO_QUOTAS


class Context(schema.context.Context):
    """Lives for one operation."""

    # Attributes that few operations need have their defaults here, not in the constructor, which every operation calls.
    rest_seconds = 0.0  # the shortest time between two events of a subscription
    incomplete = False  # whether fields of a subscription's last event failed, so that it has to be read again
    watch: Watch | None = None  # of a subscription to a state, from before its first reading
    _budget: ContentBudget | None = None
    _content: ContentLoader | None = None

    def __init__(
        self, database: Database, live: Live, terms: Terms, identity: Identity | None, response_bytes_max: int
    ) -> None:
        self.database = database
        self.live = live
        self.terms = terms
        self.identity = identity
        self.response_bytes_max = response_bytes_max
        self.loaders = Loaders(database)

    async def refreshed(self) -> None:
        """Have a subscription to a state read again; return once a read that began after this call has been shown."""
        if self.watch is not None:
            await self.watch.refreshed()

    def new_response(self, loaders: Loaders) -> None:
        """Start another response, as a subscription does for each event, with the loaders for its rows."""
        self.loaders = loaders
        self._budget = self._content = None

    def forget_rows(self) -> None:
        """Forget the rows that were read, within the same response."""
        self.loaders.forget()
        self._content = None

    async def user(self, user_id: UUID) -> User:
        return objects.user(objects.required(await self.loaders.user(user_id)))

    async def video_data(self, wallet_id: UUID, video_id: UUID) -> VideoData:
        return objects.video_data(objects.required(await self.loaders.video_data((wallet_id, video_id))))

    async def video_content(self, wallet_id: UUID, video_id: UUID, column: str) -> Any:
        if self._budget is None:
            self._budget = ContentBudget(self.response_bytes_max)
        if self._content is None:
            self._content = ContentLoader(self.database, self._budget)
        return await self._content.load((wallet_id, video_id), column)

    async def queue_position(self, queue_id: UUID) -> int | None:
        return await self.loaders.queue_position(queue_id)

    async def videos(self, wallet_id: UUID, page: Page, video_filter: VideoFilter | None) -> Connection[VideoData]:
        part = window(page, NEWEST_VIDEO_FIRST)
        rows = await self.loaders.videos(wallet_id, part, wanted(video_filter))
        return connection(rows, part, lambda row: row.id, objects.video_data)

    async def credit_entries(self, wallet_id: UUID, page: Page) -> Connection[CreditEntry]:
        part = window(page, NEWEST_ENTRY_FIRST)
        rows = await self.loaders.credit_entries(wallet_id, part)
        return connection(rows, part, lambda row: row.number, objects.credit_entry)

    async def credit_entries_of_video(self, wallet_id: UUID, video_id: UUID, page: Page) -> Connection[CreditEntry]:
        part = window(page, NEWEST_ENTRY_FIRST)
        rows = await self.loaders.credit_entries_of_video((wallet_id, video_id), part)
        return connection(rows, part, lambda row: row.number, objects.credit_entry)

    async def video_events(self, wallet_id: UUID, video_id: UUID, page: Page) -> Connection[VideoEvent]:
        part = window(page, NEWEST_EVENT_FIRST)
        rows = await self.loaders.video_events((wallet_id, video_id), part)
        return connection(rows, part, lambda row: row.number, objects.video_event)


Info = strawberry.Info[Context, None]
