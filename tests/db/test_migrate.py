"""Migrations: from nothing, twice, from many processes at once; and every database that is refused says why."""

import asyncio
import re
import socket
import sys
import traceback
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from db import migrate as module
from db.function import FUNCTIONS, Function
from db.migrate import DatabaseUnfit, changed_functions, migrate, server_fault, shipped_revisions, unfit_reason
from tests.conftest import NewDatabase

CHECKOUT = Path(__file__).parents[2]
PASSWORD = "hunter2"  # Looked for in each message: none may give it away.


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def relations(dsn: str) -> set[str]:
    """Name all that a migration could have left behind."""
    async with connected(dsn) as connection:
        rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        rows += await connection.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
    return {row[0] for row in rows}


async def refusal(dsn: str) -> str:
    """Migrate where that must be refused, and return the sentence, which must be a whole one and keep the password."""
    with pytest.raises(DatabaseUnfit) as caught:
        await migrate(dsn)
    sentence = str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


async def run(*arguments: str) -> None:
    """Run Python from the root of the checkout, warnings being errors, and succeed as it does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-Werror", *arguments, cwd=CHECKOUT, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def with_login(dsn: str, login: str) -> str:
    return urlsplit(dsn)._replace(netloc=f"{login}@").geturl()


async def test_from_nothing(new_database: NewDatabase) -> None:
    """Migrating an empty database makes the tables, and records the newest revision."""
    dsn = await new_database()
    await migrate(dsn)
    assert {"wallets", "users", "credit_entries", "video_data", "video_events"} <= await relations(dsn)
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == shipped_revisions()[-1]


async def test_twice(new_database: NewDatabase) -> None:
    """Migrating again changes nothing, and does not even load what migrates."""
    dsn = await new_database()
    await migrate(dsn)
    before = await relations(dsn)
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE precious AS SELECT 1 AS one")
        row = await connection.fetch("SELECT xmin, * FROM alembic_version")
        program = "import asyncio, sys; from db.migrate import migrate; asyncio.run(migrate(sys.argv[1]))"
        await run("-c", f"{program}; assert not {{'alembic', 'sqlalchemy'}} & set(sys.modules)", dsn)
        assert await connection.fetch("SELECT xmin, * FROM alembic_version") == row
    assert await relations(dsn) == before | {"precious"}


async def test_from_twenty_connections_at_once(new_database: NewDatabase) -> None:
    """Twenty processes that start together on an empty database all find it migrated, once."""
    dsn = await new_database()
    await asyncio.gather(*(migrate(dsn) for _ in range(20)))
    async with connected(dsn) as connection:
        assert await unfit_reason(connection) is None
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1


async def test_at_once_under_a_strict_isolation_level(new_database: NewDatabase) -> None:
    """A role that defaults to SERIALIZABLE still sees what another has migrated while it waited."""
    dsn = await new_database()
    async with connected(dsn) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await asyncio.gather(*(migrate(dsn) for _ in range(5)))


async def test_next_revision(new_database: NewDatabase, ship: Callable[..., None]) -> None:
    """A database at an older revision is unfit until it is migrated, then has what the newer ones bring."""
    dsn = await new_database()
    await migrate(dsn)
    older = shipped_revisions()[-1]
    ship("CREATE TABLE more (); COMMENT ON TABLE more IS 'of $$two$$ commands';")
    async with connected(dsn) as connection:
        assert await unfit_reason(connection) == (
            f"The database is at migration {older}, this code at {shipped_revisions()[-1]}: run `videocredits migrate`."
        )
        await migrate(dsn)
        assert await unfit_reason(connection) is None
        assert await connection.fetchval("SELECT obj_description('more'::regclass)") == "of $$two$$ commands"


async def test_a_new_constraint_is_validated_afterwards(new_database: NewDatabase, ship: Callable[..., None]) -> None:
    """A constraint that a migration adds as NOT VALID is checked against the rows once it is committed."""
    dsn = await new_database()
    await migrate(dsn)
    ship("ALTER TABLE wallets ADD CONSTRAINT wallets_few CHECK (credits < 100) NOT VALID")
    validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'wallets_few'"
    async with connected(dsn) as connection:
        await migrate(dsn)
        assert await connection.fetchval(validated)
        await connection.execute(
            "ALTER TABLE wallets DROP CONSTRAINT wallets_few; SET session_replication_role = replica"
        )
        await connection.execute("INSERT INTO wallets (wallet_id, credits) VALUES (uuidv7(), 100)")
        await connection.execute("ALTER TABLE wallets ADD CONSTRAINT wallets_few CHECK (credits < 100) NOT VALID")
        assert "rows of before break a new rule (wallets_few)" in await refusal(dsn)
        assert not await connection.fetchval(validated)
        await connection.execute("UPDATE wallets SET credits = 99")
        await migrate(dsn)  # It goes on where it had stopped.
        assert await connection.fetchval(validated)


async def test_rows_can_be_written_while_a_constraint_is_validated(
    new_database: NewDatabase, ship: Callable[..., None]
) -> None:
    """While a new constraint is checked against the rows, others read and write them."""
    dsn = await new_database()
    await migrate(dsn)
    ship(
        """
        CREATE FUNCTION slow(wallet_id uuid) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN
          IF pg_backend_pid()::text <> coalesce(current_setting('tests.pid', TRUE), '') THEN
            PERFORM pg_sleep(600);
          END IF;
          RETURN TRUE;
        END $$;
        ALTER TABLE wallets ADD CONSTRAINT wallets_slow CHECK (slow(wallet_id)) NOT VALID
        """
    )
    async with asyncio.timeout(60), connected(dsn) as connection:
        await connection.execute("SELECT set_config('tests.pid', pg_backend_pid()::text, FALSE)")
        await connection.execute("INSERT INTO wallets (wallet_id) VALUES (uuidv7())")
        migrating = asyncio.create_task(migrate(dsn))
        at_work = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        while await connection.fetchrow(at_work) is None:
            pass
        await connection.execute(
            "INSERT INTO wallets (wallet_id) VALUES (uuidv7()); UPDATE wallets SET version = version + 1"
        )
        migrating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await migrating


def test_migrations_validate_afterwards() -> None:
    """No migration but the first adds a constraint that would be checked under its lock, as a domain's always is."""
    for path in sorted((module.MIGRATIONS / "versions").glob("*.sql"))[1:]:
        added = re.findall(r"ADD CONSTRAINT.*?[,;]", path.read_text("utf-8"), re.DOTALL)
        assert [each for each in added if "NOT VALID" not in each] == [], path.name
        assert "ALTER DOMAIN" not in path.read_text("utf-8"), "A domain's rule is a function: replace that."


