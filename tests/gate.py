"""A proxy to PostgreSQL that a test can shut, silence, or redirect."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

READY = b"Z\0\0\0\5I"  # The end of a reply from PostgreSQL outside of a transaction: everything is committed.


class Gate:
    """Connects to PostgreSQL. When shut, it cuts connections and refuses new ones."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self._socket = directory / ".s.PGSQL.5432"
        self.dsn = urlsplit(dsn)._replace(query=urlencode({"host": str(directory)})).geturl()
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._sign = b""
        self._meanwhile: Callable[[], Awaitable[object]] | None = None
        self.lost: list[bytes] = []  # replies
        self._is_silent = False
        self.arrivals = asyncio.Semaphore(0)  # released for each new connection
        self.lead_to(dsn)

    def lead_to(self, dsn: str) -> None:
        """Connect new clients to another cluster; open connections stay."""
        (behind,) = parse_qs(urlsplit(dsn).query)["host"]
        self._behind = f"{behind}/.s.PGSQL.5432"

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._pass, self._socket)

    def shut(self) -> None:
        """Cut all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        self._socket.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """Cut all connections; new ones pass."""
        for writer in self._passing:
            writer.transport.abort()

    def freeze(self) -> None:
        """Drop everything sent from now on over open connections, without an error; new ones pass."""
        self._frozen |= self._passing

    def lose_reply(self, sign: bytes, meanwhile: Callable[[], Awaitable[object]]) -> None:
        """Cut one connection once: after PostgreSQL has committed, when its reply contains ``sign``.

        The reply is lost, and ``meanwhile`` is awaited before the client notices.
        """
        self._sign, self._meanwhile = sign, meanwhile

    def silence(self) -> None:
        """Drop everything sent over any connection, new ones included, without an error."""
        self._is_silent = True
        self.freeze()

    def heal(self) -> None:
        """Let new connections pass; silenced ones stay silent."""
        self._is_silent = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
        writers = {writer, behind_writer}
        self._passing |= writers
        self._clients.add(writer)
        if self._is_silent:
            self._frozen |= writers
        self.arrivals.release()
        await asyncio.gather(self._carry(reader, behind_writer), self._carry(behind_reader, writer))
        self._passing -= writers
        self._clients.remove(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if writer in self._clients and await self._loses(data, reader):
                    break
                if writer not in self._frozen:
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async def _loses(self, data: bytes, reader: asyncio.StreamReader) -> bool:
        """Read a reply to its end, and return whether it is the one to lose."""
        if self._meanwhile is None or self._sign not in data:
            return False
        meanwhile, self._meanwhile = self._meanwhile, None
        while not data.endswith(READY):
            data += await reader.read(65_536)
        self.lost.append(data)
        await meanwhile()
        return True
