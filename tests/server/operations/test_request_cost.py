"""What a request costs, without a clock: the Python functions that are called for it, the statements, the round trips.

All of a server but its HTTP protocol is counted, with all that production has on: the log, tokens, quotas, deadlines.
"""

import asyncio
import io
import json
import sys
from asyncio import StreamReader, StreamWriter
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
import uvloop
from starlette.applications import Starlette
from throttled import per_sec

from resolvers.identity import Role
from server.app import create_app
from server.process.settings import Settings
from server.transports.fast_path import FastPath
from tests.api import headers
from tests.gate import Gate

CARD = "id title videoStyle topic status comments renderProgress downloadUrl attempt version createdAt updatedAt"
STATE = "videoData { id status renderProgress attempt version updatedAt }"
BALANCE = "user { id credits version } entry { id number amount balanceAfter } replayed"
REGISTER = "mutation { registerUser(input: {}) { __typename ... on RegisterUserSuccess { user { id } } } }"


class Operation(NamedTuple):
    """One of the server's main operations, with its limit on calls: a tenth more than it needs now."""

    document: str
    role: Role
    calls_max: int
    statements: int = 1


def mutation(name: str, shown: str) -> str:
    kind = name[0].upper() + name[1:]
    result = f"__typename ... on Error {{ code message }} ... on {kind}Success {{ {shown} }}"
    return f"mutation($input: {kind}Input!) {{ {name}(input: $input) {{ {result} }} }}"


OPERATIONS = {
    "createVideoData": Operation(mutation("createVideoData", f"{STATE} {BALANCE}"), Role.USER, 208),
    "updateVideoRecordStatus": Operation(mutation("updateVideoRecordStatus", f"{STATE} {BALANCE}"), Role.WORKER, 196),
    "adjustUserCredits": Operation(mutation("adjustUserCredits", BALANCE), Role.ADMIN, 207),
    "videoData": Operation(f"query($id: ID!) {{ videoData(id: $id) {{ {CARD} }} }}", Role.USER, 184),
    "viewer": Operation(
        f"{{ viewer {{ name credits videos {{ nodes {{ {CARD} }} pageInfo {{ endCursor }} }} }} }}",
        *(Role.USER, 411),
        statements=2,
    ),
}


