"""A proxy to a server that a test can cut, redirect, and listen in on."""

import asyncio
import re
from contextlib import suppress
from typing import Self


class Wire:
    """Connects to a server, and records the bodies of requests."""

    def __init__(self, behind: str) -> None:
        """Connect to this host and port."""
        self.behind = behind
        self.bodies: list[bytes] = []
        self.lost = b""  # Lose the next response to a request that contains this, once.
        self.answers: list[bytes] = []  # The next responses, sent by the proxy itself.
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/graphql"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        while self._passing:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)

    def cut(self) -> None:
        """Cut all connections; new ones pass."""
        for writer in self._passing:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._passing.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)^content-length: (\d+)\r$", head, re.MULTILINE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.bodies.append(body)
                if self.answers:
                    writer.write(self.answers.pop(0))
                else:
                    await self._ask(head + body, writer)
        writer.close()
        self._passing.discard(writer)

    async def _ask(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        """Forward one request over its own connection, return its response, and close."""
        lost = self.lost and self.lost in request
        host, port = self.behind.split(":")
        behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        self._passing.add(behind_writer)
        try:
            behind_writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            while data := await behind_reader.read(65_536):
                if lost:
                    self.lost = b""
                    break
                writer.write(data)
        finally:
            behind_writer.close()
            self._passing.discard(behind_writer)
        raise ConnectionResetError


def answer(status: int, body: str, *headers: str) -> bytes:
    """Write an HTTP response."""
    lines = [f"HTTP/1.1 {status} It is so", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()
