"""The command: a throwaway server, the day played on it, and the closing table."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory

import asyncpg
import click

from db.verify import verify
from resolvers.identity import Role
from server.auth.tokens import mint_token
from server.demo.play import play
from server.demo.report import table
from server.postgres.embedded import embedded_postgres
from server.process.settings import PREFIX, Settings, StartError

SIGNUP_CREDITS = 2  # So few that everybody runs out of them.


def run_demo(users: int, seed: int) -> bool:
    """Play the day on a server of its own, print the closing table, and return whether all was as it must be.

    The progress goes to standard error. StartError when the server cannot start.
    """
    with TemporaryDirectory(prefix="videocredits-demo-") as directory:
        click.echo("Starting a server and its PostgreSQL …", err=True)
        secret = token_urlsafe(48)  # Not development keys, with which a server begins with a user and videos.
        settings = {"DATA_DIR": directory, "JWT_SECRET": secret, "SIGNUP_CREDITS": str(SIGNUP_CREDITS)}
        with serving(**settings) as url, _shown() as progress:
            report = asyncio.run(play(url, minting(secret), users=users, seed=seed, progress=progress))
        with embedded_postgres(Path(directory)) as dsn:
            broken = asyncio.run(verified(dsn))
    click.echo(table(report, broken))
    return not report.violations and not broken


@contextmanager
def serving(**settings: str) -> Iterator[str]:
    """Run `videocredits serve` on a free port with these settings alone, yield its GraphQL address, and stop it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    unlimited = {"RATE_LIMIT_PER_IDENTITY": "off", "RATE_LIMIT_PER_ADDRESS": "off"}  # All come from one address.
    settings = {"PORT": "0", "LOG_LEVEL": "warning", "LOG_FORMAT": "console", **unlimited, **settings}
    environment |= {PREFIX + name: value for name, value in settings.items()}
    command = [sys.executable, "-c", "from server.cli import main; main()", "serve"]
    with subprocess.Popen(  # noqa: S603 - the words of the command are ours, and no shell reads them.
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            announced = process.stdout.readline() if process.stdout else ""
            if not announced:
                raise StartError("The demo's server did not start: mend what it says above, then try again.")
            yield announced.split()[-1]
        finally:
            process.terminate()
            process.wait()


def minting(secret: str) -> Callable[[Role, str], str]:
    """Make tokens for a server with this secret."""
    settings = Settings()

    def mint(role: Role, subject: str) -> str:
        return mint_token(
            secret,
            role=role,
            subject=subject,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            role_claim=settings.role_claim,
            expires_in_seconds=86_400,
        )

    return mint


async def verified(dsn: str) -> list[str]:
    """Check every promise about the database, and return what is broken, a line each."""
    connection = await asyncpg.connect(dsn)
    try:
        return [
            f"{checked.invariant}: wallet {row.wallet_id}, video {row.video_id}, number {row.number}: {row.detail}"
            async for checked in verify(connection)
            for row in checked.broken
        ]
    finally:
        await connection.close()


@contextmanager
def _shown() -> Iterator[Callable[[int, int], None]]:
    """Yield what shows progress: a bar in a terminal, elsewhere a line for every tenth."""
    label = "Playing the day"
    if sys.stderr.isatty():
        with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

            def move(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            yield move
    else:

        def tell(done: int, total: int) -> None:
            if 10 * done // total > 10 * (done - 1) // total:
                click.echo(f"{label}: {100 * done // total} %", err=True)

        yield tell
