"""A server that is told to stop finishes what it has begun, takes nothing new, and ends well."""

import asyncio
import signal
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from db.database import Database
from tests.api import MUTATIONS, SECRET, Api, headers
from tests.race import blocked
from tests.server.test_cli import serving
from tests.server.transports.test_fast_path import read, request

VIDEO = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}


async def refused(address: str) -> None:
    """Wait until whoever comes is turned away."""
    url = httpx2.URL(address)
    while True:
        try:
            _, writer = await asyncio.open_connection(url.host, url.port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # It was in the queue just when the listener was closed; the next one is refused.
        writer.close()
        await asyncio.sleep(0.01)


async def test_what_was_begun_is_finished(api: Api, dsn: str, database: Database, tmp_path: Path) -> None:
    """After SIGTERM nobody is let in, a mutation under way is answered when it can go on, and the exit code is 0."""
    await api.register()
    with serving(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as server:
        async with httpx2.AsyncClient(timeout=30) as client:
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("SELECT FROM users FOR UPDATE")
                document = {"query": MUTATIONS["createVideoData"], "variables": {"input": VIDEO}}
                creation = asyncio.create_task(client.post(server.address, json=document, headers=headers("ann")))
                await blocked(database)
                server.process.send_signal(signal.SIGTERM)
                await refused(server.address)
                await asyncio.sleep(0.5)  # Longer than a stop takes that waits for nobody.
                assert not creation.done()
                assert server.process.poll() is None
            created = (await creation).json()["data"]["createVideoData"]
        assert (created["__typename"], created["user"]["credits"]) == ("CreateVideoDataSuccess", 9)
        _, logged = await asyncio.to_thread(server.process.communicate, timeout=60)
        assert server.process.returncode == 0, logged
        assert "Traceback" not in logged
    assert await api.balance() == 9


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_does_not_end_is_broken_off(
    api: Api, dsn: str, database: Database, tmp_path: Path, at_once: bool
) -> None:
    """After SIGTERM a query that never ends keeps the server for only so long, whichever way it came.

    It is told so and logged, and the exit code is 0 then too.
    """
    await api.register()
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn, "REQUEST_TIMEOUT_SECONDS": "3600", "LOG_FORMAT": "json"}
    with serving(tmp_path, **settings) as server:
        url = httpx2.URL(server.address)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        with closing(writer):
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("LOCK TABLE users")
                query = request()
                first = len(query) if at_once else len(query) - 1
                writer.write(query[:first])
                await asyncio.sleep(0.1)  # Else both may come at once.
                writer.write(query[first:])
                await blocked(database)
                server.process.send_signal(signal.SIGTERM)
                _, logged = await asyncio.to_thread(server.process.communicate, timeout=60)
                assert server.process.returncode == 0, logged
            status, told, body = await read(reader)
            assert (status, told["connection"], body) == (500, "close", b"Internal Server Error")
        assert [line for line in logged.splitlines() if '"/graphql"' in line and '"status": null' in line], logged
