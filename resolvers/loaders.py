"""DataLoaders for nested fields: one statement for all keys that are requested at the same time."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import orjson
from strawberry.dataloader import DataLoader

import db.credit_entry
import db.user
import db.video_data
import db.video_event
from db.credit_entry import CreditEntryRow
from db.database import Database
from db.user import UserRow
from db.video_data import CONTENT_COLUMNS, VideoDataRow
from db.video_event import VideoEventRow
from resolvers.connection import Window
from resolvers.objects import required
from resolvers.video_filter import Wanted
from schema.error import response_too_large
from schema.limits import PAGE_SIZE_MAX

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")

Video = tuple[UUID, UUID]


class ContentBudget:
    """How many bytes of large columns the response to one operation may still hold."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.left = bytes_max

    def take(self, size: int) -> None:
        """Count bytes of the response; LIMIT_EXCEEDED when it would hold too many."""
        self.left -= size
        if self.left < 0:
            raise response_too_large(self.bytes_max)


class ContentLoader:
    """Loads large columns of videos for one operation, within its budget: it reads their sizes before their content."""

    def __init__(self, database: Database, budget: ContentBudget) -> None:
        self._budget = budget

        async def load(keys: list[tuple[Video, str]]) -> list[tuple[Any, int]]:
            videos, columns = {video for video, _ in keys}, {column for _, column in keys}
            left = max(budget.left, 0)
            found = await db.video_data.get_video_content(database, list(videos), list(columns), left)
            if any(row.total_bytes > left for row in found.values()):
                budget.take(budget.left + 1)
            return [
                (_content(column, getattr(found[video], column)), found[video].sizes[CONTENT_COLUMNS.index(column)])
                for video, column in keys
            ]

        self._loader = DataLoader(load)

    def load(self, video: Video, column: str) -> Awaitable[Any]:
        """Load a column of a video; it counts each time that it is shown."""
        return _counted(self._budget, self._loader.load((video, column)))


def _content(column: str, text: str | None) -> Any:
    """Convert a column's text to a field's value. JSON is passed through, since parsing and writing it takes long."""
    if text is None or column == "script":
        return text
    return json.loads(text) if column == "images" else orjson.Fragment(text)


async def _counted(budget: ContentBudget, loaded: Awaitable[tuple[Any, int]]) -> Any:
    value, size = await loaded
    budget.take(size)
    return value


class Loaders:
    """Loads rows for one operation, and caches them for its lifetime; the database batches across operations.

    In a mutation, each root field begins with nothing, so that it shows what the fields before it changed. No loader
    refers to its Loaders, so that they are freed as soon as nothing uses them: a reference cycle would keep the rows
    until the garbage collector runs, which pauses the process for long when thousands of subscriptions have read.
    """

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        """Load for one operation, or ``shared`` by several: cancelling one then cancels no read of the others."""
        self._database = database
        self._shared = shared
        self._rows: dict[Hashable, asyncio.Future[Any]] = {}

    def forget(self) -> None:
        """Forget all rows: later loads read them again."""
        self._rows.clear()

    def user(self, user_id: UUID) -> Awaitable[UserRow | None]:
        return self._row(db.user.get_users, user_id)

    def viewer(self, user_id: UUID) -> Awaitable[tuple[UserRow, CreditEntryRow | None] | None]:
        return self._row(db.user.get_viewers, user_id)

    def video_data(self, video: Video) -> Awaitable[VideoDataRow | None]:
        return self._row(db.video_data.get_video_data, video)

    def credit_entry(self, entry: tuple[UUID, int]) -> Awaitable[CreditEntryRow | None]:
        return self._row(db.credit_entry.get_credit_entries, entry)

    def video_event(self, event: tuple[UUID, UUID, int]) -> Awaitable[VideoEventRow | None]:
        return self._row(db.video_event.get_video_events, event)

    def queue_position(self, queue_id: UUID) -> Awaitable[int | None]:
        return self._row(db.video_data.get_queue_positions, queue_id)

    async def videos(self, wallet_id: UUID, window: Window[UUID], wanted: Wanted) -> list[VideoDataRow]:
        return required(await self._row(db.video_data.list_videos, wallet_id, *window.bounds, *wanted))

    async def credit_entries(self, wallet_id: UUID, window: Window[int]) -> list[CreditEntryRow]:
        return required(await self._row(db.credit_entry.list_credit_entries, wallet_id, *window.bounds))

    async def added_credit_entries(self, wallet_id: UUID, number: int) -> list[CreditEntryRow]:
        entry = (wallet_id, number)
        return required(await self._row(db.credit_entry.list_added_credit_entries, entry, PAGE_SIZE_MAX))

    async def credit_entries_of_video(self, video: Video, window: Window[int]) -> list[CreditEntryRow]:
        return required(await self._row(db.credit_entry.list_credit_entries_of_video, video, *window.bounds))

    async def video_events(self, video: Video, window: Window[int]) -> list[VideoEventRow]:
        return required(await self._row(db.video_event.list_video_events, video, *window.bounds))

    def _row(
        self, fetch: Callable[..., Awaitable[Mapping[Key, Row]]], key: Key, *terms: Hashable
    ) -> Awaitable[Row | None]:
        requested = (fetch, key, terms)
        row = self._rows.get(requested)
        if row is None:
            row = self._rows[requested] = self._database.row(fetch, key, *terms)
        return asyncio.shield(row) if self._shared else row
