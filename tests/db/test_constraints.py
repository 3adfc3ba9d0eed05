"""The rules of a single row: each refuses by its name, as it did when it was a CHECK of its own."""

import asyncio
import random
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import pytest

import db.database
from db.database import Database
from db.migrate import MIGRATIONS, migrate
from db.verify import verify
from db.video_data import update_video_data
from schema.video_status import VideoStatus
from server.postgres.programs import find_programs
from tests.conftest import NewDatabase
from tests.race import Account

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # Quoted: generic only to type checkers.
Row: TypeAlias = dict[str, Any]

FIRST_TABLES = (MIGRATIONS / "versions" / "0001_tables.sql").read_text(encoding="utf-8")
CONTENTS = (MIGRATIONS / "versions" / "0007_video_contents.sql").read_text(encoding="utf-8")
QUOTAS = (MIGRATIONS / "versions" / "0005_quotas.sql").read_text(encoding="utf-8")
ANN, VIDEO = UUID(int=1), UUID("01890a5d-ac96-774b-bcce-b302099a8057")
LONG = "x" * 256
CHARGE: Row = {"kind": "CHARGE", "amount": -1, "video_id": VIDEO, "attempt": 1}

# A row of each table that keeps every rule.
SOUND: dict[str, Row] = {
    "users": {"user_id": ANN, "number": 1, "subject": "ann", "credits": 10, "entry_count": 1, "version": 1},
    "video_data": {
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
        "queue_number": None,
        "volume_background_music": 0.4,
        "volume_voice": 1.0,
        "attempt": 1,
        "cost": 1,
        "event_count": 1,
        "version": 1,
    },
    "credit_entries": {
        "user_id": ANN,
        "number": 2,
        "kind": "PURCHASE",
        "amount": 5,
        "balance_after": 15,
        "video_id": None,
        "attempt": None,
        "idempotency_key": "key",
        "request_hash": bytes(32),
        "actor": "ADMIN:root",
    },
    "video_events": {
        "user_id": ANN,
        "video_id": VIDEO,
        "number": 1,
        "status": "QUEUED",
        "attempt": 1,
        "actor": "WORKER:render-1",
    },
}

# Of each rule, what breaks it and no other.
BREACHES: dict[str, Row] = {
    "users_credits_not_negative": {"credits": -1},
    "users_entry_count_not_negative": {"entry_count": -1},
    "users_subject_length": {"subject": LONG},
    "users_version_positive": {"version": 0},
    "video_data_attempt_positive": {"attempt": 0},
    "video_data_cost_positive": {"cost": 0},
    "video_data_event_count_positive": {"event_count": 0},
    "video_data_idempotency_key_length": {"idempotency_key": LONG},
    "video_data_music_track_whole": {"music_track_name": "Waves"},
    "video_data_queue_number_while_queued": {"queue_number": 1},
    "video_data_render_progress_completed": {"status": "COMPLETED", "render_progress": 99},
    "video_data_render_progress_range": {"render_progress": 101},
    "video_data_status_known": {"status": "PAUSED"},
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
    "credit_entries_kind_known": {"kind": "GIFT"},
    "credit_entries_number_positive": {"number": 0},
    "credit_entries_request_hash_of_key": {"request_hash": bytes(31)},
    "credit_entries_video_id_of_kind": {"kind": "CHARGE", "amount": -1},
    "video_events_actor_not_empty": {"actor": ""},
    "video_events_attempt_positive": {"attempt": 0},
    "video_events_number_positive": {"number": 0},
    "video_events_status_known": {"status": "PAUSED"},
}

