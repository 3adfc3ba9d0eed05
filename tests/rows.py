"""A database's whole content, which a refusal must not change."""

from typing import Any

from db.database import Database


async def every_row(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Read every row of every table."""
    return {
        table: [tuple(record) for record in await database.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
        for table in ("wallets", "users", "video_data", "video_contents", "credit_entries", "video_events")
    }