async def test_rows_can_be_written_while_a_domains_rule_changes(
    new_database: NewDatabase, ship: Callable[..., None]
) -> None:
    """A kind of entry is added without a lock on the ledger: by replacing a function, which new connections use."""
    dsn = await new_database()
    await migrate(dsn)
    ship(
        "CREATE OR REPLACE FUNCTION credit_entry_kind_is_known(kind text) RETURNS boolean "
        "IMMUTABLE LANGUAGE sql RETURN kind IN ('SIGNUP', 'GRANT')"
    )
    async with asyncio.timeout(60), connected(dsn) as connection, connected(dsn) as writer:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.fetchval("SELECT 'GRANT'::credit_entry_kind")
        async with writer.transaction():
            await writer.execute("LOCK TABLE credit_entries IN ROW EXCLUSIVE MODE")
            await migrate(dsn)
    async with connected(dsn) as connection:
        assert await connection.fetchval("SELECT 'GRANT'::credit_entry_kind") == "GRANT"


async def test_statement_timeout(new_database: NewDatabase, ship: Callable[..., None]) -> None:
    """A limit on the time of everyday statements does not cut a migration short."""
    dsn = await new_database()
    ship("DO $$ BEGIN ASSERT current_setting('statement_timeout') = '0'; END $$")
    await migrate(f"{dsn}&statement_timeout=60000")


