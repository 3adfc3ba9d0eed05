"""The rules of a single row: each refuses by its name, as it did when it was a CHECK of its own."""

import asyncio
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import pytest

import db.database
from db.database import Database
from db.migrate import migrate
from db.verify import verify
from schema.credit_entry import CreditEntryKind
from schema.limits import CREDITS_MAX
from schema.video_status import VideoStatus
from server.postgres.programs import find_programs
from tests.conftest import NewDatabase
from tests.race import Account

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # Quoted: generic only to type checkers.
Row: TypeAlias = dict[str, Any]

ANN, VIDEO = UUID(int=1), UUID("01890a5d-ac96-774b-bcce-b302099a8057")
LONG = "x" * 256
CHARGE: Row = {"kind": "CHARGE", "amount": -1, "video_id": VIDEO, "attempt": 1}

# A row of each table that keeps every rule.
SOUND: dict[str, Row] = {
    "wallets": {"wallet_id": ANN, "credits": 10, "entry_count": 1, "version": 1},
    "users": {"user_id": ANN, "subject": "ann", "request_id": 1, "request_ids": [1]},
    "video_data": {
        "wallet_id": ANN,
        "user_id": ANN,
        "idempotency_key": "key",
        "title": "Whales",
        "video_style": "realistic",
        "voice_id": None,
        "voice_name": None,
        "music_track_name": None,
        "music_track_url": None,
        "status": "QUEUED",
        "render_progress": 0,
        "queue_id": None,
        "volume_background_music": 0.4,
        "volume_voice": 1.0,
        "attempt": 1,
        "cost": 1,
        "event_count": 1,
        "version": 1,
    },
    "credit_entries": {
        "wallet_id": ANN,
        "number": 2,
        "kind": "PURCHASE",
        "amount": 5,
        "balance_after": 15,
        "uncovered": 0,
        "user_id": ANN,
        "video_id": None,
        "attempt": None,
        "idempotency_key": "key",
        "request_hash": bytes(32),
        "actor": "ADMIN:root",
    },
    "video_events": {
        "wallet_id": ANN,
        "video_id": VIDEO,
        "number": 1,
        "status": "QUEUED",
        "attempt": 1,
        "actor": "WORKER:render-1",
    },
}

# Of each rule, what breaks it and no other.
BREACHES: dict[str, Row] = {
    "wallets_credits_not_negative": {"credits": -1},
    "wallets_entry_count_not_negative": {"entry_count": -1},
    "users_subject_length": {"subject": LONG},
    "wallets_version_positive": {"version": 0},
    "video_data_attempt_positive": {"attempt": 0},
    "video_data_cost_positive": {"cost": 0},
    "video_data_event_count_positive": {"event_count": 0},
    "video_data_idempotency_key_length": {"idempotency_key": LONG},
    "video_data_music_track_whole": {"music_track_name": "Waves"},
    "video_data_queue_id_while_queued": {"queue_id": VIDEO},
    "video_data_render_progress_completed": {"status": "COMPLETED", "render_progress": 99},
    "video_data_render_progress_range": {"render_progress": 101},
    "video_data_title_not_empty": {"title": ""},
    "video_data_version_positive": {"version": 0},
    "video_data_voice_whole": {"voice_name": "Vera"},
    "video_data_volume_background_music_range": {"volume_background_music": 1.1},
    "video_data_volume_voice_range": {"volume_voice": -0.1},
    "credit_entries_actor_not_empty": {"actor": ""},
    "credit_entries_amount_sign": {"amount": 0},
    "credit_entries_attempt_of_video": {"attempt": 1},
    "credit_entries_balance_after_follows": {"balance_after": 4},
    "credit_entries_balance_after_not_negative": {"amount": -16, "balance_after": -1},
    "credit_entries_idempotency_key_length": {"idempotency_key": ""},
    "credit_entries_idempotency_key_of_kind": {"kind": "REFUND", "video_id": VIDEO, "attempt": 1},
    "credit_entries_number_positive": {"number": 0},
    "credit_entries_request_hash_of_key": {"request_hash": bytes(31)},
    "credit_entries_uncovered_of_taking": {"uncovered": 1},
    "credit_entries_video_id_of_kind": {"kind": "CHARGE", "amount": -1},
    "video_events_actor_not_empty": {"actor": ""},
    "video_events_attempt_positive": {"attempt": 0},
    "video_events_number_positive": {"number": 0},
}