# What columns are tried with, besides what they have in a sound row: on both sides of each limit, and null.
TEXTS = ["", "x", LONG[1:], LONG, "é" * 255, None]
COUNTS = [-1, 0, 1, 2, None]
STATUSES = [*(status.value for status in VideoStatus), "PAUSED", "queued", None]
TRIED: dict[str, list[Any]] = {
    "subject": TEXTS,
    "idempotency_key": TEXTS,
    "title": TEXTS,
    "actor": TEXTS,
    "voice_id": TEXTS,
    "voice_name": TEXTS,
    "music_track_name": TEXTS,
    "music_track_url": TEXTS,
    "credits": [*COUNTS, 2**31 - 1],
    "entry_count": COUNTS,
    "event_count": COUNTS,
    "version": COUNTS,
    "attempt": COUNTS,
    "cost": COUNTS,
    "number": COUNTS,
    "queue_number": COUNTS,
    "render_progress": [-1, 0, 99, 100, 101, None],
    "status": STATUSES,
    "volume_background_music": [-0.1, 0.0, 1.0, 1.1, float("nan"), float("inf"), None],
    "volume_voice": [-0.1, 0.0, 1.0, 1.1, float("nan"), float("-inf"), None],
    "kind": ["SIGNUP", "PURCHASE", "REWARD", "ADJUSTMENT", "CHARGE", "REFUND", "GIFT", "", None],
    "amount": [*COUNTS, 2**31 - 1, -(2**31)],
    "balance_after": [*COUNTS, 2**31 - 1],
    "video_id": [VIDEO, None],
    "request_hash": [bytes(31), bytes(32), bytes(33), b"", None],
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
    overriding = "OVERRIDING SYSTEM VALUE" if table.endswith("users") else ""
    try:
        async with connection.transaction():
            await connection.execute(f"INSERT INTO {table} ({names}) {overriding} VALUES ({places})", *row.values())
    except asyncpg.IntegrityConstraintViolationError as error:
        return Refusal(error.sqlstate, error.args[0], error.table_name, error.constraint_name)
    return None


def refusal(rule: str) -> Refusal:
    table = table_of(rule)
    return Refusal("23514", f'new row for relation "{table}" violates check constraint "{rule}"', table, rule)


async def alone(connection: Connection) -> Connection:
    """Put copies of the tables before them that have their rules and no foreign keys, triggers or unique indexes."""
    for table in SOUND:
        what = "CONSTRAINTS INCLUDING DEFAULTS INCLUDING IDENTITY"
        await connection.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table} INCLUDING {what})")
    return connection


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield await alone(opened)
    await opened.close()


@pytest.fixture
async def first_dsn(new_database: NewDatabase) -> str:
    """Lead to a database that knows only the first migration."""
    dsn = await new_database()
    opened = await asyncpg.connect(dsn)
    await opened.execute(f"{FIRST_TABLES}; CREATE TABLE alembic_version AS SELECT '0001' AS version_num")
    await opened.close()
    return dsn


