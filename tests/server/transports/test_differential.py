"""The fast path and ASGI answer the same conversations alike: thousands of random ones, over real sockets."""

import asyncio
import gzip
import json
import select
import socket
import termios
from asyncio import Task
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from fcntl import ioctl
from itertools import zip_longest
from pathlib import Path
from random import SystemRandom
from typing import Any, NamedTuple

import asyncpg
import brotli  # type: ignore[import-untyped]  # It has no types.
import pytest
import uvloop
import zstandard
from starlette.types import Message, Receive, Scope, Send
from throttled import per_hour

from server.gates.admission import Slot, State
from server.process.settings import Settings
from server.transports.fast_path import FastPath
from tests.conftest import NewDatabase
from tests.conversations import BODY_BYTES_MAX, DOCUMENTS, ORIGIN, Conversation, Writer, comparable
from tests.race import BLOCKED
from tests.sockets import Site, site

DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.decompress,
    b"br": brotli.decompress,
    b"zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
}


class Response(NamedTuple):
    """A response without the parts that always differ."""

    status: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool


class Outcome(NamedTuple):
    """How a conversation ended."""

    responses: list[Response]
    closed: bool  # by the server, before the client was done


def read_responses(data: bytes) -> list[Response]:
    """Read all responses of a connection."""
    responses = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        status, *lines = head.split(b"\r\n")
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        given = dict(headers)
        body, complete = b"", True
        if data.startswith(b"HTTP/1.1 "):  # There is no body: the request was a HEAD, or the status has none.
            pass
        elif given.get(b"transfer-encoding") == b"chunked":
            body, complete, data = _read_chunks(data)
        else:
            length = int(given.get(b"content-length", 0))
            body, complete, data = data[:length], len(data) >= length, data[length:]
        if b"content-encoding" in given:
            body = DECODERS[given[b"content-encoding"]](body)
        volatile = {b"date", b"retry-after", b"content-length"} if body else {b"date"}  # Ids compress differently.
        shown = [(name, b"" if name in volatile else comparable(value)) for name, value in headers]
        responses.append(Response(status, shown, comparable(body), complete))
    return responses


def _read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    content: list[bytes] = []
    while data:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            return b"".join(content), True, data.removeprefix(b"\r\n")
        content.append(data[: int(size, 16)])
        data = data[int(size, 16) + 2 :]
    return b"".join(content), False, b""


class Side:
    """One of the two servers, which has one conversation at a time."""

    def __init__(self, site: Site, dsn: str) -> None:
        self.dsn = dsn
        self.expires_with: asyncpg.Connection[Any] | None = None  # Reports whether anything waits for a lock.
        self._site = site
        host, port = site.address.split(":")
        self._address = host, int(port)
        self._state = site.server.server_state
        self._receiving = 0  # requests whose client is to send more
        self._app = site.app.middleware_stack
        site.app.middleware_stack = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted_receive() -> Message:
            self._receiving += 1
            try:
                return await receive()
            finally:
                self._receiving -= 1

        assert self._app is not None
        await self._app(scope, noted_receive, send)

    async def converse(self, conversation: Conversation) -> Outcome:
        """Hold a conversation, and return once all of its requests are finished."""
        received: list[bytes] = []
        loop = asyncio.get_running_loop()
        with socket.create_connection(self._address) as client:
            client.setblocking(False)
            reading = loop.create_task(_read(client, received))
            transport = await self._accepted(client)
            for piece, waits in conversation.pieces():
                with suppress(ConnectionError):
                    await loop.sock_sendall(client, piece)
                if waits:
                    await self._settle(client, transport, reading)
            if not conversation.ends:
                await self._settle(client, transport, reading)
            closed = not conversation.ends and (transport.is_closing() or _is_shut(client))
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            await reading
        while self._state.tasks or self._state.connections:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0)
        return Outcome(read_responses(b"".join(received).replace(self._site.address.encode(), b"<address>")), closed)

    def take_slot(self) -> None:
        """Take the next free slot and keep it."""
        slot = Slot(self._site.app.state.pipeline._admission, None)  # noqa: SLF001 - as a request that hangs
        assert slot.state is State.RUNNING

    async def _accepted(self, client: socket.socket) -> Any:
        """Return the transport of the server's end."""
        while True:
            for connection in self._state.connections:
                transport: Any = connection.transport
                if transport.get_extra_info("peername") == client.getsockname():
                    return transport
            await asyncio.sleep(0)

    async def _settle(self, client: socket.socket, transport: Any, reading: "Task[None]") -> None:
        """Wait until the server has read everything and answered all that it can."""
        tries = quiet = 0
        while quiet < 6 and not reading.done() and not transport.is_closing():
            tries += 1
            await asyncio.sleep(0 if quiet or tries < 10 else 0.0003)
            is_under_way = self._site.app.state.backlog.waiting or _is_under_way(client, transport)
            is_quiet = len(self._state.tasks) <= self._receiving and not is_under_way
            quiet = quiet + 1 if is_quiet else 0
            if self.expires_with is not None and (
                (quiet == 6 and self._receiving) or (tries % 20 == 0 and await self.expires_with.fetchval(BLOCKED))
            ):
                self._site.app.state.pipeline.expire()
                quiet = 0


