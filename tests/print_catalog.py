"""Prints db/catalog.json: what the migrations make of an empty database."""

import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from db.catalog import read_catalog
from db.migrate import connected, migrate
from server.postgres.embedded import embedded_postgres


async def _print(dsn: str) -> None:
    await migrate(dsn)
    async with connected(dsn) as connection:
        sys.stdout.write(json.dumps(await read_catalog(connection), indent=1) + "\n")


if __name__ == "__main__":
    with TemporaryDirectory() as directory, embedded_postgres(Path(directory), settings={"fsync": "off"}) as dsn:
        asyncio.run(_print(dsn))