@pytest.fixture
async def first(first_dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(first_dsn)
    yield await alone(opened)
    await opened.close()


async def test_every_rule_is_broken_here(first: Connection) -> None:
    """Each of the first tables' CHECKs is broken below."""
    rules = await first.fetch("SELECT DISTINCT conname FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0")
    assert {rule["conname"] for rule in rules} == set(BREACHES)


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


@pytest.mark.parametrize("table", SOUND)
async def test_the_rules_are_the_first_checks(first: Connection, connection: Connection, table: str) -> None:
    """Whatever a row has in a few of its columns, the rules judge it as the first tables' CHECKs did, word for word."""
    chance = random.Random(table)
    columns = [column for column in SOUND[table] if column in TRIED]
    verdicts: set[Refusal | None] = set()
    for tried in range(400):
        base = SOUND[table] | (CHARGE if table == "credit_entries" and tried % 2 else {})
        row = base | {
            column: chance.choice(TRIED[column]) for column in chance.sample(columns, min(len(columns), 1 + tried % 4))
        }
        verdict = await insert(first, table, row)
        assert await insert(connection, table, row) == verdict, row
        verdicts.add(verdict)
    assert {None, *(refusal(rule) for rule in BREACHES if table_of(rule) == table)} <= verdicts


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


async def test_rows_are_counted(dsn: str) -> None:
    """Migrating a database with rows counts them for the quotas, and leaves nothing for the verifier to find."""
    async with opened(dsn) as database:
        await use(database, 6)
        await Account.open(database, 10)
        videos = await database.rows("SELECT user_id, id FROM video_data ORDER BY id")
        for number, video in enumerate(videos):
            stored = {"script": "É" * 40_000 * number, "config": {"é": [number] * 9}, "caption_json": number or None}
            await update_video_data(database, video["user_id"], video["id"], None, stored)
        # Some charges of an earlier day, as most have by then.
        await database.pool.execute(
            """ALTER TABLE credit_entries DISABLE TRIGGER credit_entries_append_only;
               UPDATE credit_entries SET created_at = created_at - interval '1 day' WHERE number < 5;
               ALTER TABLE credit_entries ENABLE TRIGGER credit_entries_append_only;"""
        )
        counted = "SELECT stored_bytes, creations FROM users ORDER BY stored_bytes DESC"
        assert [tuple(row) for row in await database.rows(counted)] == [
            (65_536 * (1 + 2 + 3 + 4 + 5 + 7), 6),
            (0, 0),
        ]
        await database.pool.execute(
            """DROP FUNCTION json_bytes, video_stored_bytes, utc_today, creations_today;
               ALTER TABLE users DROP COLUMN stored_bytes, DROP COLUMN creations_day, DROP COLUMN creations;
               ALTER TABLE video_data ADD COLUMN script text, ADD COLUMN caption jsonb, ADD COLUMN images jsonb,
                 ADD COLUMN caption_json jsonb, ADD COLUMN config jsonb;
               UPDATE video_data SET (script, caption, images, caption_json, config) =
                 (content.script, content.caption, content.images, content.caption_json, content.config)
               FROM video_contents AS content WHERE content.video_id = video_data.id;
               DROP TABLE video_contents"""
        )
        await database.pool.execute(QUOTAS)
        await database.pool.execute(CONTENTS)
    async with opened(dsn) as database:
        assert [tuple(row) for row in await database.rows(counted)] == [
            (65_536 * (1 + 2 + 3 + 4 + 5 + 7), 4),
            (0, 0),
        ]
        await use(database, 2)
    assert await faults(dsn) == []


async def test_who_is_at_work_goes_on(dsn: str, ship: Callable[[str], None]) -> None:
    """Processes that write while their database is migrated go on, with statements that they had prepared before it."""
    migrated = asyncio.Event()

    async def work() -> None:
        over = False
        while not over:
            over = migrated.is_set()
            await use(database, 4)

    ship(
        """LOCK TABLE users, video_data, credit_entries, video_events;
           ALTER TABLE users ADD COLUMN more integer NOT NULL DEFAULT 0;
           ALTER TABLE video_data ADD COLUMN more integer NOT NULL DEFAULT 0;
           UPDATE users SET more = 1"""
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
    """A statement that writes several entries of a user is refused unless each follows from the one before it."""
    change = """
        WITH entry AS (
          INSERT INTO credit_entries
            (user_id, number, kind, amount, balance_after, idempotency_key, request_hash, actor)
          SELECT $1, number, 'ADJUSTMENT', amount, balance_after, number, decode(repeat('00', 32), 'hex'), 'ADMIN:root'
          FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS given (number, amount, balance_after)
        )
        UPDATE users SET credits = 7, entry_count = $5, version = $5 WHERE user_id = $1"""
    numbers, amounts, balances = zip(*entries, strict=True)
    async with opened(dsn) as database:
        await Account(database, ANN).register(10)
        if explained:
            await database.pool.execute(change, ANN, numbers, amounts, balances, max(numbers))
        else:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError) as caught:
                await database.pool.execute(change, ANN, numbers, amounts, balances, max(numbers))
            assert caught.value.constraint_name == "users_credits_explained"
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
