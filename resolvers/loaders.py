"""What nested fields ask for, gathered: a page of parents costs one statement for each kind of child."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from strawberry.dataloader import DataLoader

import db.credit_entry
import db.user
import db.video_data
import db.video_event
from db.credit_entry import CreditEntryRow
from db.database import Database
from db.user import UserRow
from db.video_data import VideoDataRow
from db.video_event import VideoEventRow
from resolvers.connection import Window
from resolvers.objects import known
from resolvers.video_filter import Wanted
from schema.limits import PAGE_SIZE_MAX

Key = TypeVar("Key", bound=Hashable)
Parent = TypeVar("Parent", bound=Hashable)
Terms = TypeVar("Terms", bound=Hashable)
Row = TypeVar("Row")

Video = tuple[UUID, UUID]


class Loaders:
    """Live for one operation; in a mutation, for one root field, so that it shows what those before it changed.

    No loader refers to its Loaders: they are gone as soon as they are used no more. A cycle of them would keep what was
    read until the garbage collector comes, which halts the process for long where thousands follow something.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def user(self) -> DataLoader[UUID, UserRow | None]:
        return _by_key(self._database, db.user.get_users)

    @cached_property
    def viewer(self) -> DataLoader[UUID, tuple[UserRow, CreditEntryRow | None] | None]:
        return _by_key(self._database, db.user.get_viewers)

    @cached_property
    def video_data(self) -> DataLoader[Video, VideoDataRow | None]:
        return _by_key(self._database, db.video_data.get_video_data)

    @cached_property
    def credit_entry(self) -> DataLoader[tuple[UUID, int], CreditEntryRow | None]:
        return _by_key(self._database, db.credit_entry.get_credit_entries)

    @cached_property
    def video_event(self) -> DataLoader[tuple[UUID, UUID, int], VideoEventRow | None]:
        return _by_key(self._database, db.video_event.get_video_events)

    @cached_property
    def queue_position(self) -> DataLoader[int, int | None]:
        return _by_key(self._database, db.video_data.get_queue_positions)

    @cached_property
    def video_content(self) -> DataLoader[tuple[Video, str], Any]:
        database = self._database

        async def load(keys: list[tuple[Video, str]]) -> list[Any]:
            videos, columns = {video for video, _ in keys}, {column for _, column in keys}
            found = await db.video_data.get_video_content(database, list(videos), list(columns))
            return [getattr(found[video], column) for video, column in keys]

        return DataLoader(load)

    @cached_property
    def videos(self) -> DataLoader[tuple[UUID, tuple[Window[UUID], Wanted]], list[VideoDataRow]]:
        database = self._database

        async def fetch(user_ids: list[UUID], terms: tuple[Window[UUID], Wanted]) -> list[VideoDataRow]:
            window, wanted = terms
            return await db.video_data.list_videos(database, user_ids, *window.bounds, *wanted)

        return _by_parent(fetch, lambda row: row.user_id)

    @cached_property
    def credit_entries(self) -> DataLoader[tuple[UUID, Window[int]], list[CreditEntryRow]]:
        database = self._database

        async def fetch(user_ids: list[UUID], window: Window[int]) -> list[CreditEntryRow]:
            return await db.credit_entry.list_credit_entries(database, user_ids, *window.bounds)

        return _by_parent(fetch, lambda row: row.user_id)

    @cached_property
    def added_credit_entries(self) -> DataLoader[tuple[UUID, int], list[CreditEntryRow]]:
        database = self._database

        async def load(keys: list[tuple[UUID, int]]) -> list[list[CreditEntryRow]]:
            found = await db.credit_entry.list_added_credit_entries(database, keys, PAGE_SIZE_MAX)
            return [found[key] for key in keys]

        return DataLoader(load)

    @cached_property
    def credit_entries_of_video(self) -> DataLoader[tuple[Video, Window[int]], list[CreditEntryRow]]:
        database = self._database

        async def fetch(videos: list[Video], window: Window[int]) -> list[CreditEntryRow]:
            return await db.credit_entry.list_credit_entries_of_video(database, videos, *window.bounds)

        def video(row: CreditEntryRow) -> Video:
            return row.user_id, known(row.video_id)

        return _by_parent(fetch, video)

    @cached_property
    def video_events(self) -> DataLoader[tuple[Video, Window[int]], list[VideoEventRow]]:
        database = self._database

        async def fetch(videos: list[Video], window: Window[int]) -> list[VideoEventRow]:
            return await db.video_event.list_video_events(database, videos, *window.bounds)

        return _by_parent(fetch, lambda row: (row.user_id, row.video_id))


def _by_key(
    database: Database, fetch: Callable[[Database, Sequence[Key]], Awaitable[dict[Key, Row]]]
) -> DataLoader[Key, Row | None]:
    async def load(keys: list[Key]) -> "list[Row | None]":  # Quoted, as it would be evaluated for each loader.
        found = await database.rows_by_key(fetch, keys)
        return [found.get(key) for key in keys]

    return DataLoader(load)


def _by_parent(
    fetch: Callable[[list[Parent], Terms], Awaitable[Sequence[Row]]], parent: Callable[[Row], Parent]
) -> DataLoader[tuple[Parent, Terms], list[Row]]:
    """Load children by parent: one statement for all parents whose page is asked for in the same terms."""

    async def load(keys: list[tuple[Parent, Terms]]) -> list[list[Row]]:
        parents_of: dict[Terms, list[Parent]] = defaultdict(list)
        for key, terms in keys:
            parents_of[terms].append(key)
        found: dict[tuple[Parent, Terms], list[Row]] = {}

        async def fill(terms: Terms, parents: list[Parent]) -> None:
            rows_of: dict[Parent, list[Row]] = defaultdict(list)
            for row in await fetch(parents, terms):
                rows_of[parent(row)].append(row)
            found.update(((each, terms), rows_of[each]) for each in parents)

        await asyncio.gather(*(fill(terms, parents) for terms, parents in parents_of.items()))
        return [found[key] for key in keys]

    return DataLoader(load)