async def _read(client: socket.socket, received: list[bytes]) -> None:
    with suppress(ConnectionError):
        while data := await asyncio.get_running_loop().sock_recv(client, 1_000_000):
            received.append(data)


def _is_shut(client: socket.socket) -> bool:
    """Return whether the server will send nothing more."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


def _is_under_way(client: socket.socket, transport: Any) -> bool:
    """Return whether the server has unread input."""
    if transport.is_closing():
        return False
    unread = ioctl(transport.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0" * 4)
    unsent = ioctl(client.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return any(unread) or any(unsent)


class Sides:
    """The same server twice, of which one has no fast path."""

    def __init__(self, fast: Side, asgi: Side) -> None:
        self.both = (fast, asgi)
        self.responses = 0

    async def compare(self, seeds: range, *, may_leave: bool) -> None:
        """Hold one conversation per seed with both servers; fail with the first that differs, shortened."""
        for seed in seeds:
            conversation = Writer(seed, may_leave=may_leave).conversation()
            difference = await self._difference(conversation)
            if difference is not None:
                shortest, difference = await self._shorten(conversation, difference)
                pytest.fail(f"Seed {seed}: {difference}\nwhere a client sends\n{shortest}", pytrace=False)

    async def _difference(self, conversation: Conversation) -> str | None:
        """Hold a conversation with both servers, and return how their responses differ."""
        try:
            async with asyncio.timeout(60):
                fast, asgi = await asyncio.gather(*(side.converse(conversation) for side in self.both))
        except TimeoutError:
            return "there is no end"
        self.responses += len(fast.responses)
        return _difference(fast, asgi, ends=conversation.ends)

    async def _shorten(self, conversation: Conversation, difference: str) -> tuple[Conversation, str]:
        """Remove what the difference does not need."""
        candidates = [conversation.one_by_one()]
        while candidates and difference != "there is no end":
            candidate = candidates.pop(0)
            again = await self._difference(candidate)
            if again is not None:
                conversation, difference = candidate, again
                messages = conversation.messages
                fewer = [messages[:index] + messages[index + 1 :] for index in range(len(messages))]
                candidates = [Conversation(left, ()).one_by_one() for left in fewer if left]
        return conversation, difference


def _difference(fast: Outcome, asgi: Outcome, *, ends: bool) -> str | None:
    for number, (one, other) in enumerate(zip_longest(fast.responses, asgi.responses), 1):
        if one is None or other is None:
            if ends:  # The client left before it was answered: it is not known what had been done by then.
                return None
            return f"response {number} is\n  {one}\non the fast path, and\n  {other}\nby ASGI"
        if b" 500 " in one.status:
            return f"response {number} is a fault: {one}"
        size = None if one.complete and other.complete else min(len(one.body), len(other.body))  # of a stream so far
        shown = [(each.status, each.headers, each.body[:size], each.complete) for each in (one, other)]
        for name, value, instead in zip(Response._fields, *shown, strict=True):
            if value != instead:
                return f"{name} of response {number} is\n  {value!r}\non the fast path, and\n  {instead!r}\nby ASGI"
    if fast.closed != asgi.closed:
        return f"the connection is closed: {fast.closed} on the fast path, {asgi.closed} by ASGI"
    return None


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Enable everything that changes a response."""
    documents = tmp_path / "documents.json"
    documents.write_text(json.dumps(DOCUMENTS), encoding="utf-8")
    return replace(
        settings,
        body_bytes_max=BODY_BYTES_MAX,
        database_pool_size=4,
        documents_file=documents,
        cors_origins=(ORIGIN,),
        trusted_proxies=("127.0.0.1",),
        draft_status_codes="on",
        log_level="critical",
        notify="off",
    )


