"""The verifier: silent on what the API made, however busily, and exact about each thing that is broken."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx2
import pytest

import db.database
import db.user
from db.catalog import MIGRATED, changed_objects, read_catalog
from db.statement import statement
from db.verify import BROKEN_ROWS_MAX, INVARIANTS, STATEMENTS, TABLES, Checked, verify
from resolvers.identity import Identity, Role
from server.app import create_app
from server.process.settings import Settings
from tests.api import SECRET, Api, Transport
from tests.conftest import NewDatabase
from tests.corruptions import CORRUPTIONS, DRIFTS, RENAMED, SUBJECTS, Found

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # Quoted: generic only to type checkers.


async def first_half(api: Api, subject: str) -> None:
    user_id = await api.register(subject)
    for key, amount, kind in [
        ("purchase", 20, "PURCHASE"),
        ("purchase too", 5, "PURCHASE"),
        ("reward", 3, "REWARD"),
        ("correction", -8, "ADJUSTMENT"),
    ]:
        assert (await api.adjust(user_id, amount, key, kind))["__typename"] == "AdjustUserCreditsSuccess"
    for key, statuses in {
        "done": ["GENERATING_AUDIO", "READY", "RENDER_QUEUED", "RENDERING", "COMPLETED"],
        "failed": ["GENERATING_IMAGES", "FAILED"],
        "canceled": ["CANCELED"],
        "retried": ["FAILED"],
    }.items():
        video_id = (await api.create(key, subject))["videoData"]["id"]
        for status in statuses:
            assert not (await api.report(video_id, status=status))["replayed"]


async def second_half(api: Api, subject: str) -> None:
    retried = (await api.create("retried", subject))["videoData"]["id"]
    restarted = await api.mutate("retryVideoData", subject=subject, recordId=retried, idempotencyKey="retry")
    assert restarted["user"]["credits"] == 26
    await api.report(retried, status="RENDERING", renderProgress=40, attempt=2)
    for key in ["waiting", "waiting too"]:
        video_id = (await api.create(key, subject))["videoData"]["id"]
        await api.report(video_id, status="RENDER_QUEUED")
    queued = await api.create("queued", subject, voice={"voiceId": "v1", "name": "Rachel"})
    assert queued["user"]["credits"] == 17
    track = {"name": "Waves", "url": "https://music.example/waves.mp3"}
    recorded = queued["videoData"]["id"]
    await api.mutate("updateVideoData", subject=subject, recordId=recorded, script="Once …", musicTrack=track)
    await api.mutate("trashVideoData", subject=subject, recordId=recorded)


@asynccontextmanager
async def calling(dsn: str, *, video_cost: int) -> AsyncIterator[Api]:
    app = create_app(Settings(jwt_secret=SECRET, video_cost=video_cost, log_level="warning"), dsn=dsn)
    async with app.router.lifespan_context(app):
        transport = Transport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield Api(client)


async def live(dsn: str) -> None:
    async with calling(dsn, video_cost=1) as api:
        for subject in ["ann", "bob"]:
            await first_half(api, subject)
        await api.register("cyd")
    database = await db.database.connect(dsn, pool_size=1, timeout_seconds=60)
    dan = Identity("dan", Role.USER)
    await db.user.register_user(database, dan.user_id, dan.subject, profile={}, signup_credits=0, actor=dan.actor)
    await database.close()
    async with calling(dsn, video_cost=3) as api:
        for subject in ["ann", "bob"]:
            await second_half(api, subject)
        await api.register("eve")
        await api.create("only", "eve")


@pytest.fixture(scope="module")
def lived_in(cluster_dsn: str, template: str) -> Iterator[str]:
    """Name a database to clone that the API has been used on."""
    name = "lived_in_of_tests"

    async def administer(sql: str) -> None:
        administrator = await asyncpg.connect(cluster_dsn)
        await administrator.execute(sql)
        await administrator.close()

    asyncio.run(administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    asyncio.run(live(urlsplit(cluster_dsn)._replace(path=f"/{name}").geturl()))
    yield name
    asyncio.run(administer(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def dsn(lived_in: str, new_database: NewDatabase) -> str:
    """Lead a superuser to a database of the test's own that the API has been used on."""
    return await new_database(f"TEMPLATE {lived_in} STRATEGY file_copy")


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def labels(connection: Connection) -> dict[UUID | None, str | None]:
    """Name each id: a user's by the subject, a video's by its idempotency key, and so that Bob's are told apart."""
    videos = await connection.fetch(
        "SELECT id, subject, idempotency_key FROM video_data INNER JOIN users USING (user_id)"
    )
    return {
        None: None,
        RENAMED: "renamed",
        **{Identity(subject, Role.USER).user_id: subject for subject in SUBJECTS},
        **{
            video["id"]: f"bob's {video['idempotency_key']}" if video["subject"] == "bob" else video["idempotency_key"]
            for video in videos
        },
    }


