"""The tables can be distributed by wallet, and partitioned by it: nothing that mutations touch spans wallets."""

import re
import shutil
from pathlib import Path

import asyncpg
import pytest

import db.database
import db.migrate
from db.function import FUNCTIONS
from db.migrate import MIGRATIONS, migrate
from db.verify import TABLES, verify
from tests.conftest import NewDatabase
from tests.db.test_statements import NAMES, TEXTS
from tests.race import Account, at_once, check_answers_agree

# Each table with the column that routes its rows: a user's own wallet has the user's id.
ROUTED_BY = {
    "wallets": "wallet_id",
    "users": "user_id",
    "video_data": "wallet_id",
    "video_contents": "wallet_id",
    "credit_entries": "wallet_id",
    "video_events": "wallet_id",
}
# Lists over all wallets, for administrators and workers; and the poll of a process, which asks for the whole queue too.
OVER_ALL_WALLETS = {
    *("count_video_data", "get_queue_positions", "list_all_videos", "list_render_queue", "list_users", "poll_changes"),
    "read_catalog",
}
PARTITIONED = ("credit_entries", "video_events")


async def test_every_table_is_routed(dsn: str) -> None:
    """Each table is routed by one column, the first of its primary key."""
    connection = await asyncpg.connect(dsn)
    keys = await connection.fetch(
        """
        SELECT indrelid::regclass::text AS relation, attname AS first_column
        FROM pg_index INNER JOIN pg_attribute ON indrelid = attrelid AND indkey[0] = attnum
        WHERE indisprimary AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        """
    )
    await connection.close()
    assert {key["relation"]: key["first_column"] for key in keys} == ROUTED_BY | {"alembic_version": "version_num"}


async def test_nothing_is_unique_over_wallets(dsn: str) -> None:
    """Each unique index contains the column that routes its rows; each foreign key joins rows of one wallet."""
    connection = await asyncpg.connect(dsn)
    unique = await connection.fetch(
        """
        SELECT indrelid::regclass::text AS relation, array_agg(attname::text) AS columns
        FROM pg_index INNER JOIN pg_attribute ON indrelid = attrelid AND attnum = ANY (indkey)
        WHERE indisunique AND indrelid = ANY ($1::text[]::regclass[])
        GROUP BY indexrelid, indrelid
        """,
        list(ROUTED_BY),
    )
    foreign = await connection.fetch(
        """
        SELECT conrelid::regclass::text AS relation, confrelid::regclass::text AS referenced,
          ours.attname AS from_column, theirs.attname AS to_column
        FROM pg_constraint
        INNER JOIN pg_attribute AS ours ON conrelid = ours.attrelid AND conkey[1] = ours.attnum
        INNER JOIN pg_attribute AS theirs ON confrelid = theirs.attrelid AND confkey[1] = theirs.attnum
        WHERE contype = 'f'
        """
    )
    await connection.close()
    assert len(unique) > len(ROUTED_BY)
    assert [index for index in unique if ROUTED_BY[index["relation"]] not in index["columns"]] == []
    assert len(foreign) >= len(ROUTED_BY) - 1
    for key in foreign:
        routed = (ROUTED_BY[key["relation"]], ROUTED_BY[key["referenced"]])
        assert (key["from_column"], key["to_column"]) == routed, key


async def test_no_number_is_given_out_over_wallets(dsn: str) -> None:
    """There is no sequence, and no column takes its value from one."""
    connection = await asyncpg.connect(dsn)
    sequences = await connection.fetchval("SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relpersistence <> 't'")
    identities = await connection.fetchval("SELECT count(*) FROM pg_attribute WHERE attidentity <> ''")
    await connection.close()
    assert (sequences, identities) == (0, 0)


def sources(sql: str) -> list[str]:
    """Return the tables that a statement reads, changes or locks, once for each use."""
    named = re.findall(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)", re.sub(r"--.*", "", sql))
    return [name for name in named if name in ROUTED_BY or name == "user_wallets"]


@pytest.mark.parametrize("name", sorted(set(NAMES) - OVER_ALL_WALLETS))
def test_a_query_names_its_wallets(name: str) -> None:
    """Each table in a query is restricted to given wallets, or joined by them."""
    routing = re.findall(r"\b(?:wallet_id|user_wallets\.user_id)\s*= ", TEXTS[name])
    assert 0 < len(sources(TEXTS[name])) <= len(routing)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_is_routed_by_its_first_argument(name: str) -> None:
    """A mutation's function takes the wallets first, by which a distributed PostgreSQL finds where to run it."""
    first, *_ = FUNCTIONS[name].arguments.split()
    assert first == ("user_id_of" if name == "register_user" else "wallet_id_of")


@pytest.fixture
async def partitioned(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Lead to a database whose ledger and history are partitioned by wallet, and are otherwise what is migrated."""
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    (first,) = (migrations / "versions").glob("0009_*.sql")
    sql = first.read_text("utf-8")
    for table in PARTITIONED:
        parts = "".join(
            f"\nCREATE TABLE {table}_{each} PARTITION OF {table} FOR VALUES WITH (MODULUS 4, REMAINDER {each});"
            for each in range(4)
        )
        sql, count = re.subn(
            rf"(CREATE TABLE {table} \(.*?\n\));", rf"\1 PARTITION BY HASH (wallet_id);{parts}", sql, flags=re.DOTALL
        )
        assert count == 1
    first.write_text(sql, "utf-8")
    monkeypatch.setattr(db.migrate, "MIGRATIONS", migrations)
    dsn = await new_database()
    await migrate(dsn)
    return dsn


async def test_the_ledger_and_the_history_can_be_partitioned(partitioned: str) -> None:
    """On partitioned tables every statement runs as it is, races end as they do, and the data keep every rule."""
    connection = await asyncpg.connect(partitioned)
    for name in NAMES:
        await connection.prepare(TEXTS[name])
    database = await db.database.connect(partitioned, pool_size=210, timeout_seconds=60)
    for held in (False, True):
        for _ in range(5):
            account = await Account.open(database, 10)
            answers = await at_once(account, [account.create(f"key {each}") for each in range(30)], held=held)
            check_answers_agree(answers)
            videos = [answer.video.id for answer in answers if answer.outcome == "created" and answer.video]
            assert len(videos) == 10
            ended = await at_once(account, [account.report(video, "FAILED") for video in videos * 3], held=held)
            assert sum(answer.outcome == "moved" for answer in ended) == 10
            retried = await at_once(account, [account.retry(video, f"again {video}") for video in videos], held=held)
            assert {answer.outcome for answer in retried} == {"restarted"}
            assert (await account.wallet()).credits == 0
            assert len(await account.ledger()) == 31
    await database.close()
    broken = [checked async for checked in verify(connection) if checked.broken and checked.invariant != TABLES]
    assert broken == []
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute("UPDATE credit_entries SET amount = 1")
    await connection.close()
