"""At 100,000 videos no statement of the hot path reads a whole table, planned for its parameters or for any."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

import db.database
from db.function import FUNCTIONS
from db.group_commit import WRITERS_SESSION_SETTINGS
from tests.db.test_mutations import MUTATIONS
from tests.db.test_statements import ORDERS

BLOCKS_MAX = 250  # Of 8 KiB; the tables have thousands.
LOAD = (Path(__file__).parents[1] / "hundred_thousand_videos.sql").read_text(encoding="utf-8")
NAMES = sorted(file.name.removesuffix(".sql") for file in (files("db") / "queries").iterdir() if file.is_file())
SEEING_ALL = {"count_video_data", "read_catalog"}  # The admin page counts all videos; `verify` looks at all objects.
STATEMENTS = [
    pytest.param(name, text, id=f"{name} {order}")
    for name in sorted(set(NAMES) - SEEING_ALL)
    for order, text in enumerate(ORDERS[name])
]
TABLES = ("wallets", "users", "user_wallets", "video_data", "video_contents", "credit_entries", "video_events")
# A statement's use of a table, to the end of the line: an alias may follow.
USE = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INSERT INTO) (?:{'|'.join(TABLES)})\b[^;\n]*")
# Each statement's plan is sent as a notice, also of those inside functions; a notice is not in the server's log.
EXPLAINING = {
    "log_min_duration": "0",
    "log_nested_statements": "on",
    "log_analyze": "on",
    "log_buffers": "on",
    "log_timing": "off",
    "log_format": "json",
    "log_level": "notice",
}

# Quoted: asyncpg's classes are generic only to type checkers.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"


@pytest.fixture(scope="module")
def full_dsn(cluster_dsn: str, template: str) -> Iterator[str]:
    """Lead a superuser to a database with 100,000 videos; no test leaves anything in it."""
    dsn = urlsplit(cluster_dsn)._replace(path="/hundred_thousand_videos").geturl()

    async def make() -> None:
        administrator = await asyncpg.connect(cluster_dsn)
        await administrator.execute(f"CREATE DATABASE hundred_thousand_videos TEMPLATE {template}")
        await administrator.close()
        connection = await asyncpg.connect(dsn)
        await connection.execute(LOAD)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()

    async def drop() -> None:
        administrator = await asyncpg.connect(cluster_dsn)
        await administrator.execute("DROP DATABASE hundred_thousand_videos WITH (FORCE)")
        await administrator.close()

    asyncio.run(make())
    yield dsn
    asyncio.run(drop())


@pytest.fixture
async def connection(full_dsn: str) -> AsyncIterator["PoolConnectionProxy[asyncpg.Record]"]:
    """Connect as the server does, with its settings."""
    database = await db.database.connect(full_dsn, pool_size=1, timeout_seconds=60)
    async with database.pool.acquire() as acquired:
        yield acquired
    await database.close()


async def arguments(connection: Connection, older: int = 3_000) -> dict[str, list[tuple[Any, ...]]]:
    """Give each statement and function arguments as they are mostly sent, but for a user who has very many videos.

    ``older`` videos of the same status precede each video. Together the calls reach every use of a table in a function.
    """
    sample = """SELECT wallet_id, id, idempotency_key FROM video_data
                WHERE wallet_id = md5('user 0')::uuid AND status = $1 ORDER BY id OFFSET $2 LIMIT 1"""
    rendering, failing = [await connection.fetchrow(sample, status, older) for status in ("RENDERING", "FAILED")]
    assert rendering is not None
    assert failing is not None
    user, video, _ = rendering
    _, failed, key = failing
    users, videos, keys = [user, UUID(hashlib.md5(b"user 1").hexdigest())], [video, failed], ["fresh", key]
    half = "(SELECT count(queue_id) / 2 FROM video_data)"
    queued = await connection.fetchval(
        f"SELECT queue_id FROM video_data WHERE queue_id IS NOT NULL ORDER BY queue_id OFFSET {half} LIMIT 1"
    )
    registered = await connection.fetchval("SELECT registered_id FROM users ORDER BY registered_id OFFSET 2000 LIMIT 1")
    hash_, number_max, id_max, id_min = b"\0" * 32, 2**63 - 1, UUID(int=2**128 - 1), UUID(int=0)
    creation = (1, "USER:x", "T", "S", None, None, None, None, None, None, 1_000, 2**40)
    return {
        "adjust_user_credits": [(user, key, hash_, user, 5, False, "REWARD", "ADMIN:x", None, 1) for key in keys],
        "create_video_data": [(user, key, hash_, user, *creation, 1) for key in keys],
        "get_credit_entries": [(users, [3, 5])],
        "get_queue_positions": [([queued],)],
        "get_users": [(users,)],
        "get_viewers": [(users,)],
        "get_video_content": [([user, user], videos, ["caption_json"], 2**30)],
        "get_video_data": [([user, user], videos)],
        "get_video_events": [([user, user], videos, [1, 2])],
        "list_added_credit_entries": [(users, [after, 1], 100) for after in (0, 20_000)],
        "list_all_videos": [(after, id_min, 21, None, False) for after in (id_max, video)],
        "list_credit_entries": [(users, after, 0, 21) for after in (number_max, 20_000)],
        "list_credit_entries_of_video": [([user, user], videos, number_max, 0, 21)],
        "list_render_queue": [(after, id_max, 21) for after in (id_min, queued)],
        "list_users": [(after, id_min, 21) for after in (id_max, registered)],
        "list_video_events": [([user, user], videos, 2**31 - 1, 0, 21)],
        "list_videos": [
            (users, after, id_min, 21, statuses, False) for after in (id_max, video) for statuses in (None, ["FAILED"])
        ],
        "poll_changes": [
            (users, [1, 2], [user, user], videos, [1, 2], users, [21, 21], statuses, [False, None], ["-", "-"], True)
            for statuses in (["FAILED", "RENDERING"], [None, None])
        ],
        "register_user": [(user_id, "x", '{"name": "Ann"}', 10, "USER:x", 1) for user_id in (user, id_max)],
        "retry_video_data": [(user, failed, key, hash_, 1, "USER:x", 1_000, 1) for key in keys],
        "trash_video_data": [(user, video, True, 1)],
        "update_video_data": [
            (user, each, 1, json.dumps({"script": "Once." * times}), 2**40, 1)
            for each in (video, failed)  # The latter has no content yet.
            for times in (20_000, 1)
        ],
        "update_video_record_status": [
            (user, video, None, '"note"', 50, None, 1, "WORKER:x", 1),
            (user, video, "FAILED", None, None, None, None, "WORKER:x", 2),
            (user, failed, "FAILED", None, None, None, None, "WORKER:x", 3),
        ],
    }


def literal(value: Any) -> str:
    """Write an argument as EXECUTE takes it."""
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"'\\x{value.hex()}'"
        case list() | tuple():
            elements = (f'"\\\\x{each.hex()}"' if isinstance(each, bytes) else each for each in value)
            return f"'{{{','.join('NULL' if each is None else str(each) for each in elements)}}}'"
        case _:
            return f"'{value}'"


async def plans(connection: Connection, name: str, calls: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Run a function for these calls, and roll back; return the statements with their plans, the call itself last.

    It runs twice, and only the second time counts: when a connection first uses a function, it reads catalogs.
    """
    notices: list[str] = []
    arrays = list(zip(*calls, strict=True))

    def add(_: object, notice: asyncpg.PostgresLogMessage) -> None:
        notices.append(notice.message)

    for _ in range(2):
        changing = connection.transaction()
        await changing.start()
        connection.add_log_listener(add)
        notices.clear()
        await connection.fetch(MUTATIONS[name].text, *arrays)
        await changing.rollback()
        connection.remove_log_listener(add)
    return [json.loads(notice.partition("plan:\n")[2]) for notice in notices]


