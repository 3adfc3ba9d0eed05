"""The command line: serve, migrate, token, schema, verify, export, erase, demo."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that `token` and `--help` are quick.

import asyncio
import errno
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING, Any, Never
from uuid import UUID

import click

from resolvers.identity import Identity, Role
from server.auth.development import IDENTITIES, development_token
from server.process.settings import JWKS_URL, JWT_SECRET, JWT_SECRET_FILE, PREFIX, VARIABLES, Settings, StartError

if TYPE_CHECKING:
    from db.person import Person


def main() -> None:
    """Run the command that the arguments name; what keeps it from starting is a sentence, and exit code 1."""
    # By default these end us on the spot, and leave the PostgreSQL that we run to itself.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        commands()
    except StartError as error:
        for sentence in str(error).splitlines():
            click.echo(f"Error: {sentence}", err=True)
        sys.exit(1)


def _interrupt(_: int, __: FrameType | None) -> Never:
    raise KeyboardInterrupt


class _Command(click.Command):
    """A command whose help ends with examples, and with the settings that matter to it."""

    def __init__(self, *args: Any, examples: list[str], settings: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.variables = {PREFIX + name: VARIABLES[PREFIX + name] for name in settings or []}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        if self.variables:
            with formatter.section("Settings (environment variables)"):
                formatter.write_dl(
                    [
                        (name, each.meaning if each.default is None else f"{each.meaning}  [default: {each.default}]")
                        for name, each in self.variables.items()
                    ]
                )


class _Duration(click.ParamType[int]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", str(value))
        if match is None:
            self.fail("It must be a number and a unit, such as 90s, 15m, 12h or 30d.", param, ctx)
        return int(match[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[match[2]]


class _UserId(click.ParamType[UUID]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        from schema.node import UserKey, decode_id

        with suppress(ValueError):
            return UUID(str(value))
        key = decode_id(str(value))
        if not isinstance(key, UserKey):
            self.fail("It must be a user's id, such as user_AAAAAAAAAAAAAAAAAAAAAA, or a UUID.", param, ctx)
        return key.user_id


class _Subject(click.ParamType[Identity]):
    name = "subject"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Identity:
        try:
            return Identity(str(value), Role.USER)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_of_person = click.option(
    "--subject",
    type=_Subject(),
    required=True,
    help="Whose: the `sub` of the person's tokens, as the identity provider has it.",
)


@click.group(context_settings={"max_content_width": 120})
@click.version_option(package_name="videocredits")
def commands() -> None:
    """Run the GraphQL API server for apps that sell AI-generated videos for prepaid credits.

    To try it, `videocredits serve` is enough: it brings a PostgreSQL of its own, and prints the address to open and a
    token for each role.
    """


@commands.command(
    cls=_Command,
    examples=["videocredits serve", "VIDEOCREDITS_PORT=9000 VIDEOCREDITS_SIGNUP_CREDITS=100 videocredits serve"],
    settings=[name.removeprefix(PREFIX) for name in VARIABLES],
)
def serve() -> None:
    """Start the server; Ctrl-C or SIGTERM stops it.

    Unless VIDEOCREDITS_DATABASE_URL is set, it runs a PostgreSQL of its own on VIDEOCREDITS_DATA_DIR, which keeps the
    data. Unless a key for tokens is set, it makes development keys, registers a development user, and prints a token
    for each role; then it listens only where other machines cannot reach it. It migrates the database first.
    """
    # An interrupt is how a server ends well. By the time it is caught here, all that the stack holds has been stopped.
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        import uvicorn

        import server.app
        import server.process.logging

        settings = Settings.from_environment(os.environ)
        server.process.logging.configure(settings.log_format, settings.log_level)
        listening = [stack.enter_context(listener) for listener in listen(settings.host, settings.port)]
        dsn = stack.enter_context(_database(settings))
        asyncio.run(_prepare(dsn, settings))

        app = server.app.create_app(replace(settings, database_url=dsn))

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                _announce(settings, listening[0].getsockname()[1])

        # Everything else about how it serves is the application's own: see `server.serve`.
        Server(uvicorn.Config(app, host=settings.host, log_config=None)).run(listening)


@commands.command(
    cls=_Command,
    examples=["VIDEOCREDITS_DATABASE_URL=postgresql://app@db.example/videocredits videocredits migrate"],
    settings=["DATABASE_URL", "DATA_DIR"],
)
def migrate() -> None:
    """Bring the database up to this code.

    `serve` does this itself; the command is for deployments that migrate before the new code starts. It is done wholly
    or not at all, and doing it again is harmless.
    """
    import db.migrate

    with _database(Settings.from_environment(os.environ), shared=True) as dsn:
        asyncio.run(db.migrate.migrate(dsn))
    click.echo("The database is up to date.")


@commands.command(
    cls=_Command,
    examples=[
        "videocredits token --role user",
        'curl -H "Authorization: Bearer $(videocredits token --role worker --subject render-1)" …',
    ],
    settings=["DATA_DIR", "JWT_AUDIENCE", "JWT_ISSUER", "ROLE_CLAIM"],
)
@click.option("--role", type=click.Choice(Role, case_sensitive=False), required=True)
@click.option("--subject", help="Whose token it is.  [default: dev-user, dev-worker or dev-admin]")
@click.option(
    "--expires-in",
    type=_Duration(),
    default="30d",
    show_default=True,
    help="How long it is good: 90s, 15m, 12h, 30d.",
)
def token(role: Role, subject: str | None, expires_in: int) -> None:
    """Print a bearer token for development, and nothing else.

    Servers with development keys and the same VIDEOCREDITS_DATA_DIR take it, whether they run already or not. When a
    key for tokens is set, whoever has that key makes the tokens, and this command refuses.
    """
    settings = Settings.from_environment(os.environ)
    if not settings.development_keys:
        key = next(name for name in (JWT_SECRET, JWT_SECRET_FILE, JWKS_URL) if name in os.environ)
        raise StartError(
            f"{key} is set, so the tokens are not this server's to make: get one where your users sign in, or "
            "unset it to use development keys."
        )
    try:
        identity = IDENTITIES[role] if subject is None else Identity(subject, role)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--subject") from error
    click.echo(development_token(settings, identity, expires_in))


@commands.command(cls=_Command, examples=["videocredits schema > schema.graphql"])
def schema() -> None:
    """Print the API's GraphQL schema, for code generators."""
    from server.operations.root_fields import build_schema

    click.echo(build_schema().as_str())


