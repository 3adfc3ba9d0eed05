"""Subscriptions over HTTP, as server-sent events and as Apollo's multipart: what is sent when, and how streams end."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any
from unittest.mock import ANY

import asyncpg
import httpx2
import pytest

import resolvers.live
import server.transports.event_stream
from db.database import Database
from resolvers.identity import Role
from server.auth.tokens import LEEWAY_SECONDS, InvalidToken, Proof, Reason, TokenVerifier, mint_token
from server.process.settings import Settings
from tests.api import MUTATIONS, SECRET, headers
from tests.live import ENTRIES, VIDEO, VIDEOS, VIEWER
from tests.race import blocked
from tests.sockets import Site, logged_site
from tests.sockets import site as serving_site

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
EVENTS = "text/event-stream"
PARTS = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"
EVENTS_TYPE = "text/event-stream; charset=utf-8"
APOLLO = f"{PARTS},{GRAPHQL},{JSON};q=0.9"
URQL = f"{GRAPHQL}, application/graphql+json, {JSON}, {EVENTS}, multipart/mixed"
CREDITS = "subscription { viewerUpdated { user { credits } } }"
COMPLETE = "event: complete\ndata:"


@pytest.fixture
async def site(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    """Serve on a socket."""
    async with serving_site(settings, dsn) as opened:
        yield opened


class Stream:
    """A response that is read as it comes."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._separator = b"\r\n--graphql" if "multipart" in response.headers["Content-Type"] else b"\n\n"
        self._chunks = response.aiter_raw()
        self._text = b""
        self.left = b"-"

    async def frame(self) -> str | None:
        """Return the text before the next separator; None at the end of the response, with the remainder in `left`."""
        async with asyncio.timeout(30):
            while self._separator not in self._text:
                try:
                    self._text += await anext(self._chunks)
                except StopAsyncIteration:
                    self.left = self._text
                    return None
        frame, _, self._text = self._text.partition(self._separator)
        return frame.decode()

    async def result(self) -> Any:
        """Return the next result of an event stream."""
        async with asyncio.timeout(30):
            while (frame := await self.frame()) == ":":
                pass
        assert frame is not None
        event, _, data = frame.partition("\ndata: ")
        assert event == "event: next", frame
        return json.loads(data)

    async def part(self) -> Any:
        """Return the next part of a multipart stream."""
        while (frame := await self.frame()) == "":
            pass
        assert frame is not None
        head, _, body = frame.partition("\r\n\r\n")
        assert head == "\r\nContent-Type: application/json"
        return json.loads(body)

    async def rest(self) -> list[str]:
        """Return the remaining frames of the response."""
        async with asyncio.timeout(30):
            return [frame async for frame in self._frames() if frame != ":"]

    async def _frames(self) -> AsyncIterator[str]:
        while (frame := await self.frame()) is not None:
            yield frame


@asynccontextmanager
async def opened(
    site: Site, query: str, accept: str = EVENTS, *, sent: dict[str, str] | None = None, **variables: Any
) -> AsyncIterator[Stream]:
    """Post an operation, as ann unless other headers are given, and read the response until the block ends."""
    body = {"query": query, "variables": variables}
    sent = headers("ann") if sent is None else sent
    async with site.api.client.stream("POST", "/graphql", json=body, headers={"Accept": accept, **sent}) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)


async def refused(site: Site, query: str, accept: str = EVENTS, **sent: str) -> tuple[int, str]:
    """Send an operation that must be refused, and return the status and the error's code."""
    given = {"Accept": accept, **(sent or headers("ann"))}
    async with asyncio.timeout(30):
        response = await site.api.client.post("/graphql", json={"query": query}, headers=given)
    assert response.headers["Content-Type"].startswith(JSON) or GRAPHQL in accept
    (error,) = response.json()["errors"]
    return response.status_code, error["extensions"]["code"]


def expiring(seconds: int) -> dict[str, str]:
    """Sign as ann, with a token that expires in this many seconds."""
    token = mint_token(
        SECRET,
        role=Role.USER,
        subject="ann",
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=seconds - LEEWAY_SECONDS,
    )
    return {"Authorization": f"Bearer {token}"}