async def test_half_failing_revision(new_database: NewDatabase, ship: Callable[..., None]) -> None:
    """A revision that fails halfway leaves nothing behind, not even the revisions that went before it."""
    dsn = await new_database()
    ship("CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn)
    assert await relations(dsn) == set()


async def test_cancelled(new_database: NewDatabase, ship: Callable[..., None]) -> None:
    """A migration that is cancelled leaves nothing behind."""
    dsn = await new_database()
    ship("CREATE TABLE half (); SELECT pg_sleep(600);")
    migrating = asyncio.create_task(migrate(dsn))
    at_work = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    async with connected(dsn) as connection, asyncio.timeout(60):
        while await connection.fetchrow(at_work) is None:
            pass
    migrating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await migrating
    assert await relations(dsn) == set()


async def test_unfit_until_migrated(new_database: NewDatabase) -> None:
    """An empty database is unfit, and is told how to mend that; a migrated one is fit."""
    dsn = await new_database()
    async with connected(dsn) as connection:
        assert await unfit_reason(connection) == "The database has no tables yet: run `videocredits migrate`."
        await migrate(dsn)
        assert await unfit_reason(connection) is None


FUNCTION = FUNCTIONS["update_video_record_status"]
OLDER = FUNCTION.sql.replace("BEGIN", "-- As an older release had it.\nBEGIN", 1)


async def body(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    text: str | None = await connection.fetchval("SELECT prosrc FROM pg_proc WHERE proname = $1", FUNCTION.name)
    return text


async def test_a_function_with_another_text(new_database: NewDatabase) -> None:
    """A function with another text leaves a database fit; migrating replaces it, and no other."""
    dsn = await new_database()
    await migrate(dsn)
    installed = "SELECT proname, xmin FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname <> $1"
    async with connected(dsn) as connection:
        await connection.execute(OLDER)
        others = await connection.fetch(installed, FUNCTION.name)
        assert await unfit_reason(connection) is None
        assert await body(connection) != FUNCTION.body
        await migrate(dsn)
        assert await body(connection) == FUNCTION.body
        assert await connection.fetch(installed, FUNCTION.name) == others


@pytest.mark.parametrize(
    "other",
    ["", f"CREATE FUNCTION {FUNCTION.name}(numbers integer[]) RETURNS text RETURN 'other'"],
    ids=["none of its name", "one with other arguments"],
)
async def test_a_missing_function(new_database: NewDatabase, other: str) -> None:
    """A database that lacks a function is unfit until it is migrated, though it has another one of that name."""
    dsn = await new_database()
    await migrate(dsn)
    async with connected(dsn) as connection:
        await connection.execute(f"DROP FUNCTION {FUNCTION.name}; {other}")
        assert await unfit_reason(connection) == (
            f"The database lacks functions ({FUNCTION.name}): run `videocredits migrate`."
        )
        await migrate(dsn)
        assert await unfit_reason(connection) is None


async def test_functions_from_twenty_connections_at_once(new_database: NewDatabase) -> None:
    """Twenty processes that start together all find the functions as they ship them, replaced or made once."""
    dsn = await new_database()
    await migrate(dsn)
    async with connected(dsn) as connection:
        await connection.execute(f"{OLDER}; DROP FUNCTION adjust_user_credits")
        await asyncio.gather(*(migrate(dsn) for _ in range(20)))
        assert await changed_functions(connection) == []


async def test_functions_and_migrations_are_one_transaction(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that cannot be made leaves nothing behind, not even the tables."""
    dsn = await new_database()
    monkeypatch.setitem(FUNCTIONS, "half", Function("half", "", "", "", "SELECT 1 / 0"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn)
    assert await relations(dsn) == set()


NEWER = "UPDATE alembic_version SET version_num = '9876', oldest_code = '0001'"


async def test_functions_of_newer_code(new_database: NewDatabase) -> None:
    """Code that may run on a database that newer code migrated leaves the functions there alone."""
    dsn = await new_database()
    await migrate(dsn)
    async with connected(dsn) as connection:
        await connection.execute(f"{OLDER}; {NEWER}")
        newer = await body(connection)
        await migrate(dsn)
        assert await unfit_reason(connection) is None
        assert await changed_functions(connection) == []
        assert await body(connection) == newer
        await connection.execute(f"DROP FUNCTION {FUNCTION.name}")
        assert "run the newer videocredits" in await refusal(dsn)
        assert await body(connection) is None


async def test_functions_of_newer_code_that_migrates_first(new_database: NewDatabase) -> None:
    """Code that waits while newer code migrates leaves that code's functions and `oldest_code` alone."""
    dsn = await new_database()
    await migrate(dsn)
    waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(60), connected(dsn) as connection:
        await connection.execute(OLDER)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('videocredits migrations', 0))")
            migrating = asyncio.create_task(migrate(dsn))
            while await connection.fetchrow(waits) is None:
                pass
            await connection.execute(NEWER)
        newer = await body(connection)
        await migrating
        assert newer != FUNCTION.body
        assert await body(connection) == newer
        assert await connection.fetchval("SELECT oldest_code FROM alembic_version") == "0001"


@pytest.mark.parametrize("is_compatible", [True, False])
async def test_newer_database(
    new_database: NewDatabase, ship: Callable[..., None], monkeypatch: pytest.MonkeyPatch, is_compatible: bool
) -> None:
    """A database that newer code migrated is left as it is, and used if the newest migration allows this code to."""
    dsn = await new_database()
    shipped, migrations = shipped_revisions()[-1], module.MIGRATIONS
    newest = f"{int(shipped) + 1:04}"
    ship("CREATE TABLE more ()", shipped if is_compatible else newest)
    await migrate(dsn)
    monkeypatch.setattr(module, "MIGRATIONS", migrations)
    async with connected(dsn) as connection:
        if is_compatible:
            await migrate(dsn)
            assert await unfit_reason(connection) is None
        else:
            sentence = await refusal(dsn)
            assert f"at migration {newest}, too new for this code, which is at {shipped}" in sentence
            assert await unfit_reason(connection) == sentence
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == newest


async def test_a_database_of_before_the_first_release(new_database: NewDatabase) -> None:
    """A database with migrations that were since made one is refused, and left as it is."""
    dsn = await new_database()
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE alembic_version AS SELECT '0008' AS version_num, '0008' AS oldest_code")
        assert "delete .videocredits" in await refusal(dsn)
    assert await relations(dsn) == {"alembic_version"}


async def test_a_newer_database_that_does_not_say_who_may_use_it(new_database: NewDatabase) -> None:
    """A migration that this code does not know, of which nothing is recorded, is refused."""
    dsn = await new_database()
    await migrate(dsn)
    async with connected(dsn) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9876', oldest_code = NULL")
        assert "run the newer videocredits" in await refusal(dsn)
        assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9876"


def test_each_migration_states_the_oldest_code() -> None:
    """Each migration states which code may run on the database after it, never one that is newer than itself."""
    stated = {
        each.revision: each.module.oldest_code for each in ScriptDirectory(str(module.MIGRATIONS)).walk_revisions()
    }
    assert set(stated) == set(shipped_revisions())
    for revision, oldest_code in stated.items():
        assert oldest_code in shipped_revisions()
        assert oldest_code <= revision


async def test_stuck_lock(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that waits in vain for another one gives up, says so, and has changed nothing."""
    dsn = await new_database()
    monkeypatch.setattr(module, "LOCK_SECONDS_MAX", 0.05)
    async with asyncio.timeout(60), connected(dsn) as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('videocredits migrations', 0))")
        assert "pg_stat_activity" in await refusal(dsn)
    assert await relations(dsn) == set()
    await migrate(dsn)


# Locks two tables, and asks for the second only when somebody waits for the first.
OPPOSED = """
    LOCK TABLE users;
    DO $$ BEGIN WHILE NOT EXISTS (
      SELECT FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted
    ) LOOP END LOOP; END $$;
    LOCK TABLE video_data;
    CREATE TABLE more ();
"""


async def until_users_are_locked(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    locked = "relation = 'users'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    while await connection.fetchrow(f"SELECT FROM pg_locks WHERE {locked}") is None:
        pass


async def deadlock(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Lock what `OPPOSED` locks, the other way round, and leave it to the migration to find the deadlock."""
    await connection.execute("SET deadlock_timeout = '1h'; BEGIN; LOCK TABLE video_data")
    await until_users_are_locked(connection)
    await connection.execute("LOCK TABLE users; COMMIT")


async def test_deadlocks(new_database: NewDatabase, ship: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that deadlocks with somebody at work have undone begins anew, and is done when there is none."""
    dsn = await new_database()
    await migrate(dsn)
    monkeypatch.setattr(module, "DEADLOCK_PAUSE_SECONDS", 0)
    ship(OPPOSED)
    async with asyncio.timeout(60), connected(dsn) as connection, asyncio.TaskGroup() as tasks:
        migrating = tasks.create_task(migrate(f"{dsn}&deadlock_timeout=50"))
        for _ in range(module.DEADLOCKS_MAX - 1):
            await deadlock(connection)
        await until_users_are_locked(connection)
        await connection.fetch("SELECT FROM users")
        await migrating
        assert await unfit_reason(connection) is None


async def test_nothing_but_deadlocks(
    new_database: NewDatabase, ship: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that is undone by one deadlock after the other gives up, says so, and has changed nothing."""
    dsn = await new_database()
    await migrate(dsn)
    before = await relations(dsn)
    monkeypatch.setattr(module, "DEADLOCK_PAUSE_SECONDS", 0)
    ship(OPPOSED)
    async with asyncio.timeout(60), connected(dsn) as connection, asyncio.TaskGroup() as tasks:
        migrating = tasks.create_task(refusal(f"{dsn}&deadlock_timeout=50"))
        for _ in range(module.DEADLOCKS_MAX):
            await deadlock(connection)
        assert f"waited for each other, {module.DEADLOCKS_MAX} times in a row" in await migrating
    assert await relations(dsn) == before


async def test_foreign_tables(new_database: NewDatabase) -> None:
    """A database with tables of somebody else's is refused and left as it is."""
    dsn = await new_database()
    async with connected(dsn) as connection:
        await connection.execute("CREATE TABLE users (name text)")
    assert 'relation "users" already exists' in await refusal(dsn)
    assert await relations(dsn) == {"users"}


async def test_role_without_rights(new_database: NewDatabase) -> None:
    """A role that may not make tables is told to own the database; one that owns it needs nothing more."""
    dsn = await new_database()
    async with connected(dsn) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"CREATE ROLE {name} LOGIN")
        try:
            assert "OWNER TO" in await refusal(with_login(dsn, f"{name}:{PASSWORD}"))
            await connection.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
            assert "OWNER TO" in await refusal(with_login(dsn, f"{name}:{PASSWORD}"))
            await connection.execute(f"ALTER DATABASE {name} OWNER TO {name}")
            await migrate(with_login(dsn, name))
        finally:
            await connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            await connection.execute(f"DROP ROLE {name}")


async def test_read_only(new_database: NewDatabase) -> None:
    """A database that cannot be written, a standby say, is refused; one that is migrated already may be read only."""
    dsn = await new_database()
    read_only = f"{dsn}&default_transaction_read_only=on"
    assert "primary" in await refusal(read_only)
    await migrate(dsn)
    await migrate(read_only)


async def test_encoding(new_database: NewDatabase) -> None:
    """A database that cannot hold every text is refused."""
    dsn = await new_database("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc")
    assert "ENCODING 'UTF8'" in await refusal(dsn)


def test_server_fault() -> None:
    """A PostgreSQL before 18 is refused by its version's name; 18 and later are taken."""
    assert server_fault("15.4 (Debian 15.4-1.pgdg120+1)", "UTF8") == (
        "The PostgreSQL at VIDEOCREDITS_DATABASE_URL runs 15.4; videocredits needs 18 or newer: "
        "upgrade it or unset VIDEOCREDITS_DATABASE_URL."
    )
    assert server_fault("17.9", "UTF8") is not None
    assert server_fault("9.6.24", "UTF8") is not None
    assert server_fault("18.6", "UTF8") is None
    assert server_fault("19beta1", "UTF8") is None


@pytest.fixture
async def guarded_role(cluster_dsn: str) -> AsyncIterator[str]:
    """Name a role that must give its password, which the tests' cluster asks of nobody else."""
    async with connected(cluster_dsn) as connection:
        path = await connection.fetchval("SHOW hba_file")
        rules = await connection.fetchval("SELECT regexp_split_to_array(pg_read_file($1), '\n')", path)

        async def load(*lines: str) -> None:
            values = ", ".join(f"($line${line}$line$)" for line in lines)
            await connection.execute(f"COPY (VALUES {values}) TO '{path}'")
            await connection.execute("SELECT pg_reload_conf()")

        await connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD 'not {PASSWORD}'")
        await load("local all guarded scram-sha-256", *rules)
        try:
            yield "guarded"
        finally:
            await load(*rules)
            await connection.execute("DROP ROLE guarded")


async def test_wrong_password(cluster_dsn: str, guarded_role: str) -> None:
    """A wrong password is called that, and is not repeated."""
    sentence = await refusal(with_login(cluster_dsn, f"{guarded_role}:{PASSWORD}"))
    assert "password authentication failed" in sentence
    assert "correct the user and the password" in sentence


async def test_unknown_role(cluster_dsn: str) -> None:
    """A role that does not exist is named."""
    assert 'role "ghost" does not exist' in await refusal(with_login(cluster_dsn, f"ghost:{PASSWORD}"))


async def test_unknown_database(cluster_dsn: str) -> None:
    """A database that does not exist is named."""
    sentence = await refusal(urlsplit(cluster_dsn)._replace(path="/ghost").geturl())
    assert 'database "ghost" does not exist' in sentence
    assert "create it" in sentence


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{PASSWORD}@/database?host=/nonexistent",
        f"postgresql://user:{PASSWORD}@nowhere.invalid/database",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1/database",
        f"postgresql://user:{PASSWORD}@127.0.0.1:1,127.0.0.1:2/database?target_session_attrs=primary",
    ],
    ids=["socket", "name", "port", "ports"],
)
async def test_unreachable(url: str) -> None:
    """A server that is not there is called unreachable, with what to check."""
    assert "cannot be reached" in await refusal(url)


async def test_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and then says nothing is given up."""
    monkeypatch.setattr(module, "CONNECT_SECONDS_MAX", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "did not answer" in await refusal(f"postgresql://user:{PASSWORD}@127.0.0.1:{port}/database")


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        (PASSWORD, "scheme"),
        (f"mysql://user:{PASSWORD}@host/database", "mysql"),
        (f"postgresql://user:{PASSWORD}@host:port/database", "%40"),
        (f"postgresql://user:{PASSWORD}/more@host/database", "%2F"),
        (f"postgresql://user:a@[::1],[{PASSWORD}@host/database", "%40"),
        (f"postgresql://user:{PASSWORD}@host,/database", ""),
        (f"postgresql://user:{PASSWORD}@host/database?sslmode=maybe", "verify-full"),
    ],
)
async def test_malformed(url: str, hint: str) -> None:
    """What is no URL of a PostgreSQL is answered with the form of one; torn pieces of a password are not repeated."""
    sentence = await refusal(url)
    assert "postgresql://user:password@host:5432/database" in sentence
    assert hint in sentence


def test_alembic_agrees() -> None:
    """The revisions that file names tell of are alembic's, one after the other, each with its SQL; none goes back."""
    scripts = list(ScriptDirectory(module.MIGRATIONS).walk_revisions())[::-1]
    assert [script.revision for script in scripts] == shipped_revisions()
    assert [script.down_revision for script in scripts] == [None, *shipped_revisions()[:-1]]
    for script in scripts:
        assert Path(script.path).with_suffix(".sql").exists()
        assert not hasattr(script.module, "downgrade")


async def test_from_a_wheel(new_database: NewDatabase, tmp_path: Path) -> None:
    """Installed from a wheel, without a checkout, the migrations are found and run."""
    await run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    with ZipFile(tmp_path / f"videocredits-{version('videocredits')}-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path / "installed")
    program = "import asyncio, sys; sys.path.insert(0, sys.argv[2]); from db.migrate import migrate, MIGRATIONS"
    checked = "assert str(MIGRATIONS).startswith(sys.argv[2]); asyncio.run(migrate(sys.argv[1]))"
    dsn = await new_database()
    await run("-c", f"{program}; {checked}", dsn, str(tmp_path / "installed"))
    async with connected(dsn) as connection:
        assert await unfit_reason(connection) is None