@commands.command(
    cls=_Command,
    examples=["videocredits verify", "videocredits verify --user user_AAAAAAAAAAAAAAAAAAAAAA"],
    settings=["DATABASE_URL", "DATA_DIR"],
)
@click.option(
    "--user",
    type=_UserId(),
    help="Check one wallet alone: a user's own, by the user's id in the API, or any by its UUID.",
)
def verify(user: UUID | None) -> None:
    """Check every promise about balances, entries, videos and their histories, over the whole database.

    Prints each promise, and below one that is broken, where. The exit code is 0 when all are kept, and 1 when one is
    not. The server may go on meanwhile: all is checked as of one moment.
    """
    with _database(Settings.from_environment(os.environ), shared=True) as dsn:
        all_kept = asyncio.run(_verify(dsn, user))
    sys.exit(0 if all_kept else 1)


@commands.command(
    cls=_Command,
    examples=["videocredits export --subject 'auth0|5f7c8ec7' > person.jsonl"],
    settings=["DATABASE_URL", "DATA_DIR"],
)
@_of_person
def export(subject: Identity) -> None:
    """Print everything that is stored about a person, as JSON Lines: each row with the name of its table.

    Of rows that are about others, only that the person wrote them. All is read as of one moment; the server may go on
    meanwhile. The exit code is 1 when nothing is stored.
    """
    with _database(Settings.from_environment(os.environ), shared=True) as dsn:
        if not asyncio.run(_export(dsn, subject)):
            raise StartError(f"Nothing is stored about {subject.subject}.")