# How a query and a subscription are answered for an Accept header.
NEGOTIATED: dict[str, tuple[str | int, str | int]] = {
    "*/*": (JSON, 400),
    JSON: (JSON, 400),
    GRAPHQL: (GRAPHQL, 400),
    "text/*": (406, 406),
    "image/png": (406, 406),
    EVENTS: (EVENTS_TYPE, EVENTS_TYPE),
    "Text/Event-Stream": (EVENTS_TYPE, EVENTS_TYPE),
    f"{EVENTS};q=0": (406, 406),
    f"{EVENTS}, */*": (JSON, EVENTS_TYPE),
    f"{EVENTS};q=0.1, {JSON}": (JSON, EVENTS_TYPE),
    f"{EVENTS}, {JSON};q=0.9": (EVENTS_TYPE, EVENTS_TYPE),
    f"{EVENTS};q=0, {JSON}": (JSON, 400),
    f"{JSON};q=0, {EVENTS};q=0.1": (EVENTS_TYPE, EVENTS_TYPE),
    "multipart/mixed": (406, 406),
    f"multipart/mixed, {JSON}": (JSON, 400),
    "multipart/mixed;subscriptionSpec=2.0": (406, 406),
    f"multipart/mixed;deferSpec=20220824, {JSON}": (JSON, 400),
    PARTS: (PARTS, PARTS),
    'multipart/mixed;boundary="graphql";subscriptionSpec="1.0"': (PARTS, PARTS),
    f"{PARTS}, {EVENTS}": (PARTS, PARTS),
    f"{EVENTS}, {PARTS}": (EVENTS_TYPE, EVENTS_TYPE),
    f"{EVENTS};q=0.9, {PARTS};q=0.8": (EVENTS_TYPE, EVENTS_TYPE),
    f"{EVENTS};q=0.8, {PARTS};q=0.9": (PARTS, PARTS),
    f"multipart/mixed, {PARTS}, {EVENTS}": (PARTS, PARTS),
    APOLLO: (GRAPHQL, PARTS),
    URQL: (GRAPHQL, EVENTS_TYPE),
    f"{EVENTS}, multipart/mixed": (EVENTS_TYPE, EVENTS_TYPE),
}


async def test_content_negotiation_of_streams(site: Site) -> None:
    """A query gets JSON unless Accept ranks a stream higher; a subscription gets the stream that ranks highest."""
    wrong = {}
    for accept, wanted in NEGOTIATED.items():
        found: list[str | int] = []
        for query in ("{ __typename }", CREDITS):
            sent = {"Accept": accept, **headers("ann")}
            async with site.api.client.stream("POST", "/graphql", json={"query": query}, headers=sent) as response:
                assert response.headers["Vary"] == "Accept"
                content_type = response.headers["Content-Type"]
                if response.status_code == 200:
                    found.append(content_type if "json" not in content_type else content_type.partition(";")[0])
                else:
                    assert EVENTS in json.loads(await response.aread())["errors"][0]["message"]
                    found.append(response.status_code)
        if tuple(found) != wanted:
            wrong[accept] = tuple(found)
    assert wrong == {}


async def test_events(site: Site) -> None:
    """A subscription starts with a comment, each result is one event, and no proxy or cache stores any of it."""
    await site.api.register(credits=10)
    async with opened(site, CREDITS) as stream:
        given = stream.response.headers
        assert (given["Content-Type"], given["Cache-Control"]) == (EVENTS_TYPE, "no-store")
        assert (given["X-Accel-Buffering"], given["Vary"]) == ("no", "Accept")
        assert await stream.frame() == ":"
        for balance in (10, 9):
            expected = f'event: next\ndata: {{"data":{{"viewerUpdated":{{"user":{{"credits":{balance}}}}}}}}}'
            assert await stream.frame() == expected
            await site.api.create(f"key {balance}")


