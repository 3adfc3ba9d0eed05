"""Every promise about the data, checked over all of it: a statement for each finds the rows that break it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple
from uuid import UUID

import asyncpg

from db.catalog import changed_objects
from db.statement import statement

STATEMENTS = tuple(path.name.removesuffix(".sql") for path in (files("db") / "queries" / "verify").iterdir())
TABLES = "tables"  # That tables, constraints, triggers and functions are what this code's migrations made, and its own.
INVARIANTS = (*sorted(STATEMENTS), TABLES)
# For a transaction that reads whole tables, however long that takes.
UNHURRIED = (
    "SET LOCAL statement_timeout = 0; SET LOCAL transaction_timeout = 0;"
    "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL jit = off;"
    "SET LOCAL work_mem = '64MB'; SET LOCAL timezone = 'UTC'"
)
BROKEN_ROWS_MAX = 100  # Of each invariant: whatever breaks it more often has been shown well enough.


class BrokenRow(NamedTuple):
    """Where an invariant is broken, and what is there; ``number`` is that of an entry or an event."""

    wallet_id: UUID | None
    video_id: UUID | None
    number: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What one of the invariants was found to be: kept, if there are no broken rows."""

    invariant: str
    broken: list[BrokenRow]
    more: int  # How many broken rows there are beyond the BROKEN_ROWS_MAX that are listed.


async def verify(
    connection: "asyncpg.Connection[asyncpg.Record]", wallet_id: UUID | None = None
) -> AsyncIterator[Checked]:
    """Check the INVARIANTS for one wallet or for all, in their order, all as of one moment: others may write meanwhile.

    The connection must be in no transaction. Nothing is changed, and however long it takes no timeout of the session
    cuts it short. What belongs to no wallet (tables, triggers, functions) is checked when all wallets are.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(UNHURRIED)
        for invariant in INVARIANTS:
            if invariant != TABLES:
                yield await _check(connection, invariant, wallet_id)
            elif wallet_id is None:
                faults = [BrokenRow(None, None, None, fault) for fault in await changed_objects(connection)]
                yield Checked(invariant, faults, more=0)


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", invariant: str, wallet_id: UUID | None) -> Checked:
    try:
        async with connection.transaction():
            cursor = await connection.cursor(statement(f"verify/{invariant}"), wallet_id)
            broken = [BrokenRow(*record) for record in await cursor.fetch(BROKEN_ROWS_MAX)]
            return Checked(invariant, broken, more=await cursor.forward(2**31 - 1))
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError) as error:
        # A table, a column or the right to read it is gone; or a number is so wrong that it cannot be reckoned with.
        return Checked(invariant, [BrokenRow(None, None, None, f"cannot be checked: {error.args[0]}")], more=0)
