"""People can be erased: nothing that names them or that they wrote is left, and no number changes."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections import Counter
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

import db.credit_entry
import db.user
import db.video_data
from db.database import Database
from db.person import Person, erase, export
from resolvers.identity import Identity, Role
from server.postgres.programs import find_programs
from tests.race import blocked, check_verified

pytestmark = pytest.mark.usefixtures("lived")

# Whatever Ann's rows hold that is hers has one of these in it.
PLANTED = ("planted", "ann-4711")
ANN, BOB = Identity("auth0|ann-4711", Role.USER), Identity("bob", Role.USER)
PERSON = Person(ANN.user_id, [Identity(ANN.subject, role).actor for role in Role])
ERASER = "ADMIN:videocredits erase"
TABLES = ("wallets", "users", "video_data", "video_contents", "credit_entries", "video_events")
URL = "https://example.com/"
KEPT: dict[str, set[str]] = {
    "wallets": {"wallet_id", "first_purchased_at", "creations_day", "creations"},
    "users": {"user_id", "registered_id", "created_at", "request_id", "request_ids"},
    "video_data": {"wallet_id", "id", "user_id", "cost", "attempt", "created_at", "trashed_at", "volume_voice"},
    "video_contents": set(),
    "credit_entries": {
        *("wallet_id", "number", "kind", "amount", "balance_after", "uncovered", "user_id", "video_id", "attempt"),
        *("created_at", "request_id"),
    },
    "video_events": {"wallet_id", "video_id", "number", "status", "attempt", "created_at"},
}
Rows = dict[str, dict[tuple[Any, ...], dict[str, Any]]]


async def create(database: Database, wallet_id: UUID, owner: Identity, by: Identity, key: str, text: str) -> UUID:
    created = await db.video_data.create_video_data(
        database,
        wallet_id,
        f"{text} {key}",
        b"h" * 32,
        owner.user_id,
        1,
        by.actor,
        title=f"{text} title",
        video_style=f"{text} style",
        topic=f"{text} topic",
        script=f"{text} script" * 10_000,
        caption={"font": f"{text} font"},
        voice_id=f"{text} voice",
        voice_name=f"{text} name",
        created_by=f"{text}@example.com",
    )
    assert created.video is not None
    return created.video.id


async def report(database: Database, wallet_id: UUID, video_id: UUID, status: str, by: Identity, text: str) -> str:
    reported = await db.video_data.update_video_record_status(
        database, wallet_id, video_id, status, {"why": f"{text} comment"}, None, None, None, by.actor
    )
    return reported.outcome


async def live(database: Database, person: Identity, text: str, others: list[Identity], team_id: UUID) -> None:
    """Let a person use everything: an own wallet and a team's, videos in every state, and all three roles."""
    user, worker, admin = (Identity(person.subject, role) for role in Role)
    profile = {"name": f"{text} name", "email": f"{text}@example.com", "picture": f"{URL}{text}.png"}
    await db.user.register_user(database, person.user_id, person.subject, profile, 10, user.actor)
    await db.user.adjust_user_credits(
        database,
        person.user_id,
        f"{text} buys",
        bytes(32),
        person.user_id,
        20,
        False,
        "PURCHASE",
        "ADMIN:root",
        f"{text} memo",
    )
    for wallet_id in (person.user_id, team_id):
        for status in ("QUEUED", "RENDER_QUEUED", "RENDERING", "FAILED", "CANCELED", "COMPLETED"):
            video_id = await create(database, wallet_id, person, user, status, text)
            stored: dict[str, Any] = {
                "images": [{"image": URL + text}],
                "music_track_name": text,
                "music_track_url": URL + text,
            }
            stored |= {"audio_url": URL + text, "render_id": text, "bucket_name": text, "config": {"a": text}}
            await db.video_data.update_video_data(database, wallet_id, video_id, None, stored)
            if status != "QUEUED":
                await report(database, wallet_id, video_id, status, Identity("render-1", Role.WORKER), text)
            if status == "CANCELED":
                again = f"{text} again"
                await db.video_data.retry_video_data(database, wallet_id, video_id, again, bytes(32), 1, user.actor)
                await report(database, wallet_id, video_id, "CANCELED", user, text)
    for other in others:
        video_id = await create(database, other.user_id, other, admin, "for another", "other")
        await report(database, other.user_id, video_id, "RENDERING", worker, "other")
        await db.user.adjust_user_credits(
            database,
            other.user_id,
            f"by {person.user_id}",
            bytes(32),
            other.user_id,
            1,
            False,
            "REWARD",
            admin.actor,
            "thanks",
        )