class Caller:
    """Calls the application as a server does, with a user who has 25 videos."""

    def __init__(self, app: Starlette) -> None:
        self._fast_path: FastPath = app.state.fast_path
        self._signed = {role: headers("ann", role)["Authorization"].encode() for role in Role}
        self.calls = 0  # of Python functions, by the last call
        self._number = 0
        self._user_id = ""
        self._video_ids: list[str] = []

    async def prepare(self) -> None:
        self._user_id = (await self._post(REGISTER, Role.USER, {}))["registerUser"]["user"]["id"]
        for _ in range(25):
            created = await self.call("createVideoData")
            self._video_ids.append(created["createVideoData"]["videoData"]["id"])

    async def call(self, name: str) -> dict[str, Any]:
        """Call an operation so that it has all of its work to do, and return its data."""
        self._number += 1
        key = f"key {self._number}"
        video_id = self._video_ids[self._number % 25] if len(self._video_ids) == 25 else ""
        new = {"title": "Whales", "videoStyle": "realistic", "script": "Whales sing. " * 50, "idempotencyKey": key}
        adjustment = {"userId": self._user_id, "amount": 10, "kind": "PURCHASE", "idempotencyKey": key}
        inputs: dict[str, dict[str, Any]] = {
            "createVideoData": {"input": new},
            "updateVideoRecordStatus": {"input": {"recordId": video_id, "renderProgress": self._number // 25 + 1}},
            "adjustUserCredits": {"input": adjustment},
            "videoData": {"id": video_id},
            "viewer": {},
        }
        variables = inputs[name]
        data = await self._post(OPERATIONS[name].document, OPERATIONS[name].role, variables)
        result = data[name]
        assert result["__typename"].endswith("Success") if "input" in variables else result, data
        assert name != "viewer" or len(result["videos"]["nodes"]) == 20
        return data

    def _note(self, _: FrameType, event: str, __: object) -> None:
        self.calls += event == "call"

    async def _post(self, document: str, role: Role, variables: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps({"query": document, "variables": variables}).encode()
        given = [
            (b"authorization", self._signed[role]),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"accept", b"application/graphql-response+json"),
        ]
        self.calls = 0
        sys.setprofile(self._note)
        try:
            head = self._fast_path.head(given)
            assert head is not None
            request = self._fast_path.begin(head, body, ("127.0.0.1", 1), "http", asyncio.get_running_loop().time())
            assert request is not None
            status, _, written = await request.write()
        finally:
            sys.setprofile(None)
        assert status == 200, written
        answer = json.loads(written)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Enable everything that production has, without background work."""
    quota = per_sec(1_000_000)
    return replace(
        settings,
        rate_limit_per_identity=quota,
        rate_limit_per_address=quota,
        log_level="info",
        log_format="json",
        notify="off",
        signup_credits=1000,
    )


async def measure(dsn: str, settings: Settings, note: Callable[[str, Caller], None]) -> None:
    """Call an operation several times, and record the cost of each call."""
    with redirect_stderr(io.StringIO()):
        app = create_app(settings, dsn=dsn)
    async with app.router.lifespan_context(app):
        try:
            caller = Caller(app)
            await caller.prepare()
            for name in OPERATIONS:
                for _ in range(10):  # The first calls compile it and prepare its statements on each connection.
                    await caller.call(name)
                    note(name, caller)
        finally:
            await app.state.database.close()  # If anything fails, uvloop would wait for its connections for ever.


@pytest.mark.usefixtures("without_polling")
def test_calls(dsn: str, settings: Settings) -> None:
    """No operation calls more Python functions than its limit, from arrival to response."""
    counts: defaultdict[str, list[int]] = defaultdict(list)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # As `serve`; asyncio's own is in Python.
        runner.run(measure(dsn, settings, lambda name, caller: counts[name].append(caller.calls)))
    fewest = {name: min(numbers) for name, numbers in counts.items()}
    assert all(calls <= OPERATIONS[name].calls_max for name, calls in fewest.items()), fewest


class Wire(Gate):
    """Keeps everything sent to PostgreSQL."""

    def __init__(self, dsn: str, directory: Path) -> None:
        super().__init__(dsn, directory)
        self._sent: list[bytearray] = []

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        if writer.get_extra_info("peername"):  # Towards PostgreSQL: the client has no address.
            self._sent.append(bytearray())
            write, sent = writer.write, self._sent[-1]

            def keep_and_write(data: Any) -> None:
                sent.extend(data)
                write(data)

            writer.write = keep_and_write  # type: ignore[method-assign]  # what passes is to be seen as it passes
        await super()._carry(reader, writer)

    def messages(self) -> Counter[str]:
        """Count the messages so far by type: E executes a statement, S and H request the results so far."""
        types = Counter[str]()
        for sent in self._sent:
            at = int.from_bytes(sent[:4])  # The first has no type.
            while at < len(sent):
                types[chr(sent[at])] += 1
                at += 1 + int.from_bytes(sent[at + 1 : at + 5])
        return types


@pytest.mark.usefixtures("without_polling")
async def test_statements_and_round_trips(dsn: str, settings: Settings, tmp_path: Path) -> None:
    """Each operation takes one statement and one round trip per change and per list that it shows."""
    wire = Wire(dsn, tmp_path)
    await wire.open()
    spent: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    before = Counter[str]()

    def note(name: str, _: Caller) -> None:
        after = wire.messages()
        more = after - before
        before.update(more)
        spent[name].append((more["E"] + more["Q"], more["S"] + more["H"] + more["Q"]))

    await measure(wire.dsn, settings, note)
    wire.shut()
    for name, operation in OPERATIONS.items():
        assert min(spent[name]) == (operation.statements, operation.statements), name