class Refusal(NamedTuple):
    """How PostgreSQL says that a row breaks a rule."""

    sqlstate: str | None
    message: str
    table: str | None
    constraint: str | None


def table_of(rule: str) -> str:
    return next(table for table in SOUND if rule.startswith(table))


async def insert(connection: Connection, table: str, row: Row) -> Refusal | None:
    """Try a row, and return how it is refused."""
    names, places = ", ".join(row), ", ".join(f"${number}" for number in range(1, len(row) + 1))
    try:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", *row.values())
    except asyncpg.IntegrityConstraintViolationError as error:
        return Refusal(error.sqlstate, error.args[0], error.table_name, error.constraint_name)
    return None


def refusal(rule: str) -> Refusal:
    table = table_of(rule)
    return Refusal("23514", f'new row for relation "{table}" violates check constraint "{rule}"', table, rule)


async def alone(connection: Connection) -> Connection:
    """Put copies of the tables before them that have their rules and no foreign keys, triggers or unique indexes."""
    for table in SOUND:
        what = "CONSTRAINTS INCLUDING DEFAULTS"
        await connection.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING {what})")
    return connection


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield await alone(opened)
    await opened.close()


async def test_every_rule_is_broken_here(connection: Connection) -> None:
    """Each rule of the tables' CHECKs is broken below, and each table has its rules in one CHECK."""
    checks = await connection.fetch(
        """
        SELECT conrelid::regclass::text AS relation, conname, pg_proc.prosrc
        FROM pg_constraint
        LEFT JOIN pg_proc ON pg_constraint.conname = pg_proc.proname
        WHERE contype = 'c' AND connamespace = 'public'::regnamespace AND conrelid <> 0
        """
    )
    rules = {
        rule
        for check in checks
        for rule in (re.findall(r"THEN '(\w+)'", check["prosrc"]) if check["prosrc"] else [check["conname"]])
    }
    assert rules == set(BREACHES)
    assert len({check["relation"] for check in checks}) == len(checks)


@pytest.mark.parametrize("rule", BREACHES)
async def test_a_rule_refuses_by_its_name(connection: Connection, rule: str) -> None:
    """What breaks one rule, or would come to, is refused as by a CHECK: its SQLSTATE and words, the table, the rule."""
    table, breach = table_of(rule), BREACHES[rule]
    assert await insert(connection, table, SOUND[table]) is None
    assert await insert(connection, table, SOUND[table] | breach) == refusal(rule)
    assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(breach, 1))
    with pytest.raises(asyncpg.CheckViolationError) as caught:
        await connection.execute(f"UPDATE {table} SET {assignments}", *breach.values())
    assert caught.value.constraint_name == rule


@pytest.mark.parametrize(
    ("table", "breach", "rule"),
    [
        ("video_data", {"status": "PAUSED"}, "video_status_known"),
        ("video_data", {"status": "queued"}, "video_status_known"),
        ("video_events", {"status": ""}, "video_status_known"),
        ("credit_entries", {"kind": "GIFT"}, "credit_entry_kind_known"),
    ],
)
async def test_unknown_words_are_refused(connection: Connection, table: str, breach: Row, rule: str) -> None:
    """Statuses and kinds are those of their domains, in whatever table."""
    refused = await insert(connection, table, SOUND[table] | breach)
    assert refused is not None
    assert (refused.sqlstate, refused.constraint) == ("23514", rule)


async def test_statuses_kinds_and_limits_are_those_of_the_api(connection: Connection) -> None:
    """What SQL and Python both have to name is the same: statuses in their order, which are final, kinds, the limit."""
    ranked, refunded, kinds = [
        re.findall(r"'([A-Z_]+)'", await connection.fetchval("SELECT pg_get_functiondef($1::regproc)", name))
        for name in ("video_status_rank", "video_status_is_refunded", "credit_entry_kind_is_known")
    ]
    assert [*ranked, *refunded] == [status.value for status in VideoStatus]
    assert kinds == [kind.value for kind in CreditEntryKind]
    assert await connection.fetchval("SELECT credits_max()") == CREDITS_MAX


async def use(database: Database, times: int) -> None:
    """Create videos, and end every other one, as a new user."""
    account = await Account.open(database, times)
    for number in range(times):
        created = await account.create(f"key {number}")
        assert (created.outcome, created.video and created.video.attempt) == ("created", 1)
        if number % 2 and created.video is not None:
            assert (await account.report(created.video.id, "FAILED")).outcome == "moved"


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = await db.database.connect(dsn, pool_size=8, timeout_seconds=60)
    yield database
    await database.close()