async def texts(database: Database, table: str) -> set[str]:
    """Return the columns of a table that hold text or JSON."""
    columns = await database.pool.fetch(
        """SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0
           AND atttypid IN ('text'::regtype, 'jsonb'::regtype)""",
        table,
    )
    return {column["attname"] for column in columns}


@pytest.fixture
async def lived(database: Database) -> None:
    """Let Bob live, and Ann, who works for Bob too; both spend from a team's wallet."""
    team_id = uuid4()
    await database.pool.execute("INSERT INTO wallets (wallet_id) VALUES ($1)", team_id)
    await db.user.adjust_user_credits(
        database, team_id, "funds", bytes(32), BOB.user_id, 100, False, "PURCHASE", "ADMIN:root", "funds"
    )
    await live(database, BOB, "bobs", [], team_id)
    await live(database, ANN, "planted", [BOB], team_id)
    # Whatever columns there are, and whether the API fills them or not.
    for name in await texts(database, "video_data"):
        value = "to_jsonb('planted'::text)" if name == "comments" else "'planted'"
        if name != "idempotency_key":
            await database.pool.execute(
                f"UPDATE video_data SET {name} = coalesce({name}, {value}) WHERE user_id = $1", ANN.user_id
            )


async def rows(database: Database) -> Rows:
    """Return all rows, by table and key."""
    found: Rows = {}
    for table in TABLES:
        key = ("wallet_id", "user_id", "id", "video_id", "number")
        found[table] = {
            tuple(record.get(column) for column in key if table != "video_data" or column != "video_id"): dict(record)
            for record in await database.pool.fetch(f"SELECT * FROM {table}")
        }
    return found


async def dump(dsn: str) -> str:
    process = await asyncio.create_subprocess_exec(find_programs(None) / "pg_dump", dsn, stdout=PIPE)
    dumped, _ = await process.communicate()
    assert process.returncode == 0
    return dumped.decode()


async def erased(
    dsn: str, database: Database, *, dry_run: bool = False, rows_at_once: int = 1_000, steps: int | None = None
) -> Counter[str]:
    """Erase Ann, stopping after so many steps; return what was erased."""
    counts: Counter[str] = Counter()
    connection = await asyncpg.connect(dsn)
    try:
        erasure = erase(connection, database, PERSON, ERASER, dry_run=dry_run, rows_at_once=rows_at_once)
        async with aclosing(erasure) as each:
            async for step in each:
                counts[step.what] += step.rows
                steps = None if steps is None else steps - 1
                if steps == 0:
                    break
    finally:
        await connection.close()
    return counts


async def check_gone(dsn: str) -> None:
    dumped = await dump(dsn)
    assert [text for text in PLANTED if text in dumped] == []
    await check_verified(dsn)


async def test_nothing_of_a_person_is_left(database: Database, dsn: str) -> None:
    """After erasure no table has the subject, the e-mail or a text; `verify` keeps all; every number is as before."""
    before, dumped = await rows(database), await dump(dsn)
    assert all(text in dumped for text in PLANTED)
    counts = await erased(dsn, database)
    assert counts["videos canceled"] == 6
    assert counts["videos not canceled"] == 0
    await check_gone(dsn)

    after = await rows(database)
    for table, kept in KEPT.items():
        for key, row in before[table].items():
            if table == "video_contents" and row["video_id"] is not None and key not in after[table]:
                continue
            for column in kept:
                assert after[table][key][column] == row[column], (table, key, column)
    refunds = sum(
        row["cost"]
        for row in before["video_data"].values()
        if row["user_id"] == ANN.user_id and row["status"] not in {"FAILED", "CANCELED", "COMPLETED"}
    )
    assert (
        sum(row["credits"] for row in after["wallets"].values())
        == sum(row["credits"] for row in before["wallets"].values()) + refunds
    )
    new = [row for key, row in after["credit_entries"].items() if key not in before["credit_entries"]]
    assert {(row["kind"], row["actor"]) for row in new} == {("REFUND", ERASER)}

    assert await erased(dsn, database) == {}
    assert await rows(database) == after


async def test_what_looks_erased_is_erased(database: Database, dsn: str) -> None:
    """A client's key and a provider's subject that look like pseudonyms leave no hash and no profile behind."""
    odd = Identity(f"erased:{uuid4()}", Role.USER)
    await db.user.register_user(database, odd.user_id, odd.subject, {}, 10, odd.actor)
    await db.user.adjust_user_credits(
        database, odd.user_id, f"erased:{uuid4()}", b"h" * 32, odd.user_id, 1, False, "REWARD", odd.actor, None
    )
    connection = await asyncpg.connect(dsn)
    person = Person(odd.user_id, [odd.actor])
    counts = Counter([step.what async for step in erase(connection, database, person, ERASER)])
    await connection.close()
    assert counts == {"users": 1, "credit_entries": 1}
    assert odd.subject not in await dump(dsn)
    hashes = await database.pool.fetch("SELECT request_hash FROM credit_entries WHERE wallet_id = $1", odd.user_id)
    assert {row["request_hash"] for row in hashes} == {None, bytes(32)}
    await check_verified(dsn)


