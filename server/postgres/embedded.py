"""The PostgreSQL that `serve` brings along: one per data directory, reachable only through a private socket."""

import fcntl
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from server.postgres.programs import choose_owner, find_programs
from server.process.settings import StartError

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
_DEFAULTS = {
    "cluster_name": "videocredits",
    "huge_pages": "off",
    "listen_addresses": "",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    # Inside PGDATA: short however deep that lies, and private, since PGDATA has mode 700.
    "unix_socket_directories": ".",
}
_LOG_BYTES_MAX = 10_000_000
_START_SECONDS_MAX = 120.0  # Recovery after a crash replays at most a few minutes of writing.
_STOP_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.01


@contextmanager
def embedded_postgres(
    data_dir: Path, *, settings: Mapping[str, str] = _NO_SETTINGS, shared: bool = False
) -> Iterator[str]:
    """Run PostgreSQL on `data_dir`, made if it is new, and yield its DSN; stop it on leaving, whatever happens.

    Each of `settings` overrides PostgreSQL's setting of that name. The DSN is good until the context is left.
    StartError when another process has the data directory, unless `shared`: then the DSN leads to that process's
    PostgreSQL, which is left running. StartError also when the directory or its PostgreSQL cannot be used.
    """
    data_dir = data_dir.resolve()
    with ExitStack() as stack:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = stack.enter_context(_opened(data_dir / "lock"))
            host = stack.enter_context(_socket_directory(data_dir / "postgres"))
            if _lock_unless_running(lock, data_dir, host, shared=shared):
                log = data_dir / "postgres.log"
                if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
                    log.replace(data_dir / "postgres.log.old")
                owner = choose_owner(data_dir / "postgres")
                cluster = _Cluster(
                    data_dir=data_dir,
                    owner=owner,
                    programs=find_programs(owner),
                    alive=stack.enter_context(_opened(data_dir / "postgres.lock")),
                    log=stack.enter_context(_opened(log, os.O_APPEND)),
                )
                stack.enter_context(cluster.running(settings))
        except OSError as error:
            raise StartError(
                f"PostgreSQL cannot use the data directory {data_dir} ({error.strerror or error}: {error.filename}); "
                "mend that, or set VIDEOCREDITS_DATA_DIR to another directory."
            ) from error
        yield f"postgresql://videocredits@/videocredits?host={quote(host)}&port=5432"