@pytest.fixture
async def dsns(template: str, new_database: NewDatabase) -> list[str]:
    """Clone a database for each server."""
    return [await new_database(f"TEMPLATE {template} STRATEGY file_copy") for _ in range(2)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record each request that the fast path takes."""
    noted: list[object] = []
    begin = FastPath.begin

    def note(fast_path: FastPath, *given: Any) -> Any:
        begun = begin(fast_path, *given)
        if begun is not None:
            noted.append(begun)
        return begun

    monkeypatch.setattr(FastPath, "begin", note)
    return noted


@asynccontextmanager
async def serving_both(settings: Settings, dsns: list[str]) -> AsyncIterator[Sides]:
    """Serve both as `serve` does."""
    async with AsyncExitStack() as stack:
        fast, asgi = [await stack.enter_async_context(site(settings, dsn)) for dsn in dsns]
        asgi.app.state.fast_path = None
        yield Sides(*(Side(reached, dsn) for reached, dsn in zip((fast, asgi), dsns, strict=True)))


@asynccontextmanager
async def locked(dsn: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """Lock a table that most operations need, and yield the connection that does."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE wallets")
            yield connection
    finally:
        await connection.close()


def run(compare: Coroutine[Any, Any, int]) -> int:
    """Run as `serve` does, by uvloop; return how many responses there were."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(compare)


def seeds(start: int, count: int, many: int) -> pytest.MarkDecorator:
    """Have a test compare as many conversations, the same each time; and as a soak many, new ones each time."""
    new = SystemRandom().randrange(2**32, 2**48)
    soak = pytest.param(range(new, new + many), id="many", marks=pytest.mark.soak)
    return pytest.mark.parametrize("seeds", [pytest.param(range(start, start + count), id="some"), soak])


@seeds(0, 2_000, 50_000)
@pytest.mark.usefixtures("without_polling")
def test_random_conversations(dsns: list[str], settings: Settings, taken: list[object], seeds: range) -> None:
    """Both send the same statuses, headers and bodies in the same order, and close the connection alike."""

    async def compare() -> int:
        async with serving_both(settings, dsns) as sides:
            await sides.compare(seeds, may_leave=True)
            return sides.responses

    responses = run(compare())
    assert len(taken) > responses / 3


@seeds(10_000, 300, 5_000)
@pytest.mark.usefixtures("without_polling")
def test_with_rate_limits(dsns: list[str], settings: Settings, taken: list[object], seeds: range) -> None:
    """Both count the same requests for the same addresses and users, and run later checks in the same order."""
    limited = replace(settings, rate_limit_per_identity=per_hour(3), rate_limit_per_address=per_hour(4))

    async def compare() -> int:
        async with serving_both(limited, dsns) as sides:
            await sides.compare(seeds, may_leave=False)
            return sides.responses

    responses = run(compare())
    assert len(taken) > responses / 3


@seeds(20_000, 200, 5_000)
@pytest.mark.usefixtures("without_polling")
def test_with_every_slot_taken(dsns: list[str], settings: Settings, taken: list[object], seeds: range) -> None:
    """Both reject the same requests, after the same checks, while no slot is free."""
    full = replace(settings, requests_at_once_max=1, requests_waiting_max=0)

    async def compare() -> int:
        async with serving_both(full, dsns) as sides:
            for side in sides.both:
                side.take_slot()
            await sides.compare(seeds, may_leave=False)
            return sides.responses

    responses = run(compare())
    assert len(taken) > responses / 3


@seeds(30_000, 100, 3_000)
@pytest.mark.usefixtures("without_polling")
def test_with_deadlines_that_pass(dsns: list[str], settings: Settings, taken: list[object], seeds: range) -> None:
    """Both answer alike at the deadline: a body that does not arrive, a statement that does not end."""

    async def compare() -> int:
        async with AsyncExitStack() as stack:
            sides = await stack.enter_async_context(serving_both(settings, dsns))
            for side in sides.both:
                side.expires_with = await stack.enter_async_context(locked(side.dsn))
            await sides.compare(seeds, may_leave=False)
            return sides.responses

    responses = run(compare())
    assert len(taken) > responses / 3
