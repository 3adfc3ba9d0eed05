"""Migrations: bringing a database up to this code, or saying in one sentence why that cannot be."""
# ruff: noqa: PLC0415 - Alembic and SQLAlchemy take 0.4 s to import, and most starts have nothing to migrate.

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from db.connection_pool import CLOSE_SECONDS_MAX
from db.function import FUNCTIONS, Function

if TYPE_CHECKING:
    import sqlalchemy


MIGRATIONS = Path(__file__).parent / "migrations"
CONNECT_SECONDS_MAX = 10.0
LOCK_SECONDS_MAX = 60.0
DEADLOCKS_MAX = 10
# A database that this code's migrations have not reached yet has no column for the oldest code that may run on it.
# Functions are compared with their arguments and results: one of the same name with others is not what this code
# calls.
RECORDED = """
SELECT version_num, to_jsonb(recorded) ->> 'oldest_code', ARRAY(
  SELECT name
  FROM unnest($1::text[], $2::text[], $3::text[]) AS shipped (name, arguments, results)
  WHERE NOT EXISTS (
    SELECT FROM pg_proc
    WHERE proname = name AND pg_function_is_visible(oid)
      AND pg_get_function_arguments(oid) = arguments AND pg_get_function_result(oid) = results
  )
)
FROM alembic_version AS recorded
"""
CHANGED_FUNCTIONS = """
SELECT name
FROM alembic_version
CROSS JOIN unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS shipped (name, arguments, results, body)
WHERE version_num = $1 AND NOT EXISTS (
  SELECT FROM pg_proc
  WHERE proname = name AND pg_function_is_visible(oid)
    AND pg_get_function_arguments(oid) = arguments AND pg_get_function_result(oid) = results AND prosrc = body
)
"""
# A migration adds constraints as NOT VALID, which locks their tables for a moment only. The rows that there are,
# however many, are looked at afterwards, under a lock that lets others read and write.
VALIDATIONS = """
SELECT format('ALTER TABLE %s VALIDATE CONSTRAINT %I', conrelid::regclass, conname)
FROM pg_constraint
WHERE NOT convalidated AND conenforced AND contypid = 0 AND connamespace = current_schema()::regnamespace
ORDER BY conname
"""
# The last command of a migration, since it locks the table that `unfit_reason` reads.
RECORD_OLDEST_CODE = """
ALTER TABLE alembic_version ADD COLUMN IF NOT EXISTS oldest_code text;
UPDATE alembic_version SET oldest_code = '{}';
"""
DEADLOCK_PAUSE_SECONDS = (
    0.5  # For the statements that waited for it: PostgreSQL looks for a deadlock only after a second.
)


class DatabaseUnfit(Exception):  # noqa: N818 - Unfit is what the database is; nothing in this code went wrong.
    """This code cannot work on that database: one sentence that says why, and what to do about it."""


