"""What is stored about a person: all of it to read, and all of it erased (docs/decisions/0022-erasure.md)."""

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from db.database import Database
from db.statement import statement
from db.verify import UNHURRIED
from db.video_data import update_video_record_status

EXPORT = statement("person/export")
LOCK_WALLETS = statement("person/lock_wallets")
ROWS_AT_ONCE = 1_000


class _Table(NamedTuple):
    """A table, the columns that its rows are found by, and whether they say who the actor was."""

    name: str
    key: tuple[str, ...]
    has_actors: bool = False


# In this order: running videos are canceled before their entries and events are found.
TABLES = (
    _Table("users", ("wallet_id",)),
    _Table("video_data", ("wallet_id", "id")),
    _Table("credit_entries", ("wallet_id", "number"), has_actors=True),
    _Table("video_events", ("wallet_id", "video_id", "number"), has_actors=True),
)
FIND = {table: statement(f"person/find_{table.name}") for table in TABLES}
ERASE = {table: statement(f"person/erase_{table.name}") for table in TABLES}


class Person(NamedTuple):
    """A user, and the actors that the person may have been in the ledger and the histories, one for each role."""

    user_id: UUID
    actors: Sequence[str]


class Erased(NamedTuple):
    """How many rows of a table were erased at once, or would be; or how many videos were canceled first, or not."""

    what: str
    rows: int


async def export(connection: "asyncpg.Connection[asyncpg.Record]", person: Person) -> AsyncGenerator[tuple[str, str]]:
    """Yield all that is stored about a person, as of one moment: the table and the row as JSON text, one at a time."""
    async for rows in _batches(connection, EXPORT, person.user_id, person.actors, size=ROWS_AT_ONCE):
        for table, line in rows:
            yield table, line


async def erase(
    connection: "asyncpg.Connection[asyncpg.Record]",
    database: Database,
    person: Person,
    actor: str,
    *,
    dry_run: bool = False,
    rows_at_once: int = ROWS_AT_ONCE,
) -> AsyncGenerator[Erased]:
    """Erase a person, in transactions of so many rows: texts become null, keys and the subject become pseudonyms.

    First the user's own wallet is closed, and running videos are canceled by ``actor``, with their refund. No amount,
    number, time or event changes, nor other people's rows, but for the person's name where they were the actor. It may
    be interrupted and repeated: what is erased already is not found again. A dry run only counts.
    """
    for table in TABLES:
        whose = (person.user_id, person.actors) if table.has_actors else (person.user_id,)
        changes = (*whose, f"erased:{person.user_id}") if table.has_actors else ()
        async for rows in _batches(connection, FIND[table], *whose, size=rows_at_once):
            running = [row for row in rows if row.get("is_running")]
            if dry_run:
                if running:
                    yield Erased("videos to cancel", len(running))
                yield Erased(table.name, len(rows))
                continue
            for row in running:
                yield await _cancel(database, row["wallet_id"], row["id"], actor)
            wallet_ids, *keys = ([row[column] for row in rows] for column in table.key)
            async with database.pool.acquire() as writer, writer.transaction():
                if not table.has_actors:  # Of wallets, only profiles and content are a part.
                    await writer.execute(LOCK_WALLETS, wallet_ids)
                count = await writer.fetchval(ERASE[table], wallet_ids, *keys, *changes)
            yield Erased(table.name, count)


async def _cancel(database: Database, wallet_id: UUID, video_id: UUID, actor: str) -> Erased:
    row = await update_video_record_status(database, wallet_id, video_id, "CANCELED", None, None, None, None, actor)
    # It may have ended meanwhile; but if the refund would make too many credits, somebody has to take some first.
    return Erased("videos not canceled" if row.outcome == "credits_out_of_range" else "videos canceled", 1)


async def _batches(
    connection: "asyncpg.Connection[asyncpg.Record]", query: str, *arguments: object, size: int
) -> AsyncGenerator[list[asyncpg.Record]]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(UNHURRIED)
        cursor = await connection.cursor(query, *arguments)
        while rows := await cursor.fetch(size):
            yield rows