async def test_parts(site: Site) -> None:
    """Each part is complete on arrival: its closing boundary does not wait for the next result."""
    await site.api.register(credits=10)
    async with opened(site, CREDITS, APOLLO) as stream:
        given = stream.response.headers
        assert (given["Content-Type"], given["Cache-Control"]) == (PARTS, "no-store")
        assert (given["X-Accel-Buffering"], given["Vary"]) == ("no", "Accept")
        assert await stream.frame() == ""
        for balance in (10, 9):
            payload = f'{{"payload":{{"data":{{"viewerUpdated":{{"user":{{"credits":{balance}}}}}}}}}}}'
            assert await stream.frame() == f"\r\nContent-Type: application/json\r\n\r\n{payload}"
            await site.api.create(f"key {balance}")


async def test_completion(site: Site) -> None:
    """Both formats mark the end of a stream, and the connection then serves further requests."""
    nothing = {"data": {"videoDataUpdated": None}}
    for _ in range(2):
        async with opened(site, VIDEO, id="nonsense") as stream:
            assert await stream.result() == nothing
            assert await stream.rest() == [COMPLETE]
        async with opened(site, VIDEO, PARTS, id="nonsense") as stream:
            assert await stream.part() == {"payload": nothing}
            assert (await stream.rest(), stream.left) == ([], b"--\r\n")
    assert len(site.server.server_state.connections) == 1


async def test_a_query_or_mutation_as_events(site: Site) -> None:
    """A client that accepts only event streams gets a query's or mutation's single result as an event."""
    response = await site.api.client.post("/graphql", json={"query": "{ __typename }"}, headers={"Accept": EVENTS})
    assert response.text == f':\n\nevent: next\ndata: {{"data":{{"__typename":"Query"}}}}\n\n{COMPLETE}\n\n'
    async with opened(site, MUTATIONS["registerUser"], input={}) as stream:
        assert (await stream.result())["data"]["registerUser"]["user"]["credits"] == 10
        assert await stream.rest() == [COMPLETE]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription {", "BAD_USER_INPUT"),
        ("query A { __typename } query B { __typename }", "BAD_USER_INPUT"),
        ("{ password }", "BAD_USER_INPUT"),
        ("subscription { viewerUpdated { password } }", "BAD_USER_INPUT"),
        ("subscription($id: ID!) { videoDataUpdated(id: $id) { id } }", "BAD_USER_INPUT"),
        ('subscription { creditEntryAdded(after: "x") { cursor } }', "BAD_USER_INPUT"),
        ("subscription { videosUpdated(first: 101) { nodes { id } } }", "BAD_USER_INPUT"),
        ("{ users { nodes { id } } }", "FORBIDDEN"),
        ("subscription { a: viewerUpdated { user { id } } b: viewerUpdated { user { id } } }", "BAD_USER_INPUT"),
    ],
)
async def test_an_invalid_operation_as_events(site: Site, query: str, code: str) -> None:
    """An invalid operation is one event with errors and then `complete`, with HTTP status 200."""
    async with opened(site, query) as stream:
        result = await stream.result()
        assert {error["extensions"]["code"] for error in result["errors"]} == {code}
        assert {error["extensions"]["errorId"] for error in result["errors"]} == {
            stream.response.headers["X-Request-Id"]
        } or "data" in result
        assert await stream.rest() == [COMPLETE]