async def test_no_text_is_forgotten(database: Database) -> None:
    """Of the other tables with text, each column is one that erasure knows; rows of content are deleted as a whole."""
    assert {
        table: await texts(database, table) for table in TABLES if table not in {"video_data", "video_contents"}
    } == {
        "wallets": set(),
        "users": {"subject", "name", "email", "picture"},
        "credit_entries": {"actor", "memo", "idempotency_key"},
        "video_events": {"actor", "comments"},
    }


async def test_other_peoples_rows_are_untouched(database: Database, dsn: str) -> None:
    """Of Bob's rows nothing changes but the actor, where Ann was it: the role stays, and a pseudonym stands for her."""
    before = await rows(database)
    await erased(dsn, database)
    after = await rows(database)
    actors = {f"{role}:{ANN.subject}": f"{role}:erased:{ANN.user_id}" for role in Role}
    seen = Counter[str]()
    videos = {row["id"] for row in before["video_data"].values() if row["user_id"] == BOB.user_id}
    for table in TABLES:
        for key, row in before[table].items():
            if BOB.user_id in (row.get("user_id"), row.get("wallet_id")) or row.get("video_id") in videos:
                if (actor := row.get("actor")) in actors:
                    row["actor"] = actors[actor]
                    seen[table] += 1
                assert after[table][key] == row
    assert seen == {"credit_entries": 2, "video_events": 2}


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 17, 30, 45])
async def test_an_erasure_may_be_interrupted(database: Database, dsn: str, steps: int) -> None:
    """Wherever it stops, every promise is kept, and the next one erases what is left."""
    await erased(dsn, database, rows_at_once=1, steps=steps)
    await check_verified(dsn)
    await erased(dsn, database, rows_at_once=3)
    await check_gone(dsn)


async def test_a_dry_run_changes_nothing(database: Database, dsn: str) -> None:
    """A dry run counts what would be erased."""
    before = await rows(database)
    counts = await erased(dsn, database, dry_run=True, rows_at_once=5)
    assert await rows(database) == before
    done = await erased(dsn, database)
    assert counts.pop("videos to cancel") == done.pop("videos canceled")
    assert counts == done


async def test_a_closed_wallet_takes_nothing(database: Database, dsn: str) -> None:
    """A payment whose key was erased is not added again, and nothing is charged, until the person registers again."""
    await erased(dsn, database)
    arguments = (
        database,
        ANN.user_id,
        "planted buys",
        bytes(32),
        ANN.user_id,
        20,
        False,
        "PURCHASE",
        "ADMIN:root",
        None,
    )
    assert (await db.user.adjust_user_credits(*arguments)).outcome == "user_not_found"
    video = await database.pool.fetchval("SELECT id FROM video_data WHERE wallet_id = $1 LIMIT 1", ANN.user_id)
    retried = await db.video_data.retry_video_data(database, ANN.user_id, video, "k", bytes(32), 1, ANN.actor)
    assert retried.outcome == "video_data_not_found"
    with pytest.raises(AssertionError):
        await create(database, ANN.user_id, ANN, ANN, "new", "planted")
    await check_gone(dsn)

    balance = await database.pool.fetchval("SELECT credits FROM wallets WHERE wallet_id = $1", ANN.user_id)
    registered = await db.user.register_user(database, ANN.user_id, ANN.subject, {}, 10, ANN.actor)
    assert (registered.user.name, registered.user.email, registered.user.credits) == (None, None, balance)
    assert await database.pool.fetchval("SELECT subject FROM users WHERE user_id = $1", ANN.user_id) == ANN.subject
    await create(database, ANN.user_id, ANN, ANN, "new", "ordinary")
    await check_verified(dsn)


async def test_wallets_are_locked_before_videos(database: Database, dsn: str) -> None:
    """An erasure that waits for a wallet holds no video, so that a mutation that has the wallet gets the video."""
    await erased(dsn, database, steps=1)
    async with database.pool.acquire() as mutation, mutation.transaction():
        await mutation.execute("SELECT FROM wallets WHERE wallet_id = $1 FOR NO KEY UPDATE", ANN.user_id)
        erasing = asyncio.create_task(erased(dsn, database))
        await blocked(database)
        await mutation.execute("SELECT FROM video_data WHERE wallet_id = $1 FOR NO KEY UPDATE NOWAIT", ANN.user_id)
    await erasing
    await check_gone(dsn)


