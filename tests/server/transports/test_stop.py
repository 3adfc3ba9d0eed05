"""On a signal the server accepts nothing new, finishes requests in flight and exits with 0, by either command."""

import asyncio
import json
import signal
import subprocess
import sys
from base64 import b64encode
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path

import httpx2
import jwt
import pytest
from websockets.asyncio.client import connect

from db.database import Database
from tests.api import MUTATIONS, SECRET, Api, headers
from tests.gate import Gate
from tests.race import blocked
from tests.server.test_cli import Served
from tests.server.test_serve import Command, command
from tests.server.transports.test_event_stream import CREDITS, EVENTS, Stream
from tests.server.transports.test_fast_path import read, request
from tests.sockets import PROTOCOL, Client

__all__ = ["command"]  # A fixture.

VIDEO = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}


async def refused(address: str) -> None:
    """Wait until new connections are refused."""
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


async def ended(served: Served) -> str:
    """Wait until the server has ended, with exit code 0 and no traceback, and return its log."""
    _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
    assert served.process.returncode == 0, logged
    assert "Traceback" not in logged
    return str(logged)


async def test_requests_in_flight_are_finished(
    command: Command, api: Api, dsn: str, database: Database, tmp_path: Path
) -> None:
    """After SIGTERM new connections are refused, a running mutation is answered, and the exit code is 0."""
    await api.register()
    with command(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as server:
        async with httpx2.AsyncClient(timeout=30) as client:
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("SELECT FROM wallets FOR UPDATE")
                document = {"query": MUTATIONS["createVideoData"], "variables": {"input": VIDEO}}
                creation = asyncio.create_task(client.post(server.address, json=document, headers=headers("ann")))
                await blocked(database)
                server.process.send_signal(signal.SIGTERM)
                await refused(server.address)
                await asyncio.sleep(0.5)  # Longer than a stop takes that waits for no request.
                assert not creation.done()
                assert server.process.poll() is None
            created = (await creation).json()["data"]["createVideoData"]
        assert (created["__typename"], created["user"]["credits"]) == ("CreateVideoDataSuccess", 9)
        await ended(server)
    assert await api.balance() == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_streams_end(command: Command, number: signal.Signals, api: Api, dsn: str, tmp_path: Path) -> None:
    """On SIGTERM and Ctrl-C streams end without `complete`, sockets with 1012.

    No error is logged; the exit code is 0.
    """
    await api.register()
    with command(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as served:
        address = served.address.replace("http", "ws", 1)
        async with (
            httpx2.AsyncClient(timeout=30) as client,
            client.stream(
                "POST", served.address, json={"query": CREDITS}, headers={"Accept": EVENTS, **headers("ann")}
            ) as response,
            connect(address, subprotocols=[PROTOCOL], proxy=None) as connection,
        ):
            stream = Stream(response)
            assert "errors" not in await stream.result()
            follower = Client(connection)
            await follower.sign_in("ann")
            await follower.subscribe("live", CREDITS)
            await follower.receive()
            served.process.send_signal(number)
            assert await stream.rest() == []
            assert await follower.closed() == (1012, "The server is being stopped: connect again.")
        assert "rror" not in await ended(served)


@pytest.mark.parametrize("whole", [True, False])
async def test_requests_that_do_not_end(
    command: Command, whole: bool, api: Api, dsn: str, database: Database, tmp_path: Path
) -> None:
    """A query that never ends gets RETRY shortly before the server stops, on the fast path and on ASGI."""
    await api.register()
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn, "REQUEST_TIMEOUT_SECONDS": "3600", "LOG_FORMAT": "json"}
    with command(tmp_path, **settings) as server:
        url = httpx2.URL(server.address)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        with closing(writer):
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("LOCK TABLE wallets")
                query = request()
                first = len(query) if whole else len(query) - 1
                writer.write(query[:first])
                await asyncio.sleep(0.1)  # Else both may come at once.
                writer.write(query[first:])
                await blocked(database)
                server.process.send_signal(signal.SIGTERM)
                _, logged = await asyncio.to_thread(server.process.communicate, timeout=60)
                assert server.process.returncode == 0, logged
            status, fields, body = await read(reader)
            assert (status, fields["connection"], fields["retry-after"]) == (503, "close", "1")
            assert json.loads(body)["errors"][0]["extensions"]["code"] == "RETRY"
        assert [line for line in logged.splitlines() if '"/graphql"' in line and '"status": 503' in line], logged


async def test_clients_that_do_not_read(command: Command, api: Api, dsn: str, tmp_path: Path) -> None:
    """Clients that do not read a stream or a response delay the stop for a bounded time, and cause no logged error."""
    await api.register()
    await asyncio.gather(*(api.create(f"{number}", title="x" * 500) for number in range(30)))
    query = b'{"query": "{ viewer { videos(first: 30) { nodes { title } } } }"}'
    with command(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn) as served:
        url = httpx2.URL(served.address)
        _, writer = await asyncio.open_connection(url.host, url.port, limit=1)
        with closing(writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # Streams have a transport that reads.
            for _ in range(400):
                writer.write(request(query))
            await asyncio.sleep(0.5)
            served.process.send_signal(signal.SIGTERM)
            assert "rror" not in await ended(served)


async def test_a_silent_database(command: Command, api: Api, dsn: str, tmp_path: Path) -> None:
    """A database that stops answering delays the stop for a bounded time; requests that wait for it get RETRY."""
    await api.register()
    gate = Gate(dsn, tmp_path)
    await gate.open()
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": gate.dsn, "REQUEST_TIMEOUT_SECONDS": "3600"}
    document = {"query": MUTATIONS["createVideoData"], "variables": {"input": VIDEO}}
    server = command(tmp_path / "data", **settings)
    async with AsyncExitStack() as stack:
        served = await asyncio.to_thread(server.__enter__)  # The gate has to work meanwhile.
        stack.push(server.__exit__)
        async with httpx2.AsyncClient(timeout=60) as client:
            gate.silence()
            creation = asyncio.create_task(client.post(served.address, json=document, headers=headers("ann")))
            await asyncio.sleep(0.5)
            served.process.send_signal(signal.SIGTERM)
            response = await creation
            assert (response.status_code, response.headers.get("Retry-After")) == (503, "1"), response.text
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
    gate.shut()


async def test_keys_that_do_not_arrive(command: Command, dsn: str, tmp_path: Path) -> None:
    """An identity provider that drips bytes does not delay the stop; requests that wait for its keys get RETRY."""
    asked = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        asked.set()
        with closing(writer), suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.2)

    provider = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}/keys"
    settings = {"JWKS_URL": url, "JWT_AUDIENCE": "app", "JWT_ISSUER": "id", "DATABASE_URL": dsn}
    token = jwt.encode({}, SECRET).split(".")
    token[0] = b64encode(b'{"alg":"RS256","kid":"new"}').decode().rstrip("=")
    with command(tmp_path, **settings, REQUEST_TIMEOUT_SECONDS="3600") as served:
        async with httpx2.AsyncClient(timeout=60) as client:
            sent = {"Authorization": "Bearer " + ".".join(token)}
            query = asyncio.create_task(client.post(served.address, json={"query": "{ __typename }"}, headers=sent))
            await asked.wait()
            served.process.send_signal(signal.SIGTERM)
            response = await query
            assert response.json()["errors"][0]["extensions"]["code"] in {"RETRY", "UNAUTHENTICATED"}
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
        assert served.process.returncode == 0, logged
    provider.close()
    await asyncio.sleep(0.5)  # Until the provider has noticed that nobody listens.


def test_threads_that_do_not_end() -> None:
    """A call that hangs in a thread does not keep the process from exiting."""
    program = """if True:
        import asyncio, threading
        from server.serve import _DaemonThreads
        async def main():
            asyncio.get_running_loop().set_default_executor(_DaemonThreads())
            assert await asyncio.to_thread(str, 1) == "1"
            try:
                await asyncio.to_thread(int, "x")
            except ValueError:
                asyncio.create_task(asyncio.to_thread(threading.Event().wait))
                await asyncio.sleep(0.1)
        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