async def faults(dsn: str) -> list[str]:
    """Verify a database, and say all that is wrong with it."""
    connection = await asyncpg.connect(dsn)
    found = [row.detail async for checked in verify(connection) for row in checked.broken]
    await connection.close()
    return found


async def test_who_is_at_work_goes_on(dsn: str, ship: Callable[[str], None]) -> None:
    """Processes that write while their database is migrated go on, with statements that they had prepared before it."""
    migrated = asyncio.Event()

    async def work() -> None:
        over = False
        while not over:
            over = migrated.is_set()
            await use(database, 4)

    ship(
        """LOCK TABLE wallets, video_data, credit_entries, video_events;
           ALTER TABLE wallets ADD COLUMN more integer NOT NULL DEFAULT 0;
           ALTER TABLE video_data ADD COLUMN more integer NOT NULL DEFAULT 0;
           UPDATE wallets SET more = 1"""
    )
    async with opened(dsn) as database, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(work())
        while not await database.pool.fetchval("SELECT count(*) >= 40 FROM video_data"):
            pass
        await migrate(dsn)
        migrated.set()
    assert await faults(dsn) == []


@pytest.mark.parametrize(
    ("entries", "explained"),
    [
        ([(2, 5, 15), (3, -8, 7)], True),
        ([(2, 5, 15), (3, -3, 12), (4, -5, 7)], True),
        ([(2, 5, 16), (3, -9, 7)], False),  # 1 credit more than was there and added
        ([(2, 5, 15), (3, -2, 12), (4, -5, 7)], False),
        ([(2, 5, 15), (4, -8, 7)], False),
        ([(3, 5, 15), (4, -8, 7)], False),
        ([(2, 5, 15), (3, -8, 7), (4, -1, 6)], False),
    ],
)
async def test_every_entry_of_a_statement_is_explained(
    dsn: str, entries: list[tuple[int, int, int]], explained: bool
) -> None:
    """A statement that writes several entries of a wallet is refused unless each follows from the one before it."""
    change = """
        WITH entry AS (
          INSERT INTO credit_entries
            (wallet_id, number, kind, amount, balance_after, user_id, idempotency_key, request_hash, actor)
          SELECT $1, number, 'ADJUSTMENT', amount, balance_after, $1, number, sha256(''), 'ADMIN:root'
          FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS given (number, amount, balance_after)
        )
        UPDATE wallets SET credits = 7, entry_count = $5, version = $5 WHERE wallet_id = $1"""
    numbers, amounts, balances = zip(*entries, strict=True)
    async with opened(dsn) as database:
        await Account(database, ANN).register(10)
        if explained:
            await database.pool.execute(change, ANN, numbers, amounts, balances, max(numbers))
        else:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
                await database.pool.execute(change, ANN, numbers, amounts, balances, max(numbers))
            assert caught.value.constraint_name == "wallets_credits_explained"
    assert await faults(dsn) == []


async def test_rules_need_no_search_path(connection: Connection) -> None:
    """The rules judge alike where no name is found unless it is qualified, as when a dump is restored."""
    await connection.execute("SET search_path = ''")
    for rule, breach in BREACHES.items():
        table = table_of(rule)
        assert await insert(connection, f"pg_temp.{table}", SOUND[table]) is None
        assert await insert(connection, f"pg_temp.{table}", SOUND[table] | breach) == refusal(rule)


async def test_a_dump_can_be_restored(dsn: str, new_database: NewDatabase) -> None:
    """What pg_dump wrote is restored into an empty database without an error, and verifies as what was dumped."""
    async with opened(dsn) as database:
        await use(database, 6)
    other = await new_database()
    programs = find_programs(None)
    dump = await asyncio.create_subprocess_exec(programs / "pg_dump", "--no-owner", dsn, stdout=PIPE)
    dumped, _ = await dump.communicate()
    assert dump.returncode == 0
    options = ("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", other)
    restore = await asyncio.create_subprocess_exec(programs / "psql", *options, stdin=PIPE, stdout=PIPE)
    await restore.communicate(dumped)
    assert restore.returncode == 0
    assert await faults(other) == []
    async with opened(other) as database:
        await use(database, 2)