async def checked(connection: Connection, subject: str | None = None) -> list[Checked]:
    """Verify one user, or all."""
    user_id = None if subject is None else Identity(subject, Role.USER).user_id
    return [each async for each in verify(connection, user_id)]


async def found(
    connection: Connection, known: dict[UUID | None, str | None], subject: str | None = None
) -> list[Found]:
    """Verify one user, or all, and return what is broken."""
    return [
        Found(each.invariant, known[row.video_id], row.number, row.detail, known[row.wallet_id])
        for each in await checked(connection, subject)
        for row in each.broken
    ]


def in_order(broken: Iterable[Found]) -> list[Found]:
    return sorted(broken, key=repr)


async def unguard(connection: Connection) -> None:
    """Let anything be written from now on: no trigger, constraint or unique index is in the way."""
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(
        """
        DO $$ DECLARE statement text; BEGIN
          FOR statement IN
            SELECT CASE
              WHEN contypid = 0 THEN format('ALTER TABLE %s DROP CONSTRAINT %s CASCADE', conrelid::regclass, conname)
              ELSE format('ALTER DOMAIN %s DROP CONSTRAINT %s', contypid::regtype, conname)
            END
            FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
            ORDER BY array_position('{f,u,c,p,n}', contype)
          LOOP EXECUTE statement; END LOOP;
        END $$;
        DROP INDEX credit_entries_kind_once;
        """
    )


async def test_what_the_api_made_is_sound(connection: Connection) -> None:
    """After creations, moves, refunds, retries, purchases and edits, every invariant was checked and none is broken."""
    assert await checked(connection) == [Checked(invariant, [], 0) for invariant in INVARIANTS]
    for subject in SUBJECTS:
        assert await checked(connection, subject) == [
            Checked(invariant, [], 0) for invariant in INVARIANTS if invariant != TABLES
        ]


