"""`videocredits demo` plays a difficult day of the app, and detects wrong behavior of the server."""

import asyncio
import json
from collections.abc import Iterator
from random import Random

import asyncpg
import click
import pytest

from server.demo.command import minting, run_demo, serving, verified
from server.demo.play import play
from server.demo.report import Scene, table
from server.demo.studio import captions
from tests.api import SECRET

# One more credit for every user: with an entry that explains it, so that the tables are consistent; or without one.
MINT = """
  WITH minted AS (
    UPDATE wallets SET credits = credits + 1, entry_count = entry_count + 1, version = version + 1
    RETURNING wallet_id, entry_count, credits
  )
  INSERT INTO credit_entries (
    wallet_id, number, kind, amount, balance_after, user_id, idempotency_key, request_hash, actor
  )
  SELECT wallet_id, entry_count, 'REWARD', 1, credits, wallet_id, 'minted', sha256('minted'), 'ADMIN:nobody' FROM minted
"""
TAMPER = "SET session_replication_role = replica; UPDATE wallets SET credits = credits + 1"


@pytest.fixture
def url(dsn: str) -> Iterator[str]:
    """Serve the test's own database."""
    with serving(DATABASE_URL=dsn, JWT_SECRET=SECRET, SIGNUP_CREDITS="2") as address:
        yield address


async def test_the_day(url: str, dsn: str) -> None:
    """A day of twelve users includes every difficulty, and every answer and balance is correct."""
    shown: list[tuple[int, int]] = []
    report = await play(
        url, minting(SECRET), users=12, seed=1, progress=lambda done, total: shown.append((done, total))
    )
    assert report.violations == []
    assert await verified(dsn) == []
    assert [scene.value for scene in Scene if not report.scenes[scene]] == []
    assert report.credits_left == report.credits_by_kind.total()
    assert shown == [(done, 48) for done in range(1, 49)]  # 36 videos and 12 users.


@pytest.mark.parametrize(
    ("change", "tables_agree"),
    [pytest.param(MINT, True, id="a mint"), pytest.param(TAMPER, False, id="a tampered balance")],
)
async def test_a_wrong_credit_is_noticed(url: str, dsn: str, change: str, tables_agree: bool) -> None:
    """Unexplained credits are detected even if the ledger is consistent, and the final table reports them."""
    changes: list[asyncio.Task[None]] = []

    async def make_change() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(change)
        await connection.close()

    def progress(done: int, _: int) -> None:
        if done == 1:
            changes.append(asyncio.create_task(make_change()))

    report = await play(url, minting(SECRET), users=5, seed=1, progress=progress)
    await asyncio.gather(*changes)
    broken = await verified(dsn)
    assert (broken == []) == tables_agree
    assert sum(" credits by " in violation for violation in report.violations) == report.users
    faults = len(report.violations) + len(broken)
    assert click.unstyle(table(report, broken)).splitlines()[-1] == f"  {faults} violated."


@pytest.mark.parametrize(
    ("constraint", "violation"),
    [
        (
            "title NOT LIKE '%video 2'",
            "user-001: createVideoData was answered with an error: The server made a mistake.",
        ),
        (
            "status <> 'RENDERING'",
            "The dispatchers: updateVideoRecordStatus was answered with an error: The server made",
        ),
    ],
)
async def test_a_fault_is_reported_and_the_day_ends(url: str, dsn: str, constraint: str, violation: str) -> None:
    """A fault of the server is reported; customers who depended on it leave, and nobody waits for ever."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"ALTER TABLE video_data ADD CONSTRAINT fault CHECK ({constraint})")
    await connection.close()
    report = await play(url, minting(SECRET), users=2, seed=1, progress=lambda *_: None)
    assert any(each.startswith(violation) for each in report.violations)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo starts its own server, shows its progress and ends with a table of at most 80 columns."""
    assert run_demo(users=3, seed=2)
    printed = capsys.readouterr()
    lines = click.unstyle(printed.out).splitlines()
    assert lines[0].startswith("3 users made 9 videos in ")
    assert lines[-1] == "  Every answer was as it must be, and `verify` is clean."
    assert max(map(len, lines)) <= 80
    assert "Playing the day: 100 %" in printed.err


def test_captions_are_as_large_as_real_ones() -> None:
    """The captions of a video are 20 to 60 KB."""
    sizes = [len(json.dumps(captions(Random(seed)))) for seed in range(100)]
    assert 20_000 <= min(sizes) < max(sizes) <= 60_000