async def test_work_goes_on_meanwhile(database: Database, dsn: str) -> None:
    """Reports, retries and storage race with the erasure: no promise breaks, and a repetition ends it."""
    videos = await database.pool.fetch("SELECT wallet_id, id FROM video_data")
    worker = Identity("render-2", Role.WORKER)

    async def work(number: int) -> None:
        for nth, (wallet_id, video_id) in enumerate(videos):
            status = ("RENDERING", "FAILED", "COMPLETED")[(nth + number) % 3]
            await report(database, wallet_id, video_id, status, worker, "planted")
            await db.video_data.update_video_data(database, wallet_id, video_id, None, {"script": f"planted {number}"})
            await db.video_data.retry_video_data(
                database, wallet_id, video_id, f"planted {number} {nth}", bytes(32), 1, ANN.actor
            )

    await asyncio.gather(
        *(work(number) for number in range(4)), *(erased(dsn, database, rows_at_once=2) for _ in range(2))
    )
    await check_verified(dsn)
    await database.pool.execute("UPDATE video_data SET comments = NULL WHERE user_id = $1", BOB.user_id)
    await erased(dsn, database)
    assert await erased(dsn, database) == {}
    await check_verified(dsn)


async def test_export(database: Database, dsn: str) -> None:
    """An export has every row about the person, whole; of other people's, only that the person wrote them."""
    everything = await rows(database)
    connection = await asyncpg.connect(dsn)
    exported = [(table, json.loads(line)) async for table, line in export(connection, PERSON)]
    nobody = [line async for line in export(connection, Person(uuid4(), ["USER:nobody"]))]
    await connection.close()
    assert nobody == []
    videos = {row["id"] for row in everything["video_data"].values() if row["user_id"] == ANN.user_id}
    about = {
        "wallets": sum(row["wallet_id"] == ANN.user_id for row in everything["wallets"].values()),
        "video_events": sum(row["video_id"] in videos for row in everything["video_events"].values()),
        "video_contents": sum(row["video_id"] in videos for row in everything["video_contents"].values()),
        **{
            table: sum(row["user_id"] == ANN.user_id for row in everything[table].values())
            for table in ("users", "video_data", "credit_entries")
        },
    }
    by_her = {"wallet_id", "video_id", "number", "actor", "created_at"}
    assert Counter(table for table, row in exported if not row.keys() <= by_her) == about
    of_others = [row for _, row in exported if row.keys() <= by_her]
    assert Counter(row["actor"] for row in of_others) == {f"ADMIN:{ANN.subject}": 3, f"WORKER:{ANN.subject}": 1}
    text = json.dumps(exported)
    for planted in ("name", "title", "style", "topic", "script", "font", "voice", "memo", "comment", "buys"):
        assert f"planted {planted}" in text


APPEND_ONLY = {
    "credit_entries": [
        *(
            "amount = amount + 1",
            "balance_after = 0",
            "number = number + 100",
            "kind = 'REWARD'",
            "user_id = wallet_id",
        ),
        *("created_at = now()", "request_id = 7", "uncovered = 5", "attempt = 9", "memo = 'other'", "memo = ''"),
        *("actor = 'ADMIN:other'", "actor = 'USER:erased:' || gen_random_uuid()", "actor = 'ADMIN:erased:bob'"),
        *(
            "idempotency_key = 'other'",
            "idempotency_key = 'erased:1'",
            "request_hash = sha256('')",
            "request_hash = NULL",
        ),
        "memo = NULL, amount = 1",
    ],
    "video_events": [
        *("status = 'FAILED'", "number = number + 100", "attempt = 9", "created_at = now()", "comments = '{}'"),
        *("actor = 'WORKER:other'", "actor = 'erased:' || gen_random_uuid()", "comments = NULL, attempt = 3"),
    ],
}


@pytest.mark.parametrize(
    ("table", "change"), [(table, change) for table in APPEND_ONLY for change in APPEND_ONLY[table]]
)
async def test_nothing_else_can_be_changed(database: Database, table: str, change: str) -> None:
    """The ledger and the history refuse every change but erasure, and this only into null or a pseudonym."""
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await database.pool.execute(f"UPDATE {table} SET {change} WHERE actor IN ('ADMIN:root', 'WORKER:render-1')")


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_nothing_can_be_deleted(database: Database, table: str) -> None:
    """Nor is an entry or an event ever deleted."""
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await database.pool.execute(statement)
