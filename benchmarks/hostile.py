"""Measure what 1,000 hostile connections take from a user who behaves: latency, health checks, memory.

The server has a processor of its own where there are several: else attackers would delay it whatever it does.
"""

import asyncio
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.sharedctypes import Synchronized
from statistics import median
from typing import NamedTuple

import click

from benchmarks.stage import COMMAND, OURS, Stage, resident_mib, running, staged
from resolvers.identity import Identity, Role
from server.process.settings import PREFIX

CONNECTIONS = 1_000
ADDRESSES = 20  # 127.0.0.2 and up: the user who behaves has an address of its own, as users have.
PAUSE_SECONDS = 10.0  # between two requests of one hostile connection: 100 of them a second
CALLS_PER_SECOND = 50
QUIET_SECONDS = 20  # before the attack, and again after it
P99_RATIO_MAX, LIVEZ_SECONDS_MAX, GROWN_MIB_MAX = 2.0, 0.1, 30.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


class Timed(NamedTuple):
    """How long the calls of the user who behaves took, in seconds, and how long `/livez` did."""

    calls: list[float]
    livez: list[float]

    @property
    def p99(self) -> float:
        return sorted(self.calls)[len(self.calls) * 99 // 100]


def _post(document: str, variables: object = None, token: str = "", **headers: str) -> bytes:
    body = json.dumps({"query": document, "variables": variables}).encode()
    given = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    if token:
        given["Authorization"] = f"Bearer {token}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST /graphql HTTP/1.1\r\n{lines}\r\n".encode() + body


_HANDSHAKE = b"GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
_KEY = (
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
_PINGS = b"\x89\x80\0\0\0\0" * 1_000_000
_PING = json.dumps({"type": "ping", "payload": {"x": [{"a": n} for n in range(70_000)]}}).encode()
_ENUMS = _post(
    "query($f: VideoFilter) { viewer { videos(filter: $f) { nodes { id } } } }", {"f": {"status": ["X"] * 4500}}
)
_VARIABLES = _post("query($f: VideoFilter) { __typename }", {"x": [{"a": n} for n in range(70_000)]})
_DOCUMENT = _post("{ " + " ".join(f"a{n}: __typename" for n in range(400)) + " }")
_PIPELINE = _post("{ viewer { id } __schema { types { name } } }") * 900
_LARGE = "{ viewer { videos(first: 100) { nodes { script caption captionJson config } } } }"


def _sending(*parts: bytes, every: float = 0.0) -> Attack:
    """Send these parts, then nothing, and read what comes."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
        for part in parts:
            # Piece by piece, as a network does: the system copies a write of megabytes in one go, while the user waits.
            for start in range(0, len(part), 65_536):
                writer.write(part[start : start + 65_536])
                await writer.drain()
            await asyncio.sleep(every)
        while await reader.read(65_536):
            pass

    return attack


def _endless(begin: bytes, part: bytes, bytes_max: int = 2**26) -> Attack:
    """Send so much of a part, as fast as it is taken."""

    async def attack(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
        writer.write(begin)
        for ___ in range(bytes_max // len(part)):
            writer.write(part)
            await writer.drain()

    return attack


async def _unread(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # The transport of a socket can.
    writer.write(_PIPELINE)
    await asyncio.sleep(60)


async def _read_pipeline(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
    writer.write(_PIPELINE)
    while await reader.read(65_536):
        pass


async def _come_and_go(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: str) -> None:
    writer.write(_post("{ __typename }") * 2)
    await asyncio.sleep(0.02)


async def _large(_: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # as above
    writer.write(_post(_LARGE, token=token) * 100)
    await asyncio.sleep(60)


ATTACKS: dict[str, Attack] = {
    "silent": _sending(),
    "half a request line": _sending(b"POST /gra"),
    "a header byte every 5 seconds": _sending(b"GET / HTTP/1.1\r\na: ", *[b"x"] * 10, every=5),
    "endless headers": _endless(b"GET / HTTP/1.1\r\n", b"a: b\r\n" * 10_000),
    "600,000 empty headers": _endless(b"GET / HTTP/1.1\r\n", b"a:\r\n" * 10_000, 2_400_000),
    "endless trailers": _endless(
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"a: b\r\n" * 10_000
    ),
    "60 KB of commas in Accept": _sending(_post("{ __typename }", Accept="," * 60_000)),
    "a head without its body": _sending(_post("{ __typename }").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"),
    "900 queries, nothing read": _unread,
    "900 queries, all read": _read_pipeline,
    "two queries, then gone": _come_and_go,
    "4,500 wrong enum values": _sending(_ENUMS),
    "1 MB of variables": _sending(_VARIABLES),
    "400 aliases": _sending(_DOCUMENT),
    "garbage after a request": _sending(_post("{ __typename }") + b"\x00\xff" * 100),
    "half a handshake": _sending(_HANDSHAKE),
    "endless pings": _sending(_HANDSHAKE + _KEY, _PINGS, every=0.5),
    "a megabyte by a socket with a wrong token": _sending(
        _HANDSHAKE + b"Authorization: Bearer x\r\n" + _KEY,
        b"\x81\xff" + len(_PING).to_bytes(8) + bytes(4) + _PING,
        every=0.1,
    ),
    "a wrong handshake": _sending(_HANDSHAKE + b"Sec-WebSocket-Version: 7\r\n\r\n"),
    "large content, nothing read": _large,
}


async def _attack(port: int, connection: int, token: str, end: float, begun: "Synchronized[int]") -> None:
    attacks = list(ATTACKS.values())
    address = f"127.0.0.{2 + connection % ADDRESSES}"
    await asyncio.sleep(PAUSE_SECONDS * connection / CONNECTIONS)
    for number in count(connection):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            begun.value += 1
            try:
                async with asyncio.timeout_at(end):
                    await attacks[number % len(attacks)](reader, writer, token)
            finally:
                writer.transport.abort()
        except (OSError, TimeoutError):
            pass  # It was refused, as it should be.
        if asyncio.get_running_loop().time() >= end:
            return
        await asyncio.sleep(PAUSE_SECONDS)


def _attack_all(port: int, token: str, seconds: float, begun: "Synchronized[int]") -> None:
    # It runs on the user's processor, which strangers do not: it takes what is left.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    async def run() -> None:
        end = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for connection in range(CONNECTIONS):
                group.create_task(_attack(port, connection, token, end, begun))

    asyncio.run(run())


async def _behave(stage: Stage, seconds: float) -> Timed:
    """Call the API at a steady pace, over one connection, and `/livez` on new ones, once a second."""
    token = stage.token(stage.identities[0])
    timed = Timed([], [])
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    begin = time.monotonic()
    for number in range(int(seconds * CALLS_PER_SECOND)):
        await asyncio.sleep(max(0.0, begin + number / CALLS_PER_SECOND - time.monotonic()))
        asked = time.monotonic()
        writer.write(_post("{ viewer { credits videos(first: 5) { nodes { id status } } } }", token=token))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        timed.calls.append(time.monotonic() - asked)
        if not head.startswith(b"HTTP/1.1 200 ") or b'"credits"' not in body:
            raise click.ClickException(f"The user who behaves was answered {head!r} {body!r}")
        if number % CALLS_PER_SECOND == 0:
            timed.livez.append(await _livez(stage.port))
    writer.close()
    return timed


async def _livez(port: int) -> float:
    asked = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    if b" 200 OK" not in answer:
        raise click.ClickException(f"/livez was answered {answer!r}")
    return time.monotonic() - asked


async def _fill(stage: Stage, stranger: Identity) -> None:
    """Give the stranger videos with as much content as one may have."""
    token = stage.token(stranger)
    content = {"script": "w" * 50_000, "caption": {"c": "w" * 200_000}, "idempotencyKey": ""}
    create = "mutation($i: CreateVideoDataInput!) { createVideoData(input: $i) { __typename } }"
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    for number in range(100):
        video = {**content, "title": "w", "videoStyle": "w", "idempotencyKey": f"{number}"}
        writer.write(_post(create, {"i": video}, token=token))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
    writer.close()


@contextmanager
def _attacked(stage: Stage, stranger: Identity, seconds: float) -> Iterator[None]:
    """Attack a server for so long, from the block's beginning, and wait until that is over.

    Fails if the attackers did not open as many connections as they should have.
    """
    context = multiprocessing.get_context("spawn")
    begun = context.Value("i", 0)
    attacker = context.Process(target=_attack_all, args=(stage.port, stage.token(stranger), float(seconds), begun))
    attacker.start()
    try:
        while not begun.value and attacker.is_alive():
            time.sleep(0.01)
        yield
    finally:
        attacker.join(60)
    click.echo(f"{begun.value:,} attacks", err=True)
    if attacker.exitcode != 0 or begun.value < CONNECTIONS:
        raise click.ClickException("The attackers failed, or had too little of the processor: measure again.")


@click.command()
@click.option(
    "--seconds", default=60, show_default=True, type=click.IntRange(20, 3600), help="How long it is attacked."
)
def hostile(seconds: int) -> None:
    """Measure what 1,000 hostile connections take from a user who behaves; exit code 1 where that is too much."""
    if sys.platform != "linux":
        raise click.ClickException("This benchmark needs Linux, which can give the server a processor of its own.")
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:  # All others are for the attackers, the user and PostgreSQL.
        os.sched_setaffinity(0, processors[:-1])
    identities = (Identity("benchmark-0", Role.USER), Identity("benchmark-stranger", Role.USER))
    with staged(identities, 1_000, seconds) as unlimited:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {f"{PREFIX}DATABASE_URL": unlimited.dsn, f"{PREFIX}JWT_SECRET": unlimited.jwt_secret}
        environment |= {f"{PREFIX}PORT": "0", f"{PREFIX}RATE_LIMIT_PER_IDENTITY": "off"}
        with running(unlimited, f"{OURS}-limited", COMMAND, environment) as stage:
            os.sched_setaffinity(stage.server_pid, processors[-1:])
            asyncio.run(_fill(stage, identities[1]))
            click.echo("Measuring without attack …", err=True)
            quiet = asyncio.run(_behave(stage, QUIET_SECONDS))
            memory = [resident_mib(stage.server_pid)]
            click.echo(f"Measuring under {CONNECTIONS:,} hostile connections …", err=True)
            with _attacked(stage, identities[1], seconds):
                under = asyncio.run(_behave(stage, seconds - 2))
                memory.append(resident_mib(stage.server_pid))
            click.echo("Measuring without attack …", err=True)
            after = asyncio.run(_behave(stage, QUIET_SECONDS))
            quiet = Timed(quiet.calls + after.calls, quiet.livez + after.livez)
            memory.append(resident_mib(stage.server_pid))
    ratio = under.p99 / quiet.p99
    slowest = max(under.livez)
    for name, timed in (("without attack", quiet), ("under attack", under)):
        print(f"{name + ':':16} p50 {1000 * median(timed.calls):4.1f} ms, p99 {1000 * timed.p99:4.1f} ms")
    print(
        f"p99 under attack: {ratio:.2f} times that without attack\n"
        f"/livez on a new connection: {1000 * slowest:.0f} ms at most, {1000 * median(under.livez):.1f} in the middle\n"
        f"memory: {memory[0]:.0f} MiB before, {memory[1]:.0f} under attack, {memory[2]:.0f} afterwards"
    )
    grown = memory[2] - memory[0]
    if ratio > P99_RATIO_MAX or slowest > LIVEZ_SECONDS_MAX or grown > GROWN_MIB_MAX:
        raise click.ClickException(
            f"At most {P99_RATIO_MAX} times the p99, {1000 * LIVEZ_SECONDS_MAX:.0f} ms for /livez and "
            f"{GROWN_MIB_MAX:.0f} MiB more are meant to be."
        )
