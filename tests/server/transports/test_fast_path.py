"""Which requests take the fast path over a real connection, and how each kind of request is answered."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from graphql import ExecutionResult

import server.serve
import server.transports.fast_path
from db.database import Database
from server.operations.run import Runner
from server.process.settings import Settings
from server.transports.fast_path import FastPath
from server.transports.http_protocol import Protocol
from server.transports.remembered_head import REMEMBERED_HEAD_BYTES_MAX
from tests.api import headers
from tests.race import blocked
from tests.sockets import Site, logged_site, site

QUERY = b'{"query": "{ viewer { id } }"}'
ANSWER = {"data": {"viewer": None}}


@pytest.fixture
async def reached(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve as `videocredits serve` does."""
    async with site(settings, dsn) as opened:
        yield opened


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record for each request whether the fast path took it."""
    noted: list[bool] = []
    read_head, begin = FastPath.head, FastPath.begin

    def note_head(fast_path: FastPath, *given: Any) -> Any:
        head = read_head(fast_path, *given)
        if head is None:
            noted.append(False)
        return head

    def note(fast_path: FastPath, *given: Any) -> Any:
        begun = begin(fast_path, *given)
        noted.append(begun is not None)
        return begun

    monkeypatch.setattr(FastPath, "head", note_head)
    monkeypatch.setattr(FastPath, "begin", note)
    return noted


def request(body: bytes = QUERY, line: str = "POST /graphql HTTP/1.1", **more: str) -> bytes:
    """Write a request as ann's, with more headers, whose names are written with underscores."""
    given = {"host": "x", "content-type": "application/json", "content-length": str(len(body))}
    signed = {"authorization": _authorization()}
    lines = (f"{name.replace('_', '-')}: {value}" for name, value in (given | signed | more).items() if value)
    return "\r\n".join((line, *lines)).encode() + b"\r\n\r\n" + body


@cache
def _authorization() -> str:
    return headers("ann")["Authorization"]


async def read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response: its status, headers and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    return int(head[0].split()[1]), fields, await reader.readexactly(int(fields.get("content-length", 0)))


USUAL = {
    "as it is": request(),
    "as nobody": request(b'{"query": "{ __typename }"}', authorization=""),
    "with another kind of JSON": request(accept="application/graphql-response+json"),
    "compressed": request(b'{"query": "{ __schema { types { name description } } }"}', accept_encoding="gzip"),
    "no operation": request(b"[]"),
    "with a token that proves nothing": request(authorization="Bearer x"),
    "to be kept open": request(connection="keep-alive"),
}
UNUSUAL = {
    "by GET": request(b"", "GET /graphql?query={viewer{id}} HTTP/1.1"),
    "in its own HTTP": request(line="POST /graphql HTTP/1.0"),
    "for the last time": request(connection="close"),
    "with a query in its URL": request(line="POST /graphql? HTTP/1.1"),
    "to be asked for its body": request(expect="100-continue"),
    "for a page": request(b"", "GET /livez HTTP/1.1"),
}
NOT_TAKEN = {
    "as a stream": request(accept="text/event-stream"),
    "as what there is not": request(accept="text/plain"),
    "as text": request(content_type="text/plain"),
    "zipped": request(content_encoding="gzip"),
    "on several lines": request().replace(b"host: x", b"host: x\r\naccept: */*\r\naccept: */*"),
}


@pytest.mark.parametrize("how", [*USUAL, *UNUSUAL, *NOT_TAKEN])
async def test_requests_that_take_the_fast_path(reached: Site, went: list[bool], how: str) -> None:
    """Common requests take the fast path, all requests are answered, and the connection stays usable."""
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        for number in range(2):
            writer.write({**USUAL, **UNUSUAL, **NOT_TAKEN}[how])
            async with asyncio.timeout(10):
                if how == "to be asked for its body":
                    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                if how == "as a stream":  # which has no length
                    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
                    break
                status, fields, body = await read(reader)
            assert status in {200, 400, 401, 406, 415}
            assert body
            assert how != "compressed" or fields["content-encoding"] == "gzip"
            if how in {"in its own HTTP", "for the last time"}:
                assert (fields["connection"], await reader.read()) == ("close", b"")
                break
            assert went == ([how in USUAL] * (number + 1) if how not in UNUSUAL else [])


