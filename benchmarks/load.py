"""The load over HTTP and through asyncpg: each connection sends its next call when the last one is answered.

Light, so that it is not what is measured: sockets and nothing between; a request is joined from parts that were made
before, and of an answer only the status, the length and the signs of success are read.
"""

import asyncio
import json
import os
import re
import select
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import asyncpg
import uvloop

from benchmarks.cases import KEY, ONE, PROGRESS, USER, VIDEO, Case, Varying
from benchmarks.stage import POOL_SIZE, Call, Stage, key
from db.database import SESSION_SETTINGS
from schema.node import UserKey, encode_id

RECEIVED_BYTES_MAX = 65_536
SILENCE_SECONDS_MAX = 30


class Answer(NamedTuple):
    """When a call was answered, on the wall clock, and how long that took."""

    time: float
    seconds: float


class Driven(NamedTuple):
    """What came of a run."""

    answers: list[Answer]
    body: bytes  # of the last answer over HTTP


def ready() -> int:
    """Return the id of the load's process, which has imported everything it needs by now."""
    return os.getpid()


def drive(stage: Stage, case: Case, run: str, *, http: bool) -> Driven:
    """Run a case against the stage's server, or its statements through asyncpg; raise what goes wrong first."""
    return _over_http(stage, case, run) if http else uvloop.run(_through_asyncpg(stage, case, run))


class _Caller:
    """A keep-alive HTTP/1.1 connection."""

    def __init__(self, stage: Stage, case: Case, requests: Iterator[bytes]) -> None:
        self._case = case
        self._sign = case.sign.encode()
        self._requests = requests
        self._received = b""
        self._asked = 0.0
        self.socket = socket.create_connection(("127.0.0.1", stage.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bool:
        """Send the next request; False when there is none."""
        request = next(self._requests, None)
        if request is None:
            return False
        self._asked = time.time()
        self.socket.sendall(request)
        return True

    def receive(self) -> tuple[Answer, bytes] | None:
        """Read what has come; an answer and its body when it is whole."""
        received = self._received + self.socket.recv(RECEIVED_BYTES_MAX)
        head, _, body = received.partition(b"\r\n\r\n")
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        if not length or len(body) < int(length.partition(b"\r\n")[0]):
            if received == self._received:
                raise ConnectionError(f"The server has closed the connection after {received!r}.")
            self._received = received
            return None
        answered = time.time()
        self._received = b""
        if not head.startswith(b"HTTP/1.1 200 ") or body.count(self._sign) != self._case.signs:
            raise ValueError(f"{self._case.sign} was expected, and the answer was: {received.decode()}")
        return Answer(answered, answered - self._asked), body


def _requests(stage: Stage, case: Case, run: str, connection: int) -> Iterator[bytes]:
    """Write a connection's requests, all equally long."""
    identity = stage.identity(connection)
    user = identity.user_id.bytes
    document = case.postgraphile if case.postgraphile and stage.server == "PostGraphile" else case.document
    content = json.dumps({"query": document, "variables": case.variables}, default=lambda varying: varying.name)
    content = content.replace(f'"{USER.name}"', f'"{encode_id(UserKey(identity.user_id))}"')
    parts = re.split(f'"({VIDEO.name}|{KEY.name}|{PROGRESS.name})"', content)
    names = parts[1::2]

    def body(n: int) -> list[str]:
        passes, number = divmod(n, stage.video_count)
        for place, name in enumerate(names):
            if name == VIDEO.name:
                value = f'"video_{urlsafe_b64encode(user + bytes.fromhex(f"{number:032}"))[:-1].decode()}"'
            else:
                value = f'"{key(run, n)}"' if name == KEY.name else f"{passes + 1:3}"
            parts[2 * place + 1] = value
        return parts

    head = (
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\n"
        f"Authorization: Bearer {stage.token(identity, case.role)}\r\n"
        "Content-Type: application/json\r\nAccept: application/json\r\n"
        f"Content-Length: {len(''.join(body(connection)).encode())}\r\n\r\n"
    )
    for n in stage.numbers(connection):
        yield "".join((head, *body(n))).encode()


def _over_http(stage: Stage, case: Case, run: str) -> Driven:
    answers: list[Answer] = []
    body = b""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        callers: dict[int, _Caller] = {}
        for connection in range(stage.connections):
            caller = _Caller(stage, case, _requests(stage, case, run, connection))
            stack.enter_context(caller.socket)
            callers[caller.socket.fileno()] = caller
            poll.register(caller.socket, select.EPOLLIN)
        asking = sum(caller.ask() for caller in callers.values())
        while asking:
            events = poll.poll(SILENCE_SECONDS_MAX)
            if not events:
                raise TimeoutError(f"{stage.server} has not answered {asking} calls for {SILENCE_SECONDS_MAX} s.")
            for file, _ in events:
                caller = callers[file]
                answered = caller.receive()
                if answered is not None:
                    answers.append(answered[0])
                    body = answered[1]
                    asking -= not caller.ask()
    return Driven(answers, body)


_open: list[socket.socket] = []


def hold(stage: Stage, connections: int) -> None:
    """Open connections that stay open, in this process, each of which has been answered once."""
    for connection in range(connections):
        caller = _Caller(stage, ONE, _requests(stage, ONE, "", connection % len(stage.identities)))
        caller.ask()
        while caller.receive() is None:
            pass
        _open.append(caller.socket)


def release() -> None:
    """Close what is held open."""
    while _open:
        _open.pop().close()


async def _through_asyncpg(stage: Stage, case: Case, run: str) -> Driven:
    """Call from as many tasks as there are connections elsewhere, through a pool like that of the servers."""
    answers: list[Answer] = []

    async def call_all(pool: "asyncpg.Pool[asyncpg.Record]", connection: int) -> None:
        for call in stage.calls(run, connection):
            asked = time.time()
            for text, *arguments in case.statements:
                rows = await pool.fetch(text, *(_value(argument, call) for argument in arguments))
            answered = time.time()
            if len(rows) != case.rows:
                raise ValueError(f"{case.rows} rows were expected, and the answer was: {rows}")
            answers.append(Answer(answered, answered - asked))

    async with (
        asyncio.timeout(stage.seconds + SILENCE_SECONDS_MAX),
        # Without the round trip by which asyncpg resets a session after each use: the servers do without it as well.
        asyncpg.create_pool(
            stage.dsn, min_size=POOL_SIZE, max_size=POOL_SIZE, reset=_keep, server_settings=SESSION_SETTINGS
        ) as pool,
    ):
        await asyncio.gather(*(call_all(pool, connection) for connection in range(stage.connections)))
    return Driven(answers, b"")


def _value(argument: object, call: Call) -> object:
    if isinstance(argument, list):
        return [_value(argument[0], call)]
    return call[argument] if isinstance(argument, Varying) else argument


async def _keep(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave a session as it is."""
