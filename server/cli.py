"""The command line: serve, migrate, token, schema, verify, demo."""
# ruff: noqa: PLC0415 - what a command needs is imported when it runs, so that `token` and `--help` are quick.

import asyncio
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from types import FrameType
from typing import Any, Never

import click

from server.settings import PREFIX, VARIABLES, Settings, StartError, development_secret

DEVELOPMENT_SUBJECTS = {"user": "dev-user", "worker": "dev-worker", "admin": "dev-admin"}
DEVELOPMENT_TOKEN_SECONDS = 30 * 86_400
STOP_SECONDS_MAX = 5  # So long may requests in flight take when the server stops: containers are given ten in all.


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
    import uvicorn

    import server.app
    import server.logging

    settings = Settings.from_environment(os.environ)
    server.logging.configure(settings.log_format, settings.log_level)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _announce(settings, listening[0].getsockname()[1])

    # An interrupt is how a server ends well. By the time it is caught here, all that the stack holds has been stopped.
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        listening = [stack.enter_context(listener) for listener in _listen(settings.host, settings.port)]
        dsn = stack.enter_context(_database(settings))
        asyncio.run(_prepare(dsn, settings))
        config = uvicorn.Config(
            server.app.create_app(replace(settings, database_url=dsn)),
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS_MAX,
        )
        Server(config).run(listening)


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
    with _database(Settings.from_environment(os.environ), shared=True) as dsn:
        asyncio.run(_migrate(dsn))
    click.echo("The database is up to date.")


@commands.command(
    cls=_Command,
    examples=[
        "videocredits token --role user",
        'curl -H "Authorization: Bearer $(videocredits token --role worker --subject render-1)" …',
    ],
    settings=["DATA_DIR", "JWT_AUDIENCE", "JWT_ISSUER", "ROLE_CLAIM"],
)
@click.option("--role", type=click.Choice(list(DEVELOPMENT_SUBJECTS), case_sensitive=False), required=True)
@click.option("--subject", help="Whose token it is.  [default: dev-user, dev-worker or dev-admin]")
@click.option(
    "--expires-in", type=_Duration(), default="30d", show_default=True, help="How long it is good: 90s, 15m, 12h, 30d."
)
def token(role: str, subject: str | None, expires_in: int) -> None:
    """Print a bearer token for development, and nothing else.

    Servers with development keys and the same VIDEOCREDITS_DATA_DIR take it, whether they run already or not. When a
    key for tokens is set, whoever has that key makes the tokens, and this command refuses.
    """
    settings = Settings.from_environment(os.environ)
    if not settings.development_keys:
        key = "JWKS_URL" if settings.jwks_url else "JWT_SECRET"
        raise StartError(
            f"{PREFIX}{key} is set, so the tokens are not this server's to make: get one where your users sign in, or "
            "unset it to use development keys."
        )
    try:
        click.echo(_mint(settings, role, subject, expires_in))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--subject") from error


@commands.command(cls=_Command, examples=["videocredits schema > schema.graphql"])
def schema() -> None:
    """Print the API's GraphQL schema, for code generators."""
    from server.graphql import build_schema

    click.echo(build_schema().as_str())


@contextmanager
def _database(settings: Settings, *, shared: bool = False) -> Iterator[str]:
    """Yield the DSN of the database that the settings name, or of our own, which runs meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    from server.embedded import embedded_postgres

    connections_max = max(200, settings.database_pool_size + 50)  # The rest is for psql, `verify` and the like.
    with embedded_postgres(settings.data_dir, settings={"max_connections": str(connections_max)}, shared=shared) as dsn:
        yield dsn


async def _migrate(dsn: str) -> None:
    import db.migrate

    try:
        await db.migrate.migrate(dsn)
    except db.migrate.DatabaseUnfit as error:
        raise StartError(str(error)) from error


async def _prepare(dsn: str, settings: Settings) -> None:
    """Migrate, and register the user whose token is printed."""
    import db.database
    import db.user
    from resolvers.identity import Identity, Role

    await _migrate(dsn)
    if settings.development_keys:
        user = Identity(DEVELOPMENT_SUBJECTS["user"], Role.USER)
        database = await db.database.connect(dsn, pool_size=1, timeout_seconds=settings.request_timeout_seconds)
        try:
            await db.user.register_user(
                database, user.user_id, user.subject, None, None, None, settings.signup_credits, user.actor
            )
        finally:
            await database.close()


def _mint(settings: Settings, role: str, subject: str | None = None, seconds: int = DEVELOPMENT_TOKEN_SECONDS) -> str:
    from resolvers.identity import Role
    from server.identity import mint_token

    return mint_token(
        development_secret(settings.data_dir),
        role=Role(role.upper()),
        subject=DEVELOPMENT_SUBJECTS[role] if subject is None else subject,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        role_claim=settings.role_claim,
        expires_in_seconds=seconds,
    )


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host`: whoever connects from now on waits until the server is ready."""
    listening: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            # With port 0 the first address is given any free one, and the others are given the same.
            port_of_all = listening[0].getsockname()[1] if listening else port
            listening.append(socket.create_server((str(address[0]), port_of_all), family=family))
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
    lines = [f"videocredits {version('videocredits')} serves GraphQL at http://{host}:{port}/graphql"]
    if settings.development_keys:
        lines += ["Open that address in a browser for GraphiQL, or send one of these as `Authorization: Bearer …`:"]
        lines += ["", *(f"{role.upper():<7}{_mint(settings, role)}" for role in DEVELOPMENT_SUBJECTS), ""]
    lines += ["Ctrl-C stops it."]
    click.echo("\n".join(lines))
    sys.stdout.flush()
