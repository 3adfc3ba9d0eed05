"""WebSockets for tests: in Python, message by message, to a server in the same process."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from resolvers.identity import Role
from server.app import create_app
from server.cli import listen
from server.process.settings import Settings
from tests.api import Api, headers
from tests.log import Log

PROTOCOL = Subprotocol("graphql-transport-ws")


class Client:
    """One connection, and whatever is sent over it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def sign_in(self, subject: str | None = "ann", role: Role = Role.USER, token: str | None = None) -> None:
        """Send `connection_init` with a user's token, and wait for the acknowledgement."""
        authorization = headers(subject, role).get("Authorization") if token is None else f"Bearer {token}"
        await self.send(type="connection_init", payload={"Authorization": authorization})
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, name: str, query: str, /, **variables: Any) -> None:
        await self.send(type="subscribe", id=name, payload={"query": query, "variables": variables})

    async def run(self, query: str, /, **variables: Any) -> Any:
        """Run a query or mutation to its end, and return the data."""
        await self.subscribe("run", query, **variables)
        message = await self.receive()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        assert await self.receive() == {"type": "complete", "id": "run"}
        return message["payload"]["data"]

    async def refused(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """Run an operation that must be refused, and return its error."""
        await self.subscribe("refused", query, **variables)
        message = await self.receive()
        assert (message["type"], message["id"]) == ("error", "refused"), message
        (error,) = message["payload"]
        return dict(error)

    async def closed(self) -> tuple[int, str]:
        """Wait until the server closes without another message, and return the code and the reason."""
        try:
            async with asyncio.timeout(30):
                message = await self.connection.recv()
        except ConnectionClosed:
            assert self.connection.close_code is not None
            return self.connection.close_code, self.connection.close_reason or ""
        raise AssertionError(message)


class Site:
    """A server in this process."""

    def __init__(self, app: Starlette, server: uvicorn.Server, address: str, api: Api) -> None:
        self.app = app
        self.server = server
        self.address = address
        self.api = api

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[Client]:
        """Open a socket for the duration of the block."""
        given = {"subprotocols": [PROTOCOL], "proxy": None, "max_size": None, "ping_interval": None} | options
        async with connect(f"ws://{self.address}/graphql", **given) as connection:
            yield Client(connection)

    @asynccontextmanager
    async def signed_in(
        self, subject: str | None = "ann", role: Role = Role.USER, **options: Any
    ) -> AsyncIterator[Client]:
        """Open a socket as a user, or anonymously."""
        async with self.connected(**options) as client:
            await client.sign_in(subject, role)
            yield client

    async def left(self) -> None:
        """Wait until no socket is open, and check that everything of them is released: slots, tasks and watches."""
        async with asyncio.timeout(30):
            while self.server.server_state.tasks or self.app.state.live.subjects():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.002)
        assert len(self.app.state.streams) == 0
        assert [task for task in asyncio.all_tasks() if "server/transports/websocket.py" in repr(task)] == []


@asynccontextmanager
async def site(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve over a socket, in this process."""
    app = create_app(settings, dsn=dsn)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with listen("127.0.0.1", 0)[0] as listener:
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.002)
        host, port = listener.getsockname()
        try:
            async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield Site(app, server, f"{host}:{port}", Api(client))
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def logged_site(settings: Settings, dsn: str) -> AsyncIterator[tuple[Site, Log]]:
    """Serve likewise, and capture the log."""
    log = Log()
    async with AsyncExitStack() as stack:
        with redirect_stderr(log.stream):  # An app logs to the standard error at its creation.
            wanted = replace(settings, log_format="json", log_level="info")
            opened = await stack.enter_async_context(site(wanted, dsn))
        log.read()
        yield opened, log