async def test_an_invalid_operation_in_parts(site: Site) -> None:
    """In multipart, an operation that never ran is a fatal error; an invalid document gets JSON if Accept allows it."""
    async with opened(site, VIEWER, PARTS, sent=headers(None)) as stream:
        part = await stream.part()
        assert part.keys() == {"payload", "errors"}
        assert part["payload"] is None
        assert part["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await stream.rest() == []
    assert await refused(site, "subscription {", APOLLO) == (400, "BAD_USER_INPUT")


async def test_rules(site: Site) -> None:
    """Anonymous clients cannot subscribe, another user's video is null, and roles without permission are refused."""
    await site.api.register("ann")
    await site.api.register("bob")
    video_id = await site.api.video(subject="bob")
    async with opened(site, VIDEO, id=video_id) as stream:
        assert await stream.result() == {"data": {"videoDataUpdated": None}}
        assert await stream.rest() == [COMPLETE]
    async with opened(site, VIDEO, id=video_id, sent=headers("render-1", Role.WORKER)) as stream:
        assert (await stream.result())["data"]["videoDataUpdated"]["title"] == "Whales"
    for query in (VIEWER, VIDEOS, ENTRIES):
        for sent, code in ((headers(None), "UNAUTHENTICATED"), (headers("render-1", Role.WORKER), "FORBIDDEN")):
            async with opened(site, query, sent=sent) as stream:
                (error,) = (await stream.result())["errors"]
                assert error["extensions"]["code"] == code
                assert await stream.rest() == [COMPLETE]


async def test_http_errors_keep_their_status(site: Site) -> None:
    """A malformed request or an invalid token gets its HTTP status and a JSON error, not a stream."""
    assert await refused(site, CREDITS, Authorization="Bearer nonsense") == (401, "UNAUTHENTICATED")
    assert await refused(site, CREDITS, **expiring(-1)) == (401, "UNAUTHENTICATED")
    assert await refused(site, "") == (400, "BAD_USER_INPUT")
    sent = {"Accept": EVENTS, "Content-Type": "text/plain"}
    assert (await site.api.client.post("/graphql", content=b"x", headers=sent)).status_code == 415


async def test_by_get(site: Site) -> None:
    """GET runs queries and subscriptions but no mutations, and refuses cross-site requests."""
    await site.api.register(credits=10)
    client, sent = site.api.client, {"Accept": EVENTS, **headers("ann")}
    parameters = {"query": VIDEO, "variables": json.dumps({"id": await site.api.video()})}
    async with client.stream("GET", "/graphql", params=parameters, headers=sent) as response:
        assert (await Stream(response).result())["data"]["videoDataUpdated"]["status"] == "QUEUED"
    response = await client.get("/graphql?query={viewer{credits}}", headers=sent)
    assert response.text.startswith(':\n\nevent: next\ndata: {"data":{"viewer":{"credits":9}}}\n\n')
    mutation = {"query": "mutation { registerUser(input: {}) { __typename } }"}
    response = await client.get("/graphql", params=mutation, headers=sent)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    foreign = {"Accept": EVENTS, "Sec-Fetch-Site": "cross-site"}
    assert (await client.get("/graphql", params={"query": CREDITS}, headers=foreign)).status_code == 403
    response = await client.head("/graphql", params={"query": CREDITS}, headers=sent)
    assert (response.status_code, response.headers["Content-Type"], response.content) == (200, EVENTS_TYPE, b"")
    await site.left()


async def test_a_result_is_one_line(site: Site) -> None:
    """A result with any text is one line of data, and arrives unchanged."""
    await site.api.register()
    title = (
        "".join(map(chr, [0x41, 0x0A, 0x0D, 0x0D, 0x0A, 0x85, 0x2028, 0x2029, 0x22, 0x5C, 0x1F40B]))
        + "\n\ndata: x\n\n--graphql"
    )
    await site.api.create("key", title=title)
    async with opened(site, VIDEOS) as stream:
        assert await stream.frame() == ":"
        frame = await stream.frame()
        assert frame is not None
        event, data = frame.encode().split(b"\n")
        assert (event, b"\r" in data) == (b"event: next", False)
        assert json.loads(data.removeprefix(b"data: "))["data"]["videosUpdated"]["nodes"][0]["title"] == title
    async with opened(site, VIDEOS, PARTS) as stream:
        assert (await stream.part())["payload"]["data"]["videosUpdated"]["nodes"][0]["title"] == title


@pytest.mark.parametrize("accept", [EVENTS, PARTS])
async def test_an_error_that_quotes_a_lone_surrogate(site: Site, accept: str) -> None:
    """A stream stays valid UTF-8 when an error message quotes a lone surrogate."""
    body = json.dumps({"query": VIDEOS, "variables": {"filter": {"na\ud83dme": 1}}})
    sent = {"Accept": accept, "Content-Type": JSON, **headers("ann")}
    async with site.api.client.stream("POST", "/graphql", content=body, headers=sent) as response:
        stream = Stream(response)
        (error,) = (await stream.result() if accept == EVENTS else await stream.part())["errors"]
    assert "'na?me'" in error["message"]


@pytest.mark.parametrize("accept", [EVENTS, PARTS])
async def test_nothing_is_compressed(site: Site, accept: str) -> None:
    """Streams are never compressed, whatever Accept-Encoding says, and each result is sent immediately."""
    await site.api.register(credits=10)
    sent = {"Accept-Encoding": "gzip, br, zstd", **headers("ann")}
    async with opened(site, CREDITS, accept, sent=sent) as stream:
        assert "Content-Encoding" not in stream.response.headers
        for balance in (10, 9):
            result = await stream.result() if accept == EVENTS else (await stream.part())["payload"]
            assert result["data"]["viewerUpdated"]["user"]["credits"] == balance
            await site.api.create(f"key {balance}")


@pytest.mark.parametrize(("accept", "sign"), [(EVENTS, ":"), (PARTS, "\r\nContent-Type: application/json\r\n\r\n{}")])
async def test_keep_alives(site: Site, accept: str, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """During silence the server keeps sending keep-alives: comments or empty parts.

    Results in between are unaffected.
    """
    monkeypatch.setattr(server.transports.event_stream, "KEEP_ALIVE_SECONDS", 0.02)
    await site.api.register(credits=10)
    async with opened(site, CREDITS, accept) as stream:
        for balance in (10, 9):
            frames: list[str] = []
            while frames.count(sign) < 4 or f'"credits":{balance}' not in "".join(frames):
                frame = await stream.frame()
                assert frame is not None
                frames.append(frame)
            assert len(frames) - frames.count(sign) - frames.count("") == 1
            await site.api.create(f"key {balance}")


async def test_no_keep_alive_without_silence(site: Site) -> None:
    """The first keep-alive is sent after the first silent interval, not before."""
    await site.api.register(credits=10)
    async with opened(site, CREDITS) as stream:
        assert await stream.frame() == ":"
        for balance in range(10, 0, -1):
            assert f'"credits":{balance}' in (await stream.frame() or "")
            await site.api.create(f"key {balance}")


async def test_a_token_that_expires(site: Site) -> None:
    """When its token expires, a stream ends with an error that says so, and sends no result after that."""
    await site.api.register()
    async with (
        opened(site, CREDITS, sent=expiring(3)) as stream,
        opened(site, CREDITS, PARTS, sent=expiring(3)) as parts,
    ):
        assert "errors" not in await stream.result()
        assert "errors" not in (await parts.part())["payload"]
        (error,) = (await stream.result())["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED", "reason": "EXPIRED", "errorId": ANY}
        assert await stream.rest() == [COMPLETE]
        part = await parts.part()
        assert (part["payload"], part["errors"][0]["extensions"]["reason"]) == (None, "EXPIRED")
        assert await parts.rest() == []
        await site.left()


async def test_a_token_that_is_withdrawn(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open stream verifies its token again at intervals, and ends when the token's key was withdrawn."""
    prove, withdrawn = TokenVerifier.prove, asyncio.Event()

    async def prove_until_withdrawn(verifier: TokenVerifier, authorization: str) -> Proof:
        if withdrawn.is_set():
            raise InvalidToken(Reason.UNKNOWN_KEY, "Sign in again.")
        return await prove(verifier, authorization)

    monkeypatch.setattr(TokenVerifier, "prove", prove_until_withdrawn)
    monkeypatch.setattr(server.transports.event_stream, "TOKEN_SECONDS_MAX", 0.01)
    async with opened(site, CREDITS) as stream:
        assert "errors" not in await stream.result()
        withdrawn.set()
        assert (await stream.result())["errors"][0]["extensions"]["reason"] == "UNKNOWN_KEY"
        assert await stream.rest() == [COMPLETE]


async def test_stream_limits(dsn: str, settings: Settings) -> None:
    """A stream beyond the user's limit gets 429, unless it is a worker's; one beyond the server's limit gets 503."""
    worker = headers("render-1", Role.WORKER)
    async with serving_site(replace(settings, streams_max=3, streams_per_identity_max=1), dsn) as site:
        await site.api.register("bob")
        video_id = await site.api.video(subject="bob")
        async with opened(site, CREDITS) as stream:
            await stream.result()
            assert await refused(site, CREDITS) == (429, "LIMIT_EXCEEDED")
            assert await refused(site, CREDITS, APOLLO) == (429, "LIMIT_EXCEEDED")
            async with opened(site, VIDEO, sent=worker, id=video_id), opened(site, VIDEO, sent=worker, id=video_id):
                assert await refused(site, CREDITS, **headers("bob")) == (503, "LIMIT_EXCEEDED")
        await site.left()
        async with opened(site, CREDITS) as stream:
            assert "errors" not in await stream.result()


async def test_an_open_stream_holds_no_slot(dsn: str, settings: Settings) -> None:
    """Open streams take no admission slot: requests are served while they are open and after they are closed."""
    async with serving_site(replace(settings, requests_at_once_max=1, requests_waiting_max=0), dsn) as site:
        await site.api.register(credits=10)
        async with opened(site, CREDITS) as one, opened(site, CREDITS, PARTS) as another:
            await one.result()
            await another.part()
            assert await site.api.balance() == 10
        await site.left()
        assert await site.api.balance() == 10


async def test_a_query_as_events_holds_a_slot(dsn: str, settings: Settings, database: Database) -> None:
    """A query that is answered as an event takes an admission slot like any other query."""
    async with serving_site(replace(settings, requests_at_once_max=1, requests_waiting_max=0), dsn) as site:
        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("LOCK TABLE wallets")
            sent = {"Accept": EVENTS, **headers("ann")}
            document = {"query": "{ viewer { id } }"}
            at_work = asyncio.create_task(site.api.client.post("/graphql", json=document, headers=sent))
            await blocked(database)
            assert await refused(site, "{ __typename }") == (503, "RETRY")
        assert (await at_work).text.startswith(":\n\nevent: next\n")


@pytest.mark.parametrize("accept", [EVENTS, PARTS])
async def test_a_stop(site: Site, accept: str) -> None:
    """When the server stops, streams end without `complete`, so that clients reconnect; new requests are refused."""
    await site.api.register()
    async with opened(site, CREDITS, accept) as stream, opened(site, ENTRIES, accept) as entries:
        await (stream.result() if accept == EVENTS else stream.part())
        await site.app.state.streams.stop()
        assert (await stream.rest(), stream.left) == ([], b"")
        assert ([frame for frame in await entries.rest() if frame], entries.left) == ([], b"")
        assert await refused(site, CREDITS) == (503, "RETRY")
        await site.left()


def request(document: str) -> bytes:
    """Write a request to follow, as it goes over the wire."""
    body = json.dumps({"query": document}).encode()
    fields = {"Host": "h", "Content-Type": JSON, "Content-Length": len(body), "Accept": EVENTS, **headers("ann")}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /graphql HTTP/1.1\r\n{head}\r\n".encode() + body


@pytest.mark.parametrize("document", [CREDITS, ENTRIES])
async def test_a_client_that_leaves(site: Site, document: str) -> None:
    """When a client disconnects, cleanly or not, its slot, tasks and watches are released, and nothing more is read."""
    await site.api.register()
    host, port = site.address.split(":")
    for abruptly in (False, True):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(document))
        await reader.readuntil(b":\n\n")
        while not site.app.state.live.subjects():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)
        assert len(site.app.state.streams) == 1
        if abruptly:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()
        await site.left()
    assert [task for task in asyncio.all_tasks() if "server/transports/event_stream.py" in repr(task)] == []


@asynccontextmanager
async def deaf(site: Site, document: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Transport]]:
    """Subscribe, read only the beginning, and yield the reader and the server's transport, both with small buffers."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        host, port = site.address.split(":")
        await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=4096)
        writer.write(request(document))
        await reader.readuntil(b":\n\n")
        (connection,) = (
            each
            for each in site.server.server_state.connections
            if each.transport.get_extra_info("peername") == narrow.getsockname()
        )
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield reader, connection.transport
        writer.close()


PAGE = "subscription { videosUpdated(first: 50) { nodes { id title renderProgress } } }"


async def test_a_client_that_does_not_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a client that does not read, only the latest state is kept. Other clients are not delayed."""
    monkeypatch.setattr(resolvers.live, "REST_SECONDS_MAX", resolvers.live.REST_SECONDS_MIN)
    await site.api.register(credits=100)
    ids = [(await site.api.create(f"key {each}", title="x" * 500))["videoData"]["id"] for each in range(50)]
    async with deaf(site, PAGE) as (reader, transport):
        buffered = 0
        async with opened(site, PAGE) as quick:
            for progress in range(1, 100):
                await site.api.report(ids[0], renderProgress=progress)
                while (await quick.result())["data"]["videosUpdated"]["nodes"][-1]["renderProgress"] != progress:
                    pass
                buffered = max(buffered, transport.get_write_buffer_size())
        assert 0 < buffered < 200_000
        received = b""
        while b'"renderProgress":99' not in received[-60_000:]:
            received += await reader.read(65_536)
        assert received.count(b"event: next") < 20
    await site.left()


