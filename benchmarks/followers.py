"""Subscribers, each on a socket of its own, all in one process.

Light, so that they are not what is measured: of a message only its frame and the version that it contains are read. The
functions are called from another process, and the sockets live on between two calls, on an event loop of their own.
"""

import asyncio
import gc
import json
import os
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import uvloop

OPENING_AT_ONCE = 100  # of subscribers that need not all connect at once
OPEN_SECONDS_MAX = 60
TELL_SECONDS_MAX = 30
# A client of little patience with what it is sent: of what it does not read, the network holds next to nothing.
NARROW_BYTES = 4_096
NARROW_SEGMENT_BYTES = 1_400

_VERSION = b'"version":'
_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A

Result = TypeVar("Result")


class Subscriber(NamedTuple):
    """Who follows what; ``subject`` is the number that their results are recorded under."""

    subject: int
    token: str
    document: str
    variables: Mapping[str, str] | None = None
    narrow: bool = False


class Told(NamedTuple):
    """A version, and when it arrived on the clock that all processes share."""

    version: int
    time: float


class Followed(NamedTuple):
    """The results of one subscriber, in order."""

    subject: int
    told: list[Told]


_loop: asyncio.AbstractEventLoop
_groups: dict[str, list["_Follower"]] = {}


def start() -> None:
    """Begin, in the process that is to have the subscribers."""
    global _loop  # noqa: PLW0603 - it is what the process has all its life
    gc.disable()  # Its pauses would be taken for the server's.
    _loop = uvloop.new_event_loop()
    threading.Thread(target=_loop.run_forever, daemon=True).start()


def process_id() -> int:
    """Return the id of the process that has the subscribers."""
    return os.getpid()


def open_group(name: str, port: int, subscribers: Sequence[Subscriber], *, at_once: bool = False) -> float:
    """Have subscribers come; return how many seconds it took until each had the present state."""

    async def come() -> float:
        begin = time.monotonic()
        turns = asyncio.Semaphore(len(subscribers) if at_once else OPENING_AT_ONCE)

        async def one(subscriber: Subscriber) -> _Follower:
            async with turns:
                follower = _Follower(subscriber, port)
                await follower.open()
                return follower

        async with asyncio.timeout(OPEN_SECONDS_MAX):
            _groups[name] = await asyncio.gather(*map(one, subscribers))
        return time.monotonic() - begin

    return _on_loop(come())


def until(name: str, versions: Mapping[int, int]) -> float:
    """Return the seconds until a group had received these versions of their subjects, or later ones."""

    async def told() -> float:
        begin = time.monotonic()
        async with asyncio.timeout(TELL_SECONDS_MAX):
            for follower in _groups[name]:
                while follower.version < versions[follower.subscriber.subject]:  # noqa: ASYNC110 - all at one time
                    await asyncio.sleep(0.01)
        return time.monotonic() - begin

    return _on_loop(told())


def pause(name: str) -> None:
    """Have a group read nothing any more of what it is sent."""

    async def stop_reading() -> None:
        for follower in _groups[name]:
            follower.transport.pause_reading()

    _on_loop(stop_reading())


def resume(name: str) -> None:
    """Have a group read again."""

    async def read_again() -> None:
        for follower in _groups[name]:
            follower.transport.resume_reading()

    _on_loop(read_again())


def take(name: str) -> list[Followed]:
    """Return a group's results since the last call; ConnectionError if a socket was lost."""

    async def taken() -> list[Followed]:
        lost = [follower.lost for follower in _groups[name] if follower.lost]
        if lost:
            raise ConnectionError(f"{len(lost)} sockets of {len(_groups[name])} were lost, the first by: {lost[0]}")
        return [Followed(follower.subscriber.subject, follower.take()) for follower in _groups[name]]

    return _on_loop(taken())


def cut(name: str) -> None:
    """Break off the connections of a group, without a word to the server."""

    async def break_off() -> None:
        for follower in _groups.pop(name):
            follower.transport.abort()

    _on_loop(break_off())


def _on_loop(coroutine: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run_coroutine_threadsafe(coroutine, _loop).result()


class _Follower(asyncio.Protocol):
    """A client that speaks graphql-transport-ws, as far as it takes to follow one subscription."""

    transport: asyncio.Transport

    def __init__(self, subscriber: Subscriber, port: int) -> None:
        self.subscriber = subscriber
        self.lost = ""
        self.version = -1
        self._port = port
        self._told: list[Told] = []
        self._rest = b""
        self._upgraded = False
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect, subscribe, and return when the present state has come."""
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setblocking(False)
        if self.subscriber.narrow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_SEGMENT_BYTES)
        await loop.sock_connect(connection, ("127.0.0.1", self._port))
        await loop.create_connection(lambda: self, sock=connection)
        await self._ready

    def take(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        key = b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost ({exc})")

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        if not self._upgraded:
            at = data.find(b"\r\n\r\n") + 4
            if at == 3:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101 "):
                self._fail(data.decode(errors="replace"))
                return
            self._upgraded = True
            authorization = {"Authorization": f"Bearer {self.subscriber.token}"}
            self._send({"type": "connection_init", "payload": authorization})
        while end - at >= 2:
            size, begin = data[at + 1], at + 2
            if size >= 126:
                begin += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : begin])
            if begin + size > end:
                break
            self._frame(data[at], data[begin : begin + size], now)
            at = begin + size
        self._rest = data[at:]

    def _frame(self, kind: int, content: bytes, now: float) -> None:
        if kind == _TEXT:
            found = content.rfind(_VERSION)
            if found >= 0:
                begin = found + len(_VERSION)
                self.version = int(content[begin : begin + 20].partition(b"}")[0].partition(b",")[0])
                self._told.append(Told(self.version, now))
                if not self._ready.done():
                    self._ready.set_result(None)
            elif b'"connection_ack"' in content:
                payload = {"query": self.subscriber.document, "variables": self.subscriber.variables}
                self._send({"id": "1", "type": "subscribe", "payload": payload})
            else:
                self._fail(content.decode())
        elif kind == _PING:
            self._send_frame(_PONG, content)
        else:
            self._fail(f"frame {kind:x}: {content!r}")

    def _send(self, message: Mapping[str, Any]) -> None:
        self._send_frame(_TEXT, json.dumps(message).encode())

    def _send_frame(self, kind: int, content: bytes) -> None:
        size = len(content)
        head = bytes((kind, 0x80 | size)) if size < 126 else bytes((kind, 0xFE, *size.to_bytes(2)))
        self.transport.write(head + bytes(4) + content)  # Masked by zeros, which change nothing.

    def _fail(self, why: str) -> None:
        self.lost = self.lost or why
        if not self._ready.done():
            self._ready.set_exception(ConnectionError(why))