@dataclass(frozen=True)
class _Cluster:
    """One data directory, with what it takes to run PostgreSQL's programs on it."""

    data_dir: Path
    owner: tuple[int, int] | None  # The user and group to step down to, when we are root.
    programs: Path
    alive: int  # A lock that every process of PostgreSQL inherits, to tell whether one outlived its server.
    log: int

    @property
    def pgdata(self) -> Path:
        return self.data_dir / "postgres"

    @contextmanager
    def running(self, settings: Mapping[str, str]) -> Iterator[None]:
        self.wait_for_orphan()
        if not self.pgdata.exists():
            self.create(sync=settings.get("fsync", "on"))
        major = importlib.metadata.version("embedded-postgres").partition(".")[0]
        if (written_by := (self.pgdata / "PG_VERSION").read_text().strip()) != major:
            raise StartError(
                f"The data in {self.data_dir} is PostgreSQL {written_by}'s and this is PostgreSQL {major}: convert it "
                "with pg_upgrade, or set VIDEOCREDITS_DATA_DIR to another directory."
            )
        log_start = os.fstat(self.log).st_size
        options = [f"--{name}={value}" for name, value in {**_DEFAULTS, **settings}.items()]
        with ExitStack() as stack:
            process = self.start(self.pgdata, "postgres", *options)
            stack.callback(_stop, process)
            # Should we be killed, the pipe that only we hold ends, and this shell stops PostgreSQL in our stead.
            deputy = self.start(self.pgdata, "/bin/sh", "-c", f"read -r _; kill -INT {process.pid}")
            stack.callback(deputy.communicate)
            stack.callback(deputy.kill)
            deadline = time.monotonic() + _START_SECONDS_MAX
            while not _is_ready(self.pgdata, process.pid):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise self.failure("PostgreSQL did not start", log_start)
                time.sleep(_POLL_SECONDS)
            yield

    def wait_for_orphan(self) -> None:
        """Wait until the PostgreSQL whose server was killed has stopped, and clear away the process id that it left."""
        left_behind = self.pgdata / "postmaster.pid"
        deadline = time.monotonic() + 2 * _STOP_SECONDS_MAX
        while not _try_lock(self.alive):
            if time.monotonic() > deadline:
                pid = left_behind.read_text(errors="replace").partition("\n")[0] if left_behind.exists() else "unknown"
                raise StartError(
                    f"A PostgreSQL of an earlier start (process {pid}) works on {self.data_dir} and does not stop; end "
                    "it with SIGINT, then start again."
                )
            time.sleep(_POLL_SECONDS)
        # Nothing runs here now, so by now the process id may be a stranger's, of whom PostgreSQL would be afraid.
        left_behind.unlink(missing_ok=True)

    def create(self, *, sync: str) -> None:
        """Make the cluster elsewhere and move it into place when it is whole: its making may be interrupted."""
        unfinished = self.data_dir / "postgres.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if self.owner is not None:
            os.chown(unfinished, *self.owner)
        # Trust is enough: whoever gets at the socket, within a directory of mode 700, gets at the data files too.
        initdb = ["--username=videocredits", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self.run(unfinished, "initdb", *initdb, *(["--no-sync"] if sync == "off" else []))
        create_database = b"CREATE DATABASE videocredits;\n"
        self.run(unfinished, "postgres", "--single", f"--fsync={sync}", "postgres", stdin=create_database)
        unfinished.rename(self.pgdata)

    def run(self, pgdata: Path, *command: str, stdin: bytes = b"") -> None:
        log_start = os.fstat(self.log).st_size
        with self.start(pgdata, *command) as process:
            try:
                process.communicate(stdin)
            finally:
                process.kill()  # Does nothing unless we were interrupted.
        if process.returncode != 0:
            raise self.failure("PostgreSQL could not make its files", log_start)

    def start(self, pgdata: Path, *command: str) -> subprocess.Popen[bytes]:
        """Start a program, as a rule one of PostgreSQL's, on `pgdata`.

        It refuses to run as root and steps down to a user who, as a rule, cannot pass the directories above `pgdata`.
        None is opened for them: the process enters `pgdata` before it steps down, and knows it as /proc/self/cwd.
        """
        uid, gid = self.owner or (None, None)
        here = "/proc/self/cwd" if self.owner and Path("/proc/self/cwd").exists() else str(pgdata)
        return subprocess.Popen(  # noqa: S603 - the words of the command are ours, and no shell reads them.
            [str(self.programs / command[0]), *command[1:]],
            cwd=pgdata,
            env={"PGDATA": here, "LC_ALL": "C", "PATH": os.defpath},  # Not the caller's: its PG… would interfere.
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[self.alive],
            start_new_session=True,  # The terminal's Ctrl-C is for us: we stop PostgreSQL when we are done with it.
            user=uid,
            group=gid,
            extra_groups=None if self.owner is None else [],
        )

    def failure(self, what: str, log_start: int) -> StartError:
        output = os.pread(self.log, _LOG_BYTES_MAX, log_start).decode(errors="replace")
        reasons = re.findall(r"(?:FATAL|PANIC|error): +(.+)", output) or output.split("\n")
        return StartError(f"{what} in {self.data_dir}: {reasons[-1].strip()}. See {self.data_dir / 'postgres.log'}.")


def _lock_unless_running(lock: int, data_dir: Path, host: str, *, shared: bool) -> bool:
    """Take the lock: True. Or, when `shared`, find the PostgreSQL of who has it ready: False."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while not _try_lock(lock):
        if not shared:
            raise StartError(
                f"Another videocredits server is using {data_dir}; stop it, or set VIDEOCREDITS_DATA_DIR to another "
                "directory."
            )
        if time.monotonic() > deadline:
            raise StartError(f"The videocredits server that is using {data_dir} does not get ready; restart it.")
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"{host}/.s.PGSQL.5432")
            if _is_ready(data_dir / "postgres"):
                return False
        time.sleep(_POLL_SECONDS)
    return True


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    # Without following links: root may be given a directory in which another user planted one.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _socket_directory(pgdata: Path) -> Iterator[str]:
    """Yield a path to `pgdata` that is short enough for a socket's address and needs no quoting in a DSN."""
    if re.fullmatch(r"[\w./-]{1,85}", str(pgdata), re.ASCII):
        yield str(pgdata)
    else:
        with tempfile.TemporaryDirectory(prefix="videocredits-") as directory:
            link = Path(directory) / "postgres"
            link.symlink_to(pgdata)
            yield str(link)


def _is_ready(pgdata: Path, pid: int | None = None) -> bool:
    with suppress(FileNotFoundError):
        lines = (pgdata / "postmaster.pid").read_text(errors="replace").split("\n")
        return len(lines) > 7 and lines[7].strip() == "ready" and (pid is None or lines[0] == str(pid))
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.send_signal(signal.SIGINT)  # Fast: clients are sent away, and a checkpoint is written.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS_MAX)
    finally:  # Also when somebody is impatient and presses Ctrl-C again.
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)  # Immediate: the next start recovers.
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS_MAX)
            process.kill()
        process.communicate()