@pytest.mark.parametrize(("sql", "expected"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
async def test_corruption(connection: Connection, sql: str, expected: list[Found]) -> None:
    """Each corruption is found by exactly the invariants that it breaks, where it is, and nobody else is blamed."""
    known = await labels(connection)
    await unguard(connection)
    literals = {label: f"'{identifier}'" for identifier, label in known.items() if label}
    await connection.execute(sql.format_map(literals))
    everything = await found(connection, known)
    assert in_order(each for each in everything if each.invariant != TABLES) == in_order(expected)
    for subject in {"bob"} | {each.subject for each in expected}:
        theirs = [each for each in expected if each.subject == subject]
        assert in_order(await found(connection, known, subject)) == in_order(theirs)


@pytest.mark.parametrize(("sql", "expected"), DRIFTS.values(), ids=DRIFTS.keys())
async def test_drift(connection: Connection, sql: str, expected: list[str]) -> None:
    """What keeps the tables sound is found missing when it is, when all wallets are verified."""
    await connection.execute(sql)
    drifted = [(each.invariant, each.detail) for each in await found(connection, {None: None})]
    assert drifted == [(TABLES, detail) for detail in expected]
    assert await found(connection, {}, "ann") == []


def test_every_invariant_is_broken_here() -> None:
    """No invariant goes without a corruption that breaks it."""
    broken = {each.invariant for _, expected in CORRUPTIONS.values() for each in expected}
    assert DRIFTS
    assert broken | {TABLES} == set(INVARIANTS)


async def test_the_catalog_is_what_the_migrations_made(connection: Connection) -> None:
    """db/catalog.json lists what the migrations make of an empty database: `make schema` writes it again."""
    assert await read_catalog(connection) == MIGRATED


async def test_every_object_is_missed(connection: Connection) -> None:
    """Each constraint, index, trigger and function that was migrated is missed when it is gone, whatever it is."""
    gone = {
        "constraint": "SELECT format('ALTER TABLE %s RENAME CONSTRAINT %s TO x', conrelid::regclass, conname) "
        "FROM pg_constraint WHERE conname = $1 AND conrelid <> 0 "
        "UNION ALL SELECT format('ALTER DOMAIN %s DROP CONSTRAINT %s', contypid::regtype, conname) "
        "FROM pg_constraint WHERE conname = $1 AND contypid <> 0",
        "index": "SELECT format('ALTER INDEX %I RENAME TO x', $1::text)",
        "trigger": "SELECT format('ALTER TRIGGER %I ON %s RENAME TO x', tgname, tgrelid::regclass) "
        "FROM pg_trigger WHERE tgname = $1",
        "function": "SELECT format('ALTER FUNCTION %s RENAME TO x', oid::regprocedure) FROM pg_proc WHERE proname = $1",
        "view": "SELECT format('ALTER VIEW %I RENAME TO x', $1::text)",
        "domain": "SELECT format('ALTER DOMAIN %I RENAME TO x', $1::text)",
        "column": "SELECT format('ALTER TABLE %s RENAME %s TO x', split_part($1, '.', 1), split_part($1, '.', 2))",
    }
    tried = 0
    for name in MIGRATED:
        kind, _, called = name.partition(" ")
        if kind == "setting" or " RI_FKey_" in called or called.startswith("quota."):
            continue  # A setting is never gone; the others go with their constraint and with the answers of functions.
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(await connection.fetchval(gone[kind], called))
        assert f"{name} is missing" in await changed_objects(connection)
        await transaction.rollback()
        tried += 1
    assert tried > 150


async def test_every_statement_answers_alike(connection: Connection) -> None:
    """Each invariant's statement takes a user's id and answers with the columns of a broken row."""
    for invariant in STATEMENTS:
        prepared = await connection.prepare(statement(f"verify/{invariant}"))
        assert [kind.name for kind in prepared.get_parameters()] == ["uuid"], invariant
        assert [(column.name, column.type.name) for column in prepared.get_attributes()] == [
            ("wallet_id", "uuid"),
            ("video_id", "uuid"),
            ("number", "int8"),
            ("detail", "text"),
        ], invariant


async def test_more_than_can_be_told(connection: Connection) -> None:
    """Of many broken rows a bounded number is told, and how many more there are."""
    await connection.execute(
        """
        SET session_replication_role = replica;
        INSERT INTO wallets (wallet_id, credits) SELECT uuidv7(), 1 FROM generate_series(1, 105);
        SET session_replication_role = origin;
        """
    )
    assert BROKEN_ROWS_MAX == 100
    assert [(each.invariant, len(each.broken), each.more) for each in await checked(connection) if each.broken] == [
        ("balances_are_sums", 100, 5)
    ]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "ALTER TABLE video_data DROP COLUMN queue_id CASCADE",
            [
                ("queue_ids", 'cannot be checked: column "queue_id" does not exist'),
                ("tables", "column video_data.queue_id is missing"),
                ("tables", "constraint video_data_sound is missing"),
                ("tables", "index video_data_queue is missing"),
            ],
        ),
        (
            """
            ALTER TABLE credit_entries DROP CONSTRAINT credit_entries_number_once;
            SET session_replication_role = replica;
            INSERT INTO credit_entries (
              wallet_id, number, kind, amount, balance_after, user_id, idempotency_key, request_hash, actor
            )
            SELECT user_id, 9223372036854775807, 'REWARD', 1, 1, user_id, 'key ' || n, sha256(''), 'ADMIN:root'
            FROM users CROSS JOIN generate_series(1, 2) AS n WHERE subject = 'dan';
            UPDATE wallets SET credits = 2, version = 3, entry_count = 9223372036854775807
            FROM users WHERE wallet_id = user_id AND subject = 'dan';
            SET session_replication_role = origin
            """,
            [
                ("balances_are_newest", "credits are 2, balance_after of the newest entry is 1"),
                ("entry_balances", "balance_after is 1, but 1 with 1 added is 2"),
                ("entry_numbers", "cannot be checked: bigint out of range"),
                ("tables", "constraint credit_entries_number_once is missing"),
                ("tables", "index credit_entries_number_once is missing"),
            ],
        ),
    ],
    ids=["a column is gone", "a number is out of this world"],
)
async def test_what_cannot_be_checked(connection: Connection, sql: str, expected: list[tuple[str, str]]) -> None:
    """An invariant that cannot be checked is one that is broken, and keeps no other from being checked."""
    known = await labels(connection)
    await connection.execute(sql)
    assert [(each.invariant, each.detail) for each in await found(connection, known)] == expected


