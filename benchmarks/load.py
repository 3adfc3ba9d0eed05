"""The load over HTTP and through asyncpg: each connection sends its next call when the last one is answered.

Light, so that it is not what is measured: a request is made from a template, and of an answer only the status, the
length and the sign of success are read.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import asyncpg
import uvloop

from benchmarks.cases import KEY, PROGRESS, USER, VIDEO, Case, Varying
from benchmarks.stage import Call, Stage
from db.database import SESSION_SETTINGS
from db.statement import statement
from schema.node import UserKey, VideoKey, encode_id

Ask = Callable[[Call], Awaitable[None]]
_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Answer(NamedTuple):
    """When a call was answered, on the wall clock, and how long that took."""

    time: float
    seconds: float


def ready() -> int:
    """Tell the process id of the load's process, which by now has imported all that it needs."""
    return os.getpid()


def drive(stage: Stage, case: Case, run: str, *, http: bool) -> list[Answer]:
    """Run a case against the server, or its statements through asyncpg; raise what goes wrong first."""
    answers: list[Answer] = []

    async def connect(connection: int) -> None:
        async with AsyncExitStack() as stack:
            ask = await (_over_http if http else _through_asyncpg)(stack, stage, case, connection)
            for call in stage.calls(run, connection):
                asked = time.time()
                await ask(call)
                answered = time.time()
                answers.append(Answer(answered, answered - asked))

    async def connect_all() -> None:
        async with asyncio.timeout(stage.seconds + 30):
            await asyncio.gather(*map(connect, range(len(stage.identities))))

    uvloop.run(connect_all())
    return answers


async def _over_http(stack: AsyncExitStack, stage: Stage, case: Case, connection: int) -> Ask:
    """Open a keep-alive HTTP/1.1 connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    stack.callback(writer.close)
    identity = stage.identities[connection]
    token = stage.token(identity, case.role)
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\nAuthorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: "
    ).encode()
    content = {"query": case.document, "variables": case.variables}
    template = json.dumps(content, default=lambda varying: varying.name)
    template = template.replace(f'"{USER.name}"', f'"{encode_id(UserKey(identity.user_id))}"')
    sign = case.sign.encode()

    async def ask(call: Call) -> None:
        text = template.replace(f'"{VIDEO.name}"', f'"{encode_id(VideoKey(identity.user_id, call[VIDEO]))}"')
        text = text.replace(f'"{KEY.name}"', f'"{call[KEY]}"').replace(f'"{PROGRESS.name}"', str(call[PROGRESS]))
        body = text.encode()
        writer.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        lines = await reader.readuntil(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(lines)
        answer = await reader.readexactly(int(length[1]) if length else 0)
        if not lines.startswith(b"HTTP/1.1 200 ") or answer.count(sign) != case.signs:
            raise ValueError(f"{case.sign} was expected, and the answer was: {(lines + answer).decode()}")

    return ask


async def _through_asyncpg(stack: AsyncExitStack, stage: Stage, case: Case, _: int) -> Ask:
    """Open a connection to the database."""
    connection = await asyncpg.connect(stage.dsn, server_settings=SESSION_SETTINGS)
    stack.push_async_callback(connection.close)
    statements = [(statement(name), arguments) for name, *arguments in case.statements]

    async def ask(call: Call) -> None:
        for text, arguments in statements:
            rows = await connection.fetch(
                text, *(call[each] if isinstance(each, Varying) else each for each in arguments)
            )
        if len(rows) != case.rows:
            raise ValueError(f"{case.rows} rows were expected, and the answer was: {rows}")

    return ask
