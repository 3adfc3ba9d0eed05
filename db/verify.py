"""Every promise about the data, checked over all of it: a statement for each finds the rows that break it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple
from uuid import UUID

import asyncpg

from db.migrate import changed_functions
from db.statement import statement

STATEMENTS = tuple(path.name.removesuffix(".sql") for path in (files("db") / "queries" / "verify").iterdir())
MUTATIONS = "tables_mutations"  # That the functions of all mutations are those that this code ships.
INVARIANTS = tuple(sorted([*STATEMENTS, MUTATIONS]))
BROKEN_ROWS_MAX = 100  # Of each invariant: whatever breaks it more often has been shown well enough.


class BrokenRow(NamedTuple):
    """Where an invariant is broken, and what is there; ``number`` is that of an entry or an event."""

    user_id: UUID | None
    video_id: UUID | None
    number: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What one of the invariants was found to be: kept, if there are no broken rows."""

    invariant: str
    broken: list[BrokenRow]
    more: int  # How many broken rows there are beyond the BROKEN_ROWS_MAX that are told.


async def verify(
    connection: "asyncpg.Connection[asyncpg.Record]", user_id: UUID | None = None
) -> AsyncIterator[Checked]:
    """Check the INVARIANTS for one user or for all, in their order, all as of one moment: others may write meanwhile.

    The connection must be in no transaction. Nothing is changed, and however long it takes no timeout of the session
    cuts it short. The invariants of the tables themselves (their constraints, their triggers), which are everybody's,
    are checked when all users are.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(
            "SET LOCAL statement_timeout = 0; SET LOCAL transaction_timeout = 0;"
            "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL jit = off;"
            "SET LOCAL work_mem = '64MB'; SET LOCAL timezone = 'UTC'"
        )
        for invariant in INVARIANTS:
            if user_id is not None and invariant.startswith("tables_"):
                continue
            if invariant == MUTATIONS:
                yield await _check_mutations(connection)
            else:
                yield await _check(connection, invariant, user_id)


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", invariant: str, user_id: UUID | None) -> Checked:
    try:
        async with connection.transaction():
            cursor = await connection.cursor(statement(f"verify/{invariant}"), user_id)
            broken = [BrokenRow(*record) for record in await cursor.fetch(BROKEN_ROWS_MAX)]
            return Checked(invariant, broken, more=await cursor.forward(2**31 - 1))
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError) as error:
        # A table, a column or the right to read it is gone; or a number is so wrong that it cannot be reckoned with.
        return Checked(invariant, [BrokenRow(None, None, None, f"cannot be checked: {error}")], more=0)


async def _check_mutations(connection: "asyncpg.Connection[asyncpg.Record]") -> Checked:
    """Compare the functions with this code's files; a digest in a statement would have to follow their changes."""
    details = [
        f"function {each.name} is missing or not what this code ships" for each in await changed_functions(connection)
    ]
    return Checked(MUTATIONS, [BrokenRow(None, None, None, detail) for detail in details], more=0)