@commands.command(
    cls=_Command,
    examples=[
        "videocredits erase --subject 'auth0|5f7c8ec7' --dry-run",
        "videocredits erase --subject 'auth0|5f7c8ec7' --yes",
    ],
    settings=["DATABASE_URL", "DATA_DIR"],
)
@_of_person
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def erase(subject: Identity, dry_run: bool, yes: bool) -> None:
    """Erase a person for good, and keep every number.

    Profile, texts, memos, comments and idempotency keys go; where the subject stood, a pseudonym stands. Amounts,
    balances, times and statuses stay. Running videos are canceled first, with their refund, and the person's own wallet
    is closed until the person registers again. Revoke the person's tokens before: one that is still valid could write
    on. Backups and logs are yours to erase. It may be interrupted, and repeated: then it erases what is left.
    """
    if not (dry_run or yes or sys.stdin.isatty()):
        raise StartError("Nothing was erased: give --yes to erase without being asked.")
    with _database(Settings.from_environment(os.environ), shared=True) as dsn:
        if dry_run or not yes:
            found = asyncio.run(_erase(dsn, subject, dry_run=True))
            if dry_run or not found:
                return
        if not yes:
            click.confirm(f"Erase {subject.subject} for good?", abort=True)
        if asyncio.run(_erase(dsn, subject, dry_run=False))["videos not canceled"]:
            raise StartError(
                "Some videos still run, since their refund would make more credits than a wallet can have: take "
                "some away with adjustUserCredits, and run this again."
            )