@pytest.mark.parametrize("size", [1, 7, 60, 10_000])
async def test_split_requests(reached: Site, went: list[bool], size: int) -> None:
    """A request is answered wherever it is split into two packets."""
    whole = request(json.dumps({"query": "{ viewer { id } }", "variables": {"a": "a" * 9_000}}).encode())
    head, body = whole.split(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        for cut in (size, len(head), len(head) + 4, len(head) + 4 + min(size, len(body) - 1)):
            writer.write(whole[:cut])
            await asyncio.sleep(0.01)
            writer.write(whole[cut:])
            async with asyncio.timeout(10):
                status, _, answer = await read(reader)
            assert (status, json.loads(answer)) == (200, ANSWER)
    assert went.count(True) < 4  # Some took the ASGI path: their body was not whole when their head was.


async def test_pipelined_requests_are_answered_in_order(reached: Site) -> None:
    """Pipelined requests are answered in order, on the fast path and on the ASGI path."""
    names = "abcdefgh"
    requests = [request(f'{{"query": "{{ {name}: __typename }}"}}'.encode()) for name in names]
    requests[2:2] = [UNUSUAL["for a page"]]
    requests[5:5] = [NOT_TAKEN["as text"]]
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        writer.write(b"".join(requests))
        async with asyncio.timeout(10):
            responses = [await read(reader) for _ in requests]
    assert [status for status, _, _ in responses] == [200] * 5 + [415] + [200] * 4
    answers = [json.loads(body) for status, _, body in responses if status == 200]
    assert answers == [*({"data": {name: "Query"}} for name in "ab"), {"status": "ok"}] + [
        {"data": {name: "Query"}} for name in "cdefgh"
    ]


async def test_a_client_that_disconnects_before_its_response(reached: Site, database: Database) -> None:
    """A request whose client disconnects is still executed, and leaves nothing behind."""
    async with database.pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE wallets")
        _, writer = await asyncio.open_connection(*reached.address.split(":"))
        writer.write(request())
        await blocked(database)
        writer.close()
        await writer.wait_closed()
    await reached.left()


async def test_queued_requests_take_the_fast_path(
    settings: Settings, dsn: str, database: Database, went: list[bool]
) -> None:
    """The fast path answers a queued request once it is admitted.

    If its client disconnects, the next one is admitted.
    """
    one_of_each = replace(settings, requests_at_once_max=1, requests_waiting_max=1)
    async with AsyncExitStack() as stack, logged_site(one_of_each, dsn) as (reached, log), asyncio.timeout(30):

        async def ask() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            asked = len(went)
            reader, writer = await asyncio.open_connection(*reached.address.split(":"))
            stack.enter_context(closing(writer))
            writer.write(request())
            while len(went) == asked:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.002)
            return reader, writer

        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            working, _ = await ask()
            await blocked(database)
            _, leaving = await ask()
            leaving.close()
            while [line["status"] for line in log.read() if line["logger"].startswith("server")] != [499]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.002)
            waiting, _ = await ask()
            refused, _ = await ask()
            assert (await read(refused))[0] == 503
        for reader in (working, waiting):
            status, _, body = await read(reader)
            assert (status, json.loads(body)) == (200, ANSWER)
        assert went == [True, True, True, True]


