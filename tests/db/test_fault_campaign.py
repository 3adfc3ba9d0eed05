"""Faults of all kinds, one after the other, under a load of mutations: nothing is lost, and nothing is done twice."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar
from uuid import UUID

import asyncpg
import pytest

import db.database
from db.database import RetryLaterError
from db.migrate import migrate
from server.postgres.embedded import embedded_postgres
from tests.db.test_frozen import BACKENDS, frozen
from tests.gate import Gate
from tests.race import REFUNDED, Account, check_verified

CALLERS = 24
FAULT_SECONDS = 0.3
FAULTS = ("cut", "refuse", "freeze connections", "silence", "freeze backends", "terminate", "kill", "lock")

Answer = TypeVar("Answer")


@pytest.fixture
async def own_dsn(tmp_path: Path) -> AsyncIterator[str]:
    """Run a PostgreSQL for one campaign: a backend that is killed takes all others of its cluster along."""
    with embedded_postgres(tmp_path / "own", settings={"fsync": "off"}) as dsn:
        await migrate(dsn)
        yield dsn


async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Send a call again until it is answered, as a client does after RETRY."""
    while True:
        try:
            return await call()
        except RetryLaterError:
            await asyncio.sleep(0.05)


async def connected(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect as soon as PostgreSQL has recovered from a kill."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncpg.connect(dsn)
            except asyncpg.CannotConnectNowError:
                await asyncio.sleep(0.05)


async def inject(fault: str, gate: Gate, dsn: str) -> None:
    """Let a fault begin, last for a while, and end."""
    match fault:
        case "cut":
            gate.cut()
        case "refuse":
            gate.shut()
            await asyncio.sleep(FAULT_SECONDS)
            await gate.open()
        case "freeze connections":
            gate.freeze()
        case "silence":
            gate.silence()
            await asyncio.sleep(FAULT_SECONDS)
            gate.heal()
        case _:
            observer = await connected(dsn)
            pids = await observer.fetchval(BACKENDS) or []
            match fault:
                case "freeze backends":
                    with frozen(pids):
                        await asyncio.sleep(FAULT_SECONDS)
                case "terminate":
                    await observer.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::integer[]) AS pid", pids)
                case "kill":  # PostgreSQL ends all other backends, and recovers.
                    for pid in pids[:1]:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                case "lock":
                    async with observer.transaction():
                        await observer.execute("LOCK TABLE wallets")
                        await asyncio.sleep(FAULT_SECONDS)
            observer.terminate()


async def call_all(account: Account, random: Random, name: str, over: asyncio.Event) -> Counter[str]:
    """Create, end, retry and adjust until the campaign is over; count the acknowledged calls by kind of entry."""
    counted: Counter[str] = Counter()
    videos: list[UUID] = []
    number = 0
    while not over.is_set():
        number += 1
        key = f"{name} {number}"
        match random.choice(["create", "create", "end", "retry", "adjust"]):
            case "end" if videos:
                video_id = random.choice(videos)
                ended = await until_answered(partial(account.report, video_id, "FAILED"))
                assert ended.outcome in {"moved", "noted", "unchanged", "illegal_transition"}, ended
            case "retry" if videos:
                video_id = random.choice(videos)
                begun = await until_answered(partial(account.retry, video_id, key))
                assert begun.outcome in {"restarted", "replayed", "illegal_transition"}, begun
                counted["CHARGE"] += begun.outcome != "illegal_transition"
            case "adjust":
                amount = random.choice([2, 5])
                adjusted = await until_answered(partial(account.adjust, key, amount))
                assert adjusted.outcome in {"adjusted", "replayed"}, adjusted
                counted["ADJUSTMENT"] += 1
            case _:
                created = await until_answered(partial(account.create, key))
                assert created.outcome in {"created", "replayed"}, created
                assert created.video is not None
                videos.append(created.video.id)
                counted["CHARGE"] += 1
                counted["videos"] += 1
    return counted


@pytest.mark.parametrize(
    ("seed", "faults"),
    [(0, len(FAULTS)), *(pytest.param(seed, 60, marks=pytest.mark.soak) for seed in range(1, 21))],
)
async def test_a_campaign(own_dsn: str, tmp_path: Path, seed: int, faults: int) -> None:
    """Each call that is sent until it is answered is done once: the ledger holds exactly what was acknowledged."""
    random = Random(seed)
    gate = Gate(own_dsn, tmp_path)
    await gate.open()
    database = await db.database.connect(gate.dsn, pool_size=20, timeout_seconds=5)
    accounts = [await Account.open(database, 1_000_000) for _ in range(4)]
    over = asyncio.Event()
    callers = [
        asyncio.create_task(call_all(accounts[number % 4], Random(f"{seed} {number}"), f"{number}", over))
        for number in range(CALLERS)
    ]
    rounds = [random.sample(FAULTS, len(FAULTS)) for _ in range(-(-faults // len(FAULTS)))]
    for fault in [fault for each in rounds for fault in each][:faults]:
        await asyncio.sleep(random.uniform(0.1, 2 * FAULT_SECONDS))
        await inject(fault, gate, own_dsn)
    over.set()
    async with asyncio.timeout(60):
        counted = await asyncio.gather(*callers)
    for number, account in enumerate(accounts):
        kinds = Counter(entry.kind for entry in await account.ledger())
        expected = sum((each for each in counted[number::4]), Counter[str]())
        videos = await account.videos()
        attempts = sum(video.attempt for video in videos)
        ended = sum(video.status in REFUNDED for video in videos)
        assert (kinds["CHARGE"], kinds["ADJUSTMENT"], len(videos)) == tuple(
            expected[each] for each in ("CHARGE", "ADJUSTMENT", "videos")
        )
        assert (kinds["CHARGE"], kinds["REFUND"]) == (attempts, attempts - len(videos) + ended)
        assert kinds["CHARGE"] > 10
    await database.close()
    gate.shut()
    await check_verified(own_dsn)
