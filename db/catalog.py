"""What the migrations make of a database: ``catalog.json`` lists it, and `verify` compares a database with the list.

After a change of the migrations, `make schema` writes the list again.
"""

import json
from importlib.resources import files

import asyncpg

from db.function import FUNCTIONS
from db.migrate import changed_functions, shipped_revisions
from db.statement import statement

READ_CATALOG = statement("read_catalog")
MIGRATED: dict[str, str] = json.loads((files("db") / "catalog.json").read_text("utf-8"))


async def read_catalog(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Return the definition of each object that migrations make, by kind and name; mutations' functions are apart."""
    not_migrated = {f"function {name}" for name in FUNCTIONS}
    return {
        name: definition
        for name, definition in await connection.fetch(READ_CATALOG)
        if name not in not_migrated and "alembic_version" not in name
    }


async def changed_objects(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Say what is missing or is not what this code has migrated, or which of its functions are not as it ships them.

    What newer code has migrated is not compared: its objects may be others.
    """
    if await connection.fetchval("SELECT version_num FROM alembic_version") != shipped_revisions()[-1]:
        return []
    present = await read_catalog(connection)
    return [
        f"{name} is missing"
        if name not in present
        else f"{name} is not what was migrated{_instead(name, present[name])}"
        for name, definition in MIGRATED.items()
        if present.get(name) != definition
    ] + [f"function {each.name} is missing or not what this code ships" for each in await changed_functions(connection)]


def _instead(name: str, definition: str) -> str:
    return "" if name.startswith("function ") else f", but {definition}"