async def test_running_requests_are_answered_at_shutdown(settings: Settings, dsn: str, database: Database) -> None:
    """A server that stops answers running requests, and announces that the connection closes."""
    async with site(settings, dsn) as reached:
        reader, writer = await asyncio.open_connection(*reached.address.split(":"))
        with closing(writer):
            async with database.pool.acquire() as holder, holder.transaction():
                await holder.execute("LOCK TABLE wallets")
                writer.write(request())
                await blocked(database)
                (connection,) = reached.server.server_state.connections
                connection.shutdown()
            async with asyncio.timeout(10):
                status, fields, body = await read(reader)
                assert (status, json.loads(body), fields["connection"]) == (200, ANSWER, "close")
                assert await reader.read() == b""


async def test_a_fault_in_writing_closes_the_connection(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If even a fault's response cannot be written as usual, the client gets an answer and the connection closes."""

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(server.transports.fast_path, "compressed", fail)
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        writer.write(request())
        async with asyncio.timeout(10):
            status, fields, body = await read(reader)
            assert (status, fields["connection"]) == (500, "close")
            assert json.loads(body)["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
            assert await reader.read() == b""
    gc.collect()
    assert [type(each["exception"]) for each in failed] == [RuntimeError]


async def test_responses_wait_for_a_client_that_does_not_read(reached: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response waits until the client has read earlier ones; meanwhile no further request is started."""
    content = "x" * 2**20
    begun = 0

    async def answer_much(*_: object) -> ExecutionResult:
        nonlocal begun
        begun += 1
        return ExecutionResult({"a": content})

    monkeypatch.setattr(Runner, "execute", answer_much)
    reader, writer = await asyncio.open_connection(*reached.address.split(":"), limit=1024)
    with closing(writer):
        for asked in range(1, 51):
            writer.write(request())
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    while begun < asked:  # noqa: ASYNC110 - there is no event to wait for
                        await asyncio.sleep(0)
            if begun < asked:
                break
        assert begun < 50
        async with asyncio.timeout(30):
            for _ in range(asked):
                status, _, body = await read(reader)
                assert (status, json.loads(body)) == (200, {"data": {"a": content}})
        assert begun == asked


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Protocol]:
    """Record the connection of each request that the parser reads."""
    noted: list[Protocol] = []
    begin = Protocol.on_message_begin

    def note(connection: Protocol) -> None:
        noted.append(connection)
        begin(connection)

    monkeypatch.setattr(Protocol, "on_message_begin", note)
    return noted


async def answers(reader: asyncio.StreamReader, count: int = 1) -> list[tuple[int, Any]]:
    """Read the statuses and bodies of this many responses."""
    async with asyncio.timeout(10):
        responses = [await read(reader) for _ in range(count)]
    return [(status, json.loads(body)) for status, _, body in responses]


def naming(name: str) -> bytes:
    return f'{{"query": "{{ {name}: __typename }}"}}'.encode()


async def test_a_repeated_head_is_not_parsed_again(reached: Site, parsed: list[Protocol]) -> None:
    """A request whose head differs from the last one only in its length skips the parser; any other head does not."""
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    refusal = (401, "UNAUTHENTICATED")
    expected: list[tuple[str, dict[str, str], int]] = [
        ("a", {}, 1),
        ("ab", {}, 1),
        ("a" * 2_000, {}, 1),
        ("a", {"authorization": "Bearer x"}, 2),
        ("a", {"accept": "*/*"}, 3),
        ("b", {"accept": "*/*"}, 3),
        ("a", {"Accept": "*/*"}, 4),
        ("a", {}, 5),
        ("a", {"x": "x" * REMEMBERED_HEAD_BYTES_MAX}, 6),
        ("a", {"x": "x" * REMEMBERED_HEAD_BYTES_MAX}, 7),  # It is too long to be remembered,
        ("a", {}, 7),  # and the one before it is not forgotten.
    ]
    with closing(writer):
        for name, more, parsed_by_now in expected:
            writer.write(request(naming(name), **more))
            ((status, answer),) = await answers(reader)
            if "authorization" in more:
                assert (status, answer["errors"][0]["extensions"]["code"]) == refusal
            else:
                assert (status, answer) == (200, {"data": {name: "Query"}})
            assert len(parsed) == parsed_by_now


@pytest.mark.parametrize("length", ["+30", "030", "30 ", " 30", "0x1e", "", "29", "30, 30", "30\r\ncontent-length: 30"])
async def test_an_unusual_length_is_parsed(reached: Site, length: str) -> None:
    """A repeated head with an unusually written length is parsed, and answered like the first request."""
    assert len(QUERY) == 30
    odd = request().replace(b"content-length: 30", b"content-length: " + length.encode())
    results = []
    for before in (b"", request()):
        reader, writer = await asyncio.open_connection(*reached.address.split(":"))
        with closing(writer):
            if before:
                writer.write(before)
                assert await answers(reader) == [(200, ANSWER)]
            writer.write(odd)
            async with asyncio.timeout(10):
                status, _, body = await read(reader)
            results.append((status, body if status == 200 else b""))
    assert results[0] == results[1]


async def test_a_remembered_head_inside_a_body(reached: Site, parsed: list[Protocol]) -> None:
    """Bytes of another request's body are never taken for a new request, even if they equal a remembered head."""
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        writer.write(request())
        assert await answers(reader) == [(200, ANSWER)]
        writer.write(b"POST /nowhere HTTP/1.1\r\na: ")
        await asyncio.sleep(0.1)
        writer.write(request())
        async with asyncio.timeout(10):
            assert (await read(reader))[0] == 404
        writer.write(b"POST /graphql HTTP/1.1\r\na: ")
        await asyncio.sleep(0.1)
        for parsed_by_now in (3, 4):
            writer.write(request(naming("a"), accept="*/*"))
            assert await answers(reader) == [(200, {"data": {"a": "Query"}})]
            assert len(parsed) == parsed_by_now


@pytest.mark.parametrize("cut", [1, 40, -31, -30, -10, -1])
async def test_a_remembered_head_in_parts(reached: Site, cut: int) -> None:
    """A request with a remembered head is answered when it is split, or sent together with others."""
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    whole = request()
    with closing(writer):
        for _ in range(2):
            writer.write(whole + whole)
            assert await answers(reader, 2) == [(200, ANSWER)] * 2
        writer.write(whole)
        assert await answers(reader) == [(200, ANSWER)]
        for _ in range(2):
            writer.write(whole[:cut])
            await asyncio.sleep(0.05)
            writer.write(whole[cut:])
            assert await answers(reader) == [(200, ANSWER)]
        writer.write(whole + whole + whole[:cut])
        await asyncio.sleep(0.05)
        writer.write(whole[cut:])
        assert await answers(reader, 3) == [(200, ANSWER)] * 3


async def test_an_idle_connection_is_closed(settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server closes a connection on which nothing arrives any more."""
    monkeypatch.setattr(server.serve, "IDLE_SECONDS_MAX", 1)
    async with site(settings, dsn) as reached:
        reader, writer = await asyncio.open_connection(*reached.address.split(":"))
        with closing(writer):
            writer.write(request())
            async with asyncio.timeout(30):
                assert (await read(reader))[0] == 200
                assert await reader.read() == b""


async def test_idle_time_counts_from_the_last_response(reached: Site, database: Database) -> None:
    """A timer set after an earlier response never closes a connection that has been used since."""
    reader, writer = await asyncio.open_connection(*reached.address.split(":"))
    with closing(writer):
        writer.write(request())
        assert await answers(reader) == [(200, ANSWER)]
        (connection,) = reached.server.server_state.connections
        assert isinstance(connection, Protocol)
        for _ in range(2):
            writer.write(request())
            assert await answers(reader) == [(200, ANSWER)]
            assert connection.timer is not None
            connection.check_deadline()
            assert connection.timer is not None
        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            writer.write(request())
            await blocked(database)
            connection.timeout_keep_alive = 0
            connection.check_deadline()
        async with asyncio.timeout(10):
            assert (await read(reader))[0] == 200
            assert await reader.read() == b""
