"""`videocredits serve` and uvicorn with the factory are the same server: each promise is kept by both."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.api import SECRET
from tests.conftest import NewDatabase
from tests.server.test_cli import Served, environment, run, serving
from tests.sockets import PROTOCOL, Client

Command = Callable[..., AbstractContextManager[Served]]


def uvicorn_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--factory", "server.app:create_app", *options]


@contextmanager
def serving_by_uvicorn(data_dir: Path, *options: str, **settings: str) -> Iterator[Served]:
    """Run uvicorn with the factory on a free port, from its first answer; kill it if it has not been stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen(
        uvicorn_command("--port", str(port), *options),
        env=environment(data_dir, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while process.poll() is None:
                with suppress(httpx2.TransportError):
                    httpx2.get(f"http://127.0.0.1:{port}/livez")
                    break
                time.sleep(0.05)
            yield Served(process, data_dir, f"http://127.0.0.1:{port}/graphql", {})
        finally:
            process.terminate()  # Killing uvicorn's parent process leaves its workers running.
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def failed_start(*options: str, data_dir: Path, **settings: str) -> str:
    """Run uvicorn with the factory, which must fail without a traceback, and return its output."""
    done = subprocess.run(
        uvicorn_command(*options),
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode not in {0, -signal.SIGTERM}, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr + done.stdout


@pytest.fixture(params=["serve", "uvicorn"])
def command(request: pytest.FixtureRequest) -> Command:
    """Run the server with each of the two commands."""
    return {"serve": serving, "uvicorn": serving_by_uvicorn}[request.param]


async def test_both_commands_limit_connections_alike(command: Command, dsn: str, tmp_path: Path) -> None:
    """Both set the same limits on connections, send no Server header, and ignore X-Forwarded-For."""
    settings = {"RATE_LIMIT_PER_ADDRESS": "6/hour", "BODY_BYTES_MAX": "1000", "LOG_FORMAT": "json"}
    with command(tmp_path, JWT_SECRET=SECRET, DATABASE_URL=dsn, **settings) as served:
        address = served.address.replace("http", "ws", 1)
        for length, code in ((1_000, 4400), (70_000, 1009)):
            async with connect(f"{address}?token=hush", subprotocols=[PROTOCOL], proxy=None) as socket_:
                assert socket_.protocol.extensions == []
                await socket_.send("x" * length)
                assert (await Client(socket_).closed())[0] == code
        statuses = []
        async with httpx2.AsyncClient() as client:
            for number in range(5):
                forwarded = {"X-Forwarded-For": f"192.0.2.{number}"}
                response = await client.post(served.address, json={"query": "{ __typename }"}, headers=forwarded)
                assert "server" not in response.headers
                statuses.append(response.status_code)
        assert statuses[-1] == 429  # They all have one address.
        served.process.send_signal(signal.SIGTERM)
        printed, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
    assert served.process.returncode == 0
    assert "hush" not in printed + logged
    requests = [line for line in logged.splitlines() if '"/graphql"' in line]
    assert [json.loads(line)["status"] for line in requests] == statuses


async def test_each_worker_is_the_same_server(dsn: str, tmp_path: Path) -> None:
    """Each of several workers closes its sockets with the protocol's code, and the exit code is 0."""
    settings = {"JWT_SECRET": SECRET, "DATABASE_URL": dsn, "DATABASE_POOL_SIZE": "4"}
    with serving_by_uvicorn(tmp_path, "--workers", "2", **settings) as served:
        address = served.address.replace("http", "ws", 1)
        clients = [Client(await connect(address, subprotocols=[PROTOCOL], proxy=None)) for _ in range(12)]
        for client in clients:
            await client.sign_in()
        served.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert await client.closed() == (1012, "The server is being stopped: connect again.")
        _, logged = await asyncio.to_thread(served.process.communicate, timeout=60)
    assert served.process.returncode == 0, logged
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0, which other machines can reach"),
        (["--host", ""], "every address, which other machines can reach"),
        (["--uds", "socket"], "a Unix socket or a file descriptor"),
        (["--fd", "0"], "a Unix socket or a file descriptor"),
    ],
)
def test_development_keys_stay_on_this_machine(tmp_path: Path, options: list[str], named: str) -> None:
    """Without keys the factory refuses a non-loopback address, before it connects to a database."""
    options = [str(tmp_path / each) if each == "socket" else each for each in options]
    message = failed_start(*options, data_dir=tmp_path, DATABASE_URL="postgresql://127.0.0.1:1/db")
    assert named in message
    assert "there are only development keys: set VIDEOCREDITS_JWT_SECRET, " in message


def test_the_factory_accepts_development_keys_on_loopback(tmp_path: Path, cluster_dsn: str) -> None:
    """On a loopback address the factory accepts development keys."""
    with serving_by_uvicorn(tmp_path, DATABASE_URL=cluster_dsn) as served:
        assert httpx2.get(served.address.replace("graphql", "livez")).status_code == 200


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "Error: VIDEOCREDITS_DATABASE_URL is missing: set it, or run `videocredits serve`"),
        ({"DATABASE_URL": "postgresql://me:hush@127.0.0.1:1/db"}, "cannot be reached"),
        ({"DATABASE_URL": "postgresql://me:hush@[/db"}, "write it as postgresql://"),
        (
            {"DATABASE_URL": "postgresql://127.0.0.1:1/db", "HOST": "0.0.0.0", "JWT_SECRET": "short"},
            "JWT_SECRET is wrong",
        ),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/db", "DATA_DIR": "/dev/null"}, "Error: /dev/null"),
    ],
)
def test_the_factory_explains_a_failed_start(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    """Each obstacle is a sentence without a traceback or a password."""
    settings = {"DATA_DIR": str(tmp_path)} | settings
    said = failed_start("--port", "0", data_dir=Path(settings.pop("DATA_DIR")), **settings)
    assert text in said
    assert "hush" not in said


async def test_both_commands_report_a_missing_database(new_database: NewDatabase, tmp_path: Path) -> None:
    """Both commands report a missing database in the same words."""
    missing = (await new_database()).replace("/test_", "/no_")
    settings = {"DATABASE_URL": missing, "JWT_SECRET": SECRET}
    served = await asyncio.to_thread(run, tmp_path, "serve", **settings)
    message = await asyncio.to_thread(failed_start, "--port", "0", data_dir=tmp_path, **settings)
    sentence = re.search(r"PostgreSQL refused .+\.", served.stderr)
    assert sentence
    assert sentence[0] in json.loads(message.splitlines()[-2])["event"]