async def test_a_client_that_does_not_read_does_not_delay_a_stop(site: Site) -> None:
    """A server that stops waits only a bounded time for a client that does not read."""
    await site.api.register(credits=400)
    ids = [(await site.api.create(f"key {each}", title="x" * 500))["videoData"]["id"] for each in range(50)]
    async with deaf(site, PAGE) as (_, transport):
        reports = count()
        while transport.get_write_buffer_size() < 65_536:
            video, progress = divmod(next(reports), 100)
            await site.api.report(ids[video], renderProgress=progress + 1)
            await asyncio.sleep(0.01)  # Continual changes are sent only now and then.
        async with asyncio.timeout(30):
            await site.app.state.streams.stop()
    await site.left()


async def test_a_fault_in_an_open_stream(settings: Settings, dsn: str) -> None:
    """A fault in an open stream is masked, with an error id that is also in the log."""
    async with logged_site(settings, dsn) as (site, log):
        await site.api.register()
        await site.api.create("key")
        query = "subscription { videosUpdated { nodes { title config } } }"
        async with opened(site, query) as stream, opened(site, query, PARTS) as parts:
            assert "errors" not in await stream.result()
            assert "errors" not in (await parts.part())["payload"]
            log.read()
            connection = await asyncpg.connect(dsn)
            await connection.execute("ALTER TABLE video_contents RENAME COLUMN config TO internal_name")
            await connection.close()
            await site.api.create("another", title="Bees")
            for result in (await stream.result(), (await parts.part())["payload"]):
                assert "internal_name" not in json.dumps(result)
                assert {error["extensions"]["code"] for error in result["errors"]} == {"INTERNAL_SERVER_ERROR"}
        faults = [line for line in log.read() if line["event"] == "fault"]
        assert {fault["request_id"] for fault in faults} == {
            error["extensions"]["errorId"] for error in result["errors"]
        }


async def test_a_fault_below_the_stream(settings: Settings, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception below the stream ends it with an error that shows only an id, which is also in the log."""

    async def fail(*_: object) -> AsyncGenerator[str, None]:
        yield '{"data":{}}'
        raise RuntimeError("internal_name")

    async with logged_site(settings, dsn) as (site, log):
        monkeypatch.setattr(site.app.state.runner, "subscribe", fail)
        async with opened(site, CREDITS) as stream:
            assert await stream.result() == {"data": {}}
            (error,) = (await stream.result())["errors"]
            assert await stream.rest() == [COMPLETE]
            assert stream.response.headers["X-Request-Id"] == error["extensions"]["errorId"]
        assert "internal_name" not in json.dumps(error)
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        await site.left()
        fault, request = log.read()
        assert (fault["event"], fault["request_id"]) == ("fault", error["extensions"]["errorId"])
        assert (request["event"], request["status"]) == ("request", 200)
