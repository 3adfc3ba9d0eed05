"""The server's HTTP is uvicorn's to the byte, whatever an application answers, and whatever a client asks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import PurePath
from typing import Any

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from server.http_protocol import Protocol

Headers = list[tuple[bytes, bytes]]
USUAL: Headers = [(b"x-request-id", b"0123456789abcdef"), (b"content-length", b"5"), (b"content-type", b"text/plain")]
END = b"GET /usual HTTP/1.1\r\nConnection: close\r\n\r\n"


def start(headers: Headers, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(content: bytes = b"whole", **more: Any) -> Message:
    return {"type": "http.response.body", "body": content, **more}


# What an application sends, after which it is done; an exception is raised.
ANSWERS: dict[str, list[Message | Exception]] = {
    "usual": [start(USUAL), body()],
    "not-found": [start(USUAL, 404), body()],
    "no-such-status": [start(USUAL, 299), body()],
    "no-length": [start([USUAL[0], USUAL[2]]), body()],
    "no-content": [start([], 204), body(b"")],
    "not-modified": [start([], 304), body(b"")],
    "empty": [start([(b"content-length", b"0")]), {"type": "http.response.body"}],
    "parts": [start(USUAL), body(b"wh", more_body=True), body(b"ole")],
    "whole-and-then-nothing": [start(USUAL), body(more_body=True), body(b"")],
    "parts-without-length": [start([]), body(b"wh", more_body=True), body(b"ole")],
    "chunked": [start([*USUAL, (b"transfer-encoding", b"chunked")]), body()],
    "upper": [start([(b"Content-Length", b"5"), (b"X-UPPER", b"a"), (b"X-Request-Id", b"A")]), body()],
    "twice": [start([*USUAL, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), USUAL[0]]), body()],
    "two-lengths": [start([*USUAL, (b"content-length", b"5")]), body()],
    "odd-length": [start([USUAL[0], (b"content-length", b"05")]), body()],
    "too-long": [start(USUAL), body(b"too long")],
    "too-short": [start(USUAL), body(b"few")],
    "no-length-at-all": [start([(b"content-length", b"x")]), body()],
    "closing": [start([*USUAL, (b"connection", b"close")]), body()],
    "bad-name": [start([*USUAL, (b"x:y", b"a")]), body()],
    "bad-value": [start([*USUAL, (b"x-y", b"a\r\nb: c")]), body()],
    "bad-id": [start([(b"x-request-id", b"a\r\nb: c"), USUAL[1]]), body()],
    "another-order": [start(USUAL[::-1]), body()],
    "not-at-all": [],
    "no-body": [start(USUAL)],
    "no-start": [body()],
    "two-starts": [start(USUAL), start(USUAL), body()],
    "two-bodies": [start(USUAL), body(), body()],
    "more-than-whole": [start(USUAL), body(), start(USUAL)],
    "fails": [RuntimeError()],
    "fails-within": [start(USUAL), RuntimeError()],
    "fails-later": [start(USUAL), body(b"wh", more_body=True), RuntimeError()],
    "fails-at-last": [start(USUAL), body(), RuntimeError()],
}
REQUESTS = {
    "once": b"GET /%b HTTP/1.1\r\n\r\n" + END,
    "for its head": b"HEAD /%b HTTP/1.1\r\n\r\n" + END,
    "one after the other": b"GET /%b HTTP/1.1\r\n\r\nGET /%b HTTP/1.1\r\n\r\n" + END,
    "for the last time": b"GET /%b HTTP/1.1\r\nConnection: close\r\n\r\n",
    "as in 1996": b"GET /%b HTTP/1.0\r\n\r\n",
    "with a body": b"POST /%b HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody" + END,
    "with a body that is to be asked for": b"POST /%b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
    + END,
    "with a body that is not read": b"POST /unread-%b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
    + END,
    "and then nonsense": b"GET /%b HTTP/1.1\r\n\r\n?\r\n\r\n",
}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    name = PurePath(scope["path"]).name
    if not name.startswith("unread-"):
        while (await receive()).get("more_body"):
            pass
    for step in ANSWERS[name.removeprefix("unread-")]:
        if isinstance(step, Exception):
            raise step
        await send(step)


@asynccontextmanager
async def listening(
    protocol: type[HttpToolsProtocol], app: Any, state: ServerState | None = None, *, access_log: bool = False
) -> AsyncIterator[int]:
    """Serve an application by a protocol, and answer the port; no request is under way any more at the end."""
    config = uvicorn.Config(app, http=protocol, log_config=None, access_log=access_log)
    config.load()
    state = state or ServerState()
    state.default_headers = [(b"date", b"now"), (b"Server", b"test")]
    server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]
    for connection in list(state.connections):
        connection.shutdown()
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=5)


async def said(port: int, request: bytes) -> bytes:
    """Send a request, and return all that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    told = bytearray()
    with closing(writer):
        writer.write(request)
        try:
            async with asyncio.timeout(10):
                while part := await reader.read(65536):
                    told += part
        except ConnectionResetError:  # It was broken off before all that was sent had been read.
            pass
    return bytes(told)


