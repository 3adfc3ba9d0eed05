"""A way to PostgreSQL that a test can shut."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit


class Gate:
    """Leads to PostgreSQL; when shut, whoever is on the way is cut off, and whoever comes is turned away."""

    def __init__(self, dsn: str, directory: Path) -> None:
        address = urlsplit(dsn)
        (behind,) = parse_qs(address.query)["host"]
        self._behind = f"{behind}/.s.PGSQL.5432"
        self._socket = directory / ".s.PGSQL.5432"
        self.dsn = address._replace(query=urlencode({"host": str(directory)})).geturl()
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._pass, self._socket)

    def shut(self) -> None:
        """Cut off whoever is on the way, and turn away whoever comes."""
        if self._server is not None:
            self._server.close()
        self._socket.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        """Cut off whoever is on the way; whoever comes next is let through."""
        for writer in self._passing:
            writer.transport.abort()

    def freeze(self) -> None:
        """Lose whatever those on the way send from now on, and tell nobody; whoever comes next is let through."""
        self._frozen |= self._passing

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_unix_connection(self._behind)
        writers = {writer, behind_writer}
        self._passing |= writers
        await asyncio.gather(self._carry(reader, behind_writer), self._carry(behind_reader, writer))
        self._passing -= writers

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if writer not in self._frozen:
                    writer.write(data)
                    await writer.drain()
        writer.close()