@commands.command(cls=_Command, examples=["videocredits demo", "videocredits demo --users 10 --seed 7"])
@click.option("--users", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many users play.")
@click.option("--seed", type=int, default=1, show_default=True, help="What decides who does what when.")
def demo(users: int, seed: int) -> None:
    """Play the day of an app on a throwaway server, and check every balance afterwards.

    A hundred users click twice, retry and pay while workers report successes and failures, several times and too late.
    A table at the end tells what was done and how long it took; the exit code is 1 when a promise was broken.
    """
    from server.demo.command import run_demo

    sys.exit(0 if run_demo(users, seed) else 1)


@contextmanager
def _database(settings: Settings, *, shared: bool = False) -> Iterator[str]:
    """Yield the DSN of the database that the settings name, or of our own, which runs meanwhile.

    That the database turns out to be unfit becomes a StartError.
    """
    from db.migrate import DatabaseUnfit

    with ExitStack() as stack:
        dsn = settings.database_url
        if dsn is None:
            from server.postgres.embedded import embedded_postgres

            # The pool gets what it may ask for, and psql, `verify` and the like find room.
            at_most = {"max_connections": str(max(200, settings.database_pool_size + 50))}
            dsn = stack.enter_context(embedded_postgres(settings.data_dir, settings=at_most, shared=shared))
        try:
            yield dsn
        except DatabaseUnfit as unfit:
            raise StartError(str(unfit)) from unfit


async def _prepare(dsn: str, settings: Settings) -> None:
    """Migrate, and give a development server what its first user needs."""
    import db.database
    import db.migrate
    from resolvers.context import Terms
    from server.pages.seed import seed

    await db.migrate.migrate(dsn)
    if settings.development_keys:
        database = await db.database.connect(dsn, pool_size=1, timeout_seconds=settings.request_timeout_seconds)
        try:
            await seed(database, Terms(settings.signup_credits, settings.video_cost))
        finally:
            await database.close()


async def _verify(dsn: str, wallet_id: UUID | None) -> bool:
    """Print what is kept and what is broken, and return whether all is kept."""
    import db.migrate
    import db.verify

    all_kept = True
    async with db.migrate.connected(dsn) as connection:
        if reason := await db.migrate.unfit_reason(connection):
            raise StartError(reason)
        async for checked in db.verify.verify(connection, wallet_id):
            click.echo(f"{'BROKEN' if checked.broken else 'kept':<8}{checked.invariant.replace('_', ' ')}")
            for row in checked.broken:
                places = {"wallet": row.wallet_id, "video": row.video_id, "number": row.number}
                where = ", ".join(f"{name} {value}" for name, value in places.items() if value is not None)
                click.echo(f"{'':<8}  {where or 'database'}: {row.detail}")
            if checked.more:
                click.echo(f"{'':<8}  and {checked.more} more")
            all_kept = all_kept and not checked.broken
    return all_kept


async def _export(dsn: str, subject: Identity) -> bool:
    """Print what is stored about a person, and return whether anything is."""
    import db.migrate
    import db.person

    found = False
    async with db.migrate.connected(dsn) as connection:
        if reason := await db.migrate.unfit_reason(connection):
            raise StartError(reason)
        async for table, row in db.person.export(connection, _person(subject)):
            click.echo(f'{{"table": "{table}", "row": {row}}}')
            found = True
    return found


async def _erase(dsn: str, subject: Identity, *, dry_run: bool) -> Counter[str]:
    """Erase a person, or count what would be erased, and print and return how many rows of each table."""
    import asyncpg

    import db.database
    import db.migrate
    import db.person

    counts: Counter[str] = Counter()
    async with db.migrate.connected(dsn) as connection:
        if reason := await db.migrate.unfit_reason(connection):
            raise StartError(reason)
        database = await db.database.connect(dsn, pool_size=2, timeout_seconds=60)
        try:
            actor = Identity("videocredits erase", Role.ADMIN).actor
            async for step in db.person.erase(connection, database, _person(subject), actor, dry_run=dry_run):
                counts[step.what] += step.rows
                if sys.stderr.isatty():
                    click.echo(f"\r{counts.total():,} rows …", err=True, nl=False)
            if counts and sys.stderr.isatty():
                click.echo(err=True)
        except (db.database.RetryLaterError, asyncpg.PostgresError) as error:
            raise StartError(
                f"The database broke off ({error}): run this again, and it erases what is left."
            ) from error
        finally:
            await database.close()
    if not counts:
        click.echo(f"Nothing is stored about {subject.subject} that could be erased.")
        return counts
    click.echo(f"{'To erase' if dry_run else 'Erased'} of {subject.subject}:")
    for what, rows in counts.items():
        click.echo(f"{rows:>12,}  {what.replace('_', ' ')}")
    return counts


def _person(subject: Identity) -> "Person":
    from db.person import Person

    return Person(subject.user_id, [Identity(subject.subject, role).actor for role in Role])


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host`: whoever connects from now on waits until the server is ready."""
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            # With port 0 the first address is given any free one, and the others are given the same.
            port_of_all = listening[0].getsockname()[1] if listening else port
            listener = socket.create_server((str(address[0]), port_of_all), family=family)
            listening.append(listener)
    except OSError as error:
        # The name localhost may stand for an IPv6 address too, although IPv6 is switched off.
        if error.errno == errno.EADDRNOTAVAIL and listening:
            return listening
        for listener in listening:
            listener.close()
        raise StartError(_cannot_listen(host, port, error)) from error
    return listening


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            another = f"set {PREFIX}PORT to another (0 takes any free one)"
            return f"Port {port} of {host} is taken: stop the program that uses it, or {another}."
        case errno.EACCES:
            return f"Port {port} is for root alone: set {PREFIX}PORT to 1024 or more."
        case _:
            why = str(error.strerror).partition(" (")[0]
            return f"{PREFIX}HOST is {host}, where this machine cannot listen ({why}): set it to an address it has."


def _announce(settings: Settings, port: int) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    origin = f"http://{host}:{port}"
    lines = [f"videocredits {version('videocredits')} serves GraphQL at {origin}/graphql"]
    if settings.development_keys:
        lines += [f"An app's page, made with the client in TypeScript, is at {origin}/quickstart"]
        lines += [
            "Open either in a browser, the first for GraphiQL, or send one of these as `Authorization: Bearer …`:"
        ]
        lines += ["", *(f"{role:<7}{development_token(settings, IDENTITIES[role])}" for role in IDENTITIES), ""]
    lines += ["Ctrl-C stops it."]
    click.echo("\n".join(lines))
    sys.stdout.flush()