async def migrate(dsn: str) -> None:
    """Bring the database up to this code, wholly or not at all.

    Harmless when there is nothing to do, which costs a connection and three statements, and from many processes at
    once. Constraints that it adds are checked against the rows that there are only when it has been committed.
    There is nothing to do either when newer code has migrated the database, if this code may run on it.
    Servers go on working meanwhile: it waits for tables that they change, and a deadlock with them is no failure.
    Raises ``DatabaseUnfit`` when the database cannot be reached, or cannot be one of ours.
    """
    try:
        async with connected(dsn) as connection:
            settings = connection.get_settings()
            if fault := server_fault(settings.server_version, settings.server_encoding):
                raise DatabaseUnfit(fault)
            if await unfit_reason(connection) is not None or await changed_functions(connection):
                await _upgrade_despite_deadlocks(connection)
                if reason := await unfit_reason(connection):
                    raise DatabaseUnfit(reason)
            await _validate(connection)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
        raise DatabaseUnfit(
            f"The role that videocredits connects as may not make its tables and functions here ({error.args[0]}): "
            "let it own the database (ALTER DATABASE … OWNER TO …), or migrate as a role that may."
        ) from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise DatabaseUnfit(
            "This database only lets itself be read, as a standby does: point VIDEOCREDITS_DATABASE_URL at the primary."
        ) from error
    except asyncpg.DuplicateTableError as error:
        raise DatabaseUnfit(
            f"This database holds something else already ({error.args[0]}): give videocredits an empty one."
        ) from error
    except asyncpg.IntegrityConstraintViolationError as error:
        raise DatabaseUnfit(
            f"The database is migrated, but rows of before break a new rule ({error.constraint_name}): "
            "run `videocredits verify`, correct them, and run `videocredits migrate` again."
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnfit(
            f"Nothing was changed, for somebody held a lock the migration needs for {LOCK_SECONDS_MAX:g} seconds: "
            "see who it is in pg_stat_activity, let them finish or end them, and try again."
        ) from error
    except asyncpg.DeadlockDetectedError as error:
        raise DatabaseUnfit(
            "Nothing was changed, for the migration and a statement at work waited for each other, "
            f"{DEADLOCKS_MAX} times in a row: try again when less is going on."
        ) from error


async def unfit_reason(connection: "asyncpg.Connection[asyncpg.Record]") -> str | None:
    """Say what keeps this code from working on the database, or ``None`` when it is migrated: one cheap statement.

    A database that newer code has migrated will do if its migrations say so: in a rolling deployment the old processes
    go on serving, and may be restarted. So will functions with another text than this code's, for the same reason.
    Not for use within a transaction: on an empty database the statement fails.
    """
    names, arguments, results, *_ = zip(*FUNCTIONS.values(), strict=True)
    try:
        recorded = await connection.fetchrow(RECORDED, names, arguments, results)
    except asyncpg.UndefinedTableError:
        recorded = None
    if recorded is None:
        return "The database has no tables yet: run `videocredits migrate`."
    revision, oldest_code, missing_functions = recorded
    shipped = shipped_revisions()
    if revision < shipped[0]:
        return (
            f"The database is at migration {revision}, of before the first release, and cannot be taken over: give "
            "videocredits an empty database, or, if it is the one that `serve` brings, delete .videocredits (or what "
            "VIDEOCREDITS_DATA_DIR names)."
        )
    if revision in shipped[:-1]:
        return f"The database is at migration {revision}, this code at {shipped[-1]}: run `videocredits migrate`."
    if revision != shipped[-1] and (oldest_code is None or oldest_code > shipped[-1] or missing_functions):
        return (
            f"The database is at migration {revision}, too new for this code, which is at {shipped[-1]}: "
            "run the newer videocredits that migrated it, or restore a backup from before that."
        )
    if missing_functions:
        return f"The database lacks functions ({', '.join(missing_functions)}): run `videocredits migrate`."
    return None


async def changed_functions(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Function]:
    """List the functions that a migrated database lacks, or has with another text than this code.

    None are listed if newer code has migrated the database: its functions may be newer, and are not to be replaced.
    """
    names, arguments, results, bodies, _ = zip(*FUNCTIONS.values(), strict=True)
    rows = await connection.fetch(CHANGED_FUNCTIONS, shipped_revisions()[-1], names, arguments, results, bodies)
    changed = {row["name"] for row in rows}
    return [each for each in FUNCTIONS.values() if each.name in changed]


def server_fault(server_version: str, server_encoding: str) -> str | None:
    """Say what makes a server, by its settings of these names, unfit whatever its tables are."""
    number = server_version.partition(" ")[0]  # "15.4 (Debian 15.4-1)", "19beta1"
    if int(re.split(r"\D", number, maxsplit=1)[0]) < 18:
        return (
            f"The PostgreSQL at VIDEOCREDITS_DATABASE_URL runs {number}; "
            "videocredits needs 18 or newer: upgrade it or unset VIDEOCREDITS_DATABASE_URL."
        )
    if server_encoding != "UTF8":
        return (
            f"The database has the encoding {server_encoding}, too small for all text: make one with ENCODING 'UTF8'."
        )
    return None


def shipped_revisions() -> list[str]:
    """List the revisions that this code ships, oldest first: the numbers that their file names begin with."""
    return sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def run_sql_beside(revision_file: str) -> None:
    """Run the ``.sql`` file beside a revision, whole, in the transaction that alembic works in."""
    from alembic import op
    from sqlalchemy import AdaptedConnection

    connection = op.get_bind().connection.dbapi_connection
    assert isinstance(connection, AdaptedConnection)  # noqa: S101 - Says to mypy what `_upgrade` gave to alembic.
    # Not prepared, as SQLAlchemy would: only one command at a time can be.
    sql = Path(revision_file).with_suffix(".sql").read_text("utf-8")
    connection.run_async(lambda driver_connection: driver_connection.execute(sql))


@asynccontextmanager
async def connected(dsn: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Open one connection, and close it; ``DatabaseUnfit`` says what to correct when it cannot be opened."""
    async with connecting():
        connection = await asyncpg.connect(dsn, server_settings={"application_name": "videocredits migrate"})
    try:
        yield connection
    finally:
        with suppress(TimeoutError):
            await connection.close(timeout=CLOSE_SECONDS_MAX)


@asynccontextmanager
async def connecting() -> AsyncIterator[None]:
    """Bound the time to open connections; any failure becomes a ``DatabaseUnfit`` that says what to correct."""
    url = "VIDEOCREDITS_DATABASE_URL"
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            yield
    except TimeoutError as error:
        raise DatabaseUnfit(
            f"The PostgreSQL at {url} did not answer within {CONNECT_SECONDS_MAX:g} seconds: "
            "check its host and port, and what stands between."
        ) from error
    except (OSError, asyncpg.PostgresConnectionError) as error:
        raise DatabaseUnfit(
            f"The PostgreSQL at {url} cannot be reached ({error}): check its host and port, and that it is running."
        ) from error
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise DatabaseUnfit(
            f"PostgreSQL refused ({error.args[0]}): correct the user and the password in {url}."
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise DatabaseUnfit(
            f"PostgreSQL refused ({error.args[0]}): create it, or correct its name in {url}."
        ) from error
    except (asyncpg.PostgresError, asyncpg.InternalClientError) as error:
        raise DatabaseUnfit(f"PostgreSQL refused ({error.args[0]}): mend that, or correct {url}.") from error
    except (ValueError, IndexError, asyncpg.InterfaceError) as error:
        # What asyncpg takes for a host or port may be half of a password, if one with an "@" or "/" was not encoded.
        known = isinstance(error, asyncpg.InterfaceError) and "@" not in str(error)
        raise DatabaseUnfit(
            f"{url} cannot be used{f' ({error})' if known else ''}: write it as "
            "postgresql://user:password@host:5432/database, with %40 %2F %3A %3F %23 for any @ / : ? # in the password."
        ) from None


async def _validate(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    for row in await connection.fetch(VALIDATIONS):
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(row[0])


async def _upgrade_despite_deadlocks(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Upgrade, and begin anew when a deadlock has undone all of it, unless it is the last of DEADLOCKS_MAX.

    No order in which a migration locks tables avoids deadlocks, for statements, those of older processes too, lock them
    in various orders. To ask for all at once, without waiting, would; but under load they may never all be free.
    """
    for _ in range(DEADLOCKS_MAX - 1):
        with suppress(asyncpg.DeadlockDetectedError):
            await _upgrade(connection)
            return
        await asyncio.sleep(DEADLOCK_PAUSE_SECONDS)
    await _upgrade(connection)


async def _upgrade(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # It talks from the moment that it is imported.

    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))

    oldest_code = max(each.module.oldest_code for each in ScriptDirectory.from_config(config).walk_revisions())

    def upgrade_within(alchemy: "sqlalchemy.Connection") -> bool:
        recorded = MigrationContext.configure(alchemy).get_current_revision()
        if recorded is not None and recorded not in shipped_revisions():
            return False  # Newer code has migrated it, at the same time.
        config.attributes["connection"] = alchemy
        upgrade(config, "head")
        return True

    async def the_connection() -> "asyncpg.Connection[asyncpg.Record]":
        return connection

    # With AUTOCOMMIT SQLAlchemy begins and ends nothing: all of it happens in the one transaction below.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=the_connection, poolclass=StaticPool, isolation_level="AUTOCOMMIT"
    )
    # READ COMMITTED, whatever the role's default is: what a rival committed while this one waited must be seen.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(
            "SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true)",
            f"{LOCK_SECONDS_MAX * 1000:.0f}ms",
        )
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('videocredits migrations', 0))")
        async with engine.connect() as alchemy:
            try:
                is_ours = await alchemy.run_sync(upgrade_within)
            except DBAPIError as error:
                raise error.driver_exception from None
        if is_ours:
            for function in await changed_functions(connection):
                await connection.execute(function.sql)
            await connection.execute(RECORD_OLDEST_CODE.format(oldest_code))