def asked(name: str) -> Iterator[tuple[str, bytes]]:
    for how, request in REQUESTS.items():
        yield how, request.replace(b"%b", name.encode())


@pytest.mark.parametrize("name", ANSWERS)
async def test_it_says_what_uvicorn_says(name: str) -> None:
    """Every answer, however it is asked for, and what becomes of the connection, is uvicorn's."""
    async with listening(HttpToolsProtocol, answer) as theirs, listening(Protocol, answer) as ours:
        for how, request in asked(name):
            expected, told = await asyncio.gather(said(theirs, request), said(ours, request))
            if name in {"fails-within", "no-body", "bad-name", "bad-value", "bad-id", "two-starts", "no-length-at-all"}:
                # Uvicorn has sent the head by then; what matters is that nothing comes after it.
                assert expected.startswith(told), how
            else:
                assert told == expected, how


async def test_whoever_does_not_read_is_waited_for() -> None:
    """Of the requests that a client sends at once, those are not begun whose answers it would not take yet."""
    content = b"x" * 2**20
    begun = 0

    async def answer_much(_: Scope, __: Receive, send: Send) -> None:
        nonlocal begun
        begun += 1
        await send(start([(b"content-length", b"%d" % len(content))]))
        await send(body(content))

    counts = []
    for protocol in (HttpToolsProtocol, Protocol):
        begun = 0
        async with listening(protocol, answer_much) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            with closing(writer):
                writer.write(b"GET / HTTP/1.1\r\n\r\n" * 49 + END)
                last = -1
                while begun != last:
                    last = begun
                    await asyncio.sleep(0.1)
                counts.append(begun)
                length = 0
                while part := await reader.read(2**20):
                    length += len(part)
                assert length > 50 * len(content)
                assert begun == 50
    assert max(counts) < 50


async def test_whoever_leaves_is_known_to_have_left() -> None:
    """An application that waits for its client learns that it has left, and may answer all the same."""
    left = asyncio.Event()

    async def wait(_: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(start(USUAL))
        await send(body())
        left.set()

    state = ServerState()
    async with listening(Protocol, wait, state) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.close()
        async with asyncio.timeout(5):
            await left.wait()
    assert state.total_requests == 0  # It has been answered nothing.


async def test_whoever_listens_is_told_that_it_is_over() -> None:
    """An application that waits for its client while it answers learns that the answer is over."""
    told: list[Message] = []

    async def listen(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        listener = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send(start(USUAL))
        await send(body())
        told.append(await listener)

    async with listening(Protocol, listen) as port:
        await said(port, b"GET / HTTP/1.1\r\n\r\n" + END)
    assert told == [{"type": "http.disconnect"}] * 2


async def test_the_access_log_is_uvicorns(caplog: pytest.LogCaptureFixture) -> None:
    """Where uvicorn's log of accesses is on, it has a line of each."""
    caplog.set_level("INFO", logger="uvicorn.access")

    async with listening(Protocol, answer, access_log=True) as port:
        await said(port, END.replace(b"Connection: close\r\n", b"") + END)
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert [line.partition(" - ")[2] for line in lines] == ['"GET /usual HTTP/1.1" 200'] * 2