async def explain(connection: Connection) -> None:
    """Have a connection of a superuser's send the plans of all that it runs."""
    await connection.execute("LOAD 'auto_explain'")
    for setting, value in EXPLAINING.items():
        await connection.execute(f"SET auto_explain.{setting} = {value}")


def not_run(name: str, explained: list[dict[str, Any]]) -> list[str]:
    """List the function's uses of tables that are in none of the statements that ran."""
    uses = USE.findall(re.sub(r"--.*", "", FUNCTIONS[name].sql))
    assert uses
    return [use for use in uses if not any(use in each["Query Text"] for each in explained[:-1])]


def finds_by_key(scan: dict[str, Any]) -> bool:
    """Return whether a scan has an index condition that leaves at most one row, of all those that a user has."""
    rows: float = scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)
    return rows <= 1 and ("Index Cond" in scan or scan["Node Type"] == "Bitmap Heap Scan")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


async def test_every_statement_is_looked_at(connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
    """Every statement is explained below but those that have to see everything."""
    assert set(await arguments(connection)) == {*NAMES, *FUNCTIONS} - SEEING_ALL


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(("name", "text"), STATEMENTS)
async def test_no_whole_table_is_read(
    connection: "PoolConnectionProxy[asyncpg.Record]", name: str, text: str, mode: str
) -> None:
    """A statement scans no table, and touches few blocks, whether it is planned for its arguments or for any."""
    await connection.execute(f"SET plan_cache_mode = {mode}")
    await connection.execute(f"PREPARE explained AS {text}")
    for each in (await arguments(connection))[name]:
        execute = f"EXECUTE explained ({', '.join(map(literal, each))})"
        for _ in range(2):  # A connection compiles a CHECK's function at its first use, and reads catalogs for it.
            changing = connection.transaction()
            await changing.start()
            explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
            await changing.rollback()
        plan = json.loads(explained)[0]["Plan"]
        assert [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"] == [], each
        touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert touched < BLOCKS_MAX, (each, touched)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("name", FUNCTIONS)
async def test_no_whole_table_is_read_inside(
    connection: "PoolConnectionProxy[asyncpg.Record]", name: str, mode: str
) -> None:
    """The same holds of all that a function runs, and of its triggers and the checks of its foreign keys."""
    await explain(connection)
    await connection.execute(f"SET plan_cache_mode = {mode}")
    explained = []
    for call in (await arguments(connection))[name]:
        found = await plans(connection, name, [call])
        for each in found:
            assert [node["Relation Name"] for node in nodes(each["Plan"]) if node["Node Type"] == "Seq Scan"] == [], (
                each
            )
        plan = found[-1]["Plan"]
        assert plan["Node Type"] == "Function Scan"
        touched = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert touched < BLOCKS_MAX, (call, touched)
        explained += found
    assert not_run(name, explained) == []


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
async def test_a_writer_finds_rows_by_key_only(full_dsn: str, dsn: str, name: str, few: bool) -> None:
    """What runs for many calls finds rows by key only, also when it was planned while there were few rows."""
    connection = await asyncpg.connect(dsn if few else full_dsn)
    if few:  # Without rows, whatever a function does with a row that it has found would not be planned.
        await connection.execute(LOAD.replace("generate_series(0, 99999)", "generate_series(0, 11)"))
        assert await connection.fetchval("SELECT count(*) FROM video_data") == 12
    calls = (await arguments(connection, 1 if few else 3_000))[name]
    for setting, value in (db.database.SESSION_SETTINGS | WRITERS_SESSION_SETTINGS).items():
        await connection.execute(f"SET {setting} = {value}")
    await explain(connection)
    explained = await plans(connection, name, sorted(calls, key=itemgetter(0, 1)))
    await connection.close()
    assert not_run(name, explained) == []
    scans = [
        node
        for each in explained
        for node in nodes(each["Plan"])
        if {"Relation Name", "Index Name"} & set(node) and node["Node Type"] != "ModifyTable"
    ]
    wrong = [node for node in scans if not finds_by_key(node)]
    assert not wrong, wrong