async def test_one_moment(dsn: str, connection: Connection) -> None:
    """All invariants are checked as of one moment, whatever others do meanwhile, and nothing can be changed by it."""
    checking = verify(connection)
    first = await anext(checking)
    assert await connection.fetchval("SHOW transaction_read_only") == "on"
    other: Connection = await asyncpg.connect(dsn)
    await other.execute("UPDATE video_data SET version = 1 WHERE idempotency_key = 'done'")
    await other.close()
    assert [each for each in [first, *[each async for each in checking]] if each.broken] == []
    assert [each.invariant for each in await checked(connection) if each.broken] == ["video_versions"]


async def test_no_timeout(connection: Connection) -> None:
    """However long it takes, no timeout of the session cuts it short; afterwards they are what they were."""
    timeouts = ["statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"]
    for timeout in timeouts:
        await connection.execute(f"SET {timeout} = '61s'")
    async for _ in verify(connection):
        assert [await connection.fetchval(f"SHOW {timeout}") for timeout in timeouts] == ["0", "0", "0"]
    assert [await connection.fetchval(f"SHOW {timeout}") for timeout in timeouts] == ["61s", "61s", "61s"]


async def test_a_live_system(dsn: str, connection: Connection) -> None:
    """A database verifies cleanly while it is written to by every kind of mutation."""
    stopped = False
    writes = 0

    async def work(api: Api, seed: int) -> None:
        nonlocal writes
        chance = random.Random(seed)
        users = {subject: await api.register(subject, 10_000) for subject in ["ann", "bob", "eve"]}
        mine = [(subject, (await api.create(f"{seed}", subject))["videoData"]["id"]) for subject in users]
        while not stopped:
            writes += 1
            key = f"{seed}: {writes}"
            subject, video_id = chance.choice(mine)
            match chance.randrange(6):
                case 0:
                    created = await api.create(key, subject)
                    if created["__typename"] == "CreateVideoDataSuccess":
                        mine.append((subject, created["videoData"]["id"]))
                case 1:
                    kind = chance.choice(["PURCHASE", "ADJUSTMENT"])
                    await api.adjust(users[subject], chance.choice([-3, 5]), key, kind)
                case 2:
                    await api.mutate("retryVideoData", subject=subject, recordId=video_id, idempotencyKey=key)
                case 3:
                    await api.mutate("updateVideoData", subject=subject, recordId=video_id, script=key)
                case _:
                    moves = ["READY", "RENDER_QUEUED", "RENDERING", "COMPLETED", "FAILED", "CANCELED"]
                    await api.report(video_id, status=chance.choice(moves))

    async with calling(dsn, video_cost=2) as api, asyncio.TaskGroup() as tasks:
        for seed in range(4):
            tasks.create_task(work(api, seed))
        during = 0  # how many checks there were in which something was written
        async with asyncio.timeout(60):
            while during < 3:
                before = writes
                assert [each for each in await checked(connection) if each.broken] == []
                during += writes > before
        stopped = True
