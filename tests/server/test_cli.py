"""The command line does what its help says, stops everything it starts, and explains a failed start in a sentence."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from resolvers.identity import Role
from schema.node import UserKey, encode_id
from server.cli import commands
from server.process.settings import VARIABLES
from tests.api import SECRET, headers
from tests.conftest import NewDatabase
from tests.server.postgres.test_embedded import processes_in

COMMAND = str(Path(sys.executable).parent / "videocredits")


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """Use the given settings, and none from the environment of the test run."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("VIDEOCREDITS_")}
    given = {"DATA_DIR": str(data_dir), "PORT": "0", **settings}
    return others | {f"VIDEOCREDITS_{name}": value for name, value in given.items()}


def run(data_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(data_dir: Path, *arguments: str, **settings: str) -> str:
    """Run a command that cannot start: it must say why in one line, and print nothing else."""
    done = run(data_dir, *arguments, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"Error: .+\.\n", done.stderr), done.stderr
    return done.stderr


@dataclass(frozen=True)
class Served:
    """A running server, and its output."""

    process: subprocess.Popen[str]
    data_dir: Path
    address: str
    tokens: dict[str, str]

    def query(self, document: str, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx2.post(self.address, json={"query": document}, headers=headers, timeout=30).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def stop(self, number: signal.Signals) -> str:
        """Send a signal, check that the server and its PostgreSQL exit cleanly, and return the log."""
        self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, logged
        assert processes_in(self.data_dir / "postgres") == []
        return logged


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Served]:
    """Run `serve` on a free port, from when it prints its address; kill it if it has not been stopped."""
    with subprocess.Popen(
        [COMMAND, "serve"],
        env=environment(data_dir, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            output = ""
            for line in process.stdout:  # It ends, too, if the server does.
                output += line
                if line == "Ctrl-C stops it.\n":
                    break
            address = re.search(r"http://\S+/graphql", output)
            assert address is not None, output
            tokens = re.findall(r"^(USER|WORKER|ADMIN) +(\S+)$", output, re.MULTILINE)
            yield Served(process, data_dir, address[0], dict(tokens))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a server that the tests do not change."""
    with serving(tmp_path_factory.mktemp("served") / "data") as server:
        yield server
        server.stop(signal.SIGTERM)


def test_the_first_start(served: Served) -> None:
    """On a new data directory `serve` prints its address and a token for each role; the user has sign-up credits."""
    assert served.address.startswith("http://127.0.0.1:")
    assert list(served.tokens) == ["USER", "WORKER", "ADMIN"]
    assert served.query("{ viewer { credits } }", served.tokens["USER"])["viewer"]["credits"] > 0
    assert served.query("{ renderQueue { nodes { id } } }", served.tokens["WORKER"])
    assert len(served.query("{ users { nodes { id } } }", served.tokens["ADMIN"])["users"]["nodes"]) == 1
    assert "server" not in httpx2.get(served.address.replace("graphql", "livez")).headers


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Served]:
    """Run a server that one test changes."""
    with serving(tmp_path / "data") as server:
        yield server
        server.stop(signal.SIGTERM)


def test_a_person_is_exported_and_erased(changed: Served) -> None:
    """`export` prints JSON Lines about a person; `erase` counts, asks, erases, and the second time finds nothing."""
    token = run(changed.data_dir, "token", "--role", "USER", "--subject", "auth0|ann").stdout.strip()
    changed.query('mutation { registerUser(input: { name: "Ann Lee" }) { __typename } }', token)
    given = '{ title: "Whales", videoStyle: "realistic", idempotencyKey: "once" }'
    changed.query(f"mutation {{ createVideoData(input: {given}) {{ __typename }} }}", token)
    of_ann = ("--subject", "auth0|ann")

    exported = run(changed.data_dir, "export", *of_ann)
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [line["table"] for line in lines[:3]] == ["users", "wallets", "video_data"]
    assert lines[0]["row"]["name"] == "Ann Lee"
    assert (exported.stderr, exported.returncode) == ("", 0)

    assert "give --yes" in refusal(changed.data_dir, "erase", *of_ann)
    counted = run(changed.data_dir, "erase", *of_ann, "--dry-run")
    assert counted.stdout.splitlines()[0] == "To erase of auth0|ann:"
    assert "Ann Lee" in run(changed.data_dir, "export", *of_ann).stdout
    done = run(changed.data_dir, "erase", *of_ann, "--yes")
    assert re.sub(r"^ +", "", done.stdout, flags=re.MULTILINE).splitlines() == [
        "Erased of auth0|ann:",
        "1  users",
        "1  videos canceled",
        "1  video data",
        "2  credit entries",
        "1  video events",
    ]
    assert (done.stderr, done.returncode) == ("", 0)
    assert changed.query("{ viewer { name credits } }", token)["viewer"]["name"] is None
    again = run(changed.data_dir, "erase", *of_ann, "--yes")
    assert (again.stdout, again.returncode) == ("Nothing is stored about auth0|ann that could be erased.\n", 0)
    assert "Ann Lee" not in run(changed.data_dir, "export", *of_ann).stdout

    assert "Nothing is stored about nobody." in refusal(changed.data_dir, "export", "--subject", "nobody")
    assert run(changed.data_dir, "erase", "--subject", "a\x01b").returncode == 2
    assert run(changed.data_dir, "verify").returncode == 0


def test_token_prints_only_the_token(served: Served) -> None:
    """`token` prints a token for the requested subject and role, which the server accepts, and nothing else."""
    done = run(served.data_dir, "token", "--role", "ADMIN", "--subject", "boss", "--expires-in", "15m")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout)
    assert (done.stderr, done.returncode) == ("", 0)
    served.query("{ users { nodes { id } } }", done.stdout.strip())
    assert served.query("{ viewer { id } }", done.stdout.strip()) == {
        "viewer": None
    }  # The administrator is not registered.


def test_token_refuses_invalid_requests(tmp_path: Path) -> None:
    """No token is made when keys are set, or for an invalid subject or duration."""
    message = refusal(tmp_path, "token", "--role", "user", JWT_SECRET=SECRET)
    assert "VIDEOCREDITS_JWT_SECRET is set" in message
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    message = refusal(tmp_path, "token", "--role", "user", JWT_SECRET_FILE=str(tmp_path / "secret"))
    assert "VIDEOCREDITS_JWT_SECRET_FILE is set" in message
    provider = {"JWKS_URL": "https://id.example/keys", "JWT_AUDIENCE": "app", "JWT_ISSUER": "id"}
    assert "VIDEOCREDITS_JWKS_URL is set" in refusal(tmp_path, "token", "--role", "user", **provider)
    for wrong in (
        ["--role", "king"],
        ["--role", "user", "--subject", "a\nb"],
        ["--role", "user", "--expires-in", "1y"],
    ):
        done = run(tmp_path, "token", *wrong)
        assert (done.stdout, done.returncode) == ("", 2)
        assert re.search(f"Invalid value for '?{wrong[-2]}", done.stderr)


def test_one_port_and_one_data_directory_for_each_server(served: Served, tmp_path: Path) -> None:
    """A second start on the same port or data directory is refused, the port before a database is created."""
    port = served.address.split(":")[2].split("/")[0]
    message = refusal(tmp_path / "other", "serve", PORT=port)
    assert f"Port {port} of 127.0.0.1 is taken: stop the program that uses it, or set VIDEOCREDITS_PORT" in message
    assert not (tmp_path / "other").exists()
    message = refusal(served.data_dir, "serve")
    assert f"Another videocredits server is using {served.data_dir}; stop it, or set VIDEOCREDITS_DATA_DIR" in message
    assert served.query("{ viewer { id } }", served.tokens["USER"])["viewer"]


def test_migrate_shares_a_running_server_s_database(served: Served) -> None:
    """`migrate` on a running server's data directory uses its PostgreSQL, and leaves it running."""
    done = run(served.data_dir, "migrate")
    assert (done.stdout, done.stderr, done.returncode) == ("The database is up to date.\n", "", 0)
    assert served.query("{ viewer { id } }", served.tokens["USER"])["viewer"]


def test_data_survives_every_kind_of_exit(tmp_path: Path) -> None:
    """After SIGTERM, Ctrl-C, a closed terminal and a kill, the next start has the same user, balance and secret."""
    with serving(tmp_path) as server:
        token = server.tokens["USER"]
        document = 'mutation { createVideoData(input: {title: "Whales", videoStyle: "realistic", idempotencyKey: "1"}) '
        server.query(document + "{ __typename } }", token)
        before = server.query("{ viewer { id credits } }", token)
        assert server.stop(signal.SIGTERM)  # It has logged the requests.
    for number in (signal.SIGINT, signal.SIGHUP):
        with serving(tmp_path) as server:
            assert server.query("{ viewer { id credits } }", token) == before
            assert "Traceback" not in server.stop(number)
    with serving(tmp_path) as server:
        server.process.kill()
        server.process.wait()
    with serving(tmp_path) as server:
        assert server.query("{ viewer { id credits } }", token) == before
        server.stop(signal.SIGTERM)


def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path) -> None:
    """A signal while PostgreSQL is being created stops PostgreSQL too, and is no error."""
    with subprocess.Popen([COMMAND, "serve"], env=environment(tmp_path), stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "postgres.unfinished" / "PG_VERSION").exists():
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.terminate()
        _, logged = process.communicate(timeout=60)
    assert (logged, process.returncode) == ("", 0)
    assert not (tmp_path / "postgres").exists()
    with serving(tmp_path) as server:
        server.stop(signal.SIGTERM)


async def test_with_keys_and_a_database_of_the_operator_s(new_database: NewDatabase, tmp_path: Path) -> None:
    """With a secret and a database in the settings, `serve` prints no token, registers no user, and embeds nothing."""

    def serve() -> None:
        with serving(tmp_path / "data", JWT_SECRET=SECRET, DATABASE_URL=dsn) as server:
            assert server.tokens == {}
            token = headers("root", Role.ADMIN)["Authorization"].removeprefix("Bearer ")
            assert server.query("{ users { nodes { id } } }", token) == {"users": {"nodes": []}}
            server.stop(signal.SIGTERM)

    dsn = await new_database()
    await asyncio.to_thread(serve)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        pytest.param({"HOST": "0.0.0.0"}, "there are only development keys", id="development keys in public"),
        pytest.param(
            {"HOST": "192.0.2.1", "JWT_SECRET": SECRET}, "set it to an address it has", id="not this machine's"
        ),
        pytest.param(
            {"HOST": "nowhere.invalid", "JWT_SECRET": SECRET}, "set it to an address it has", id="no such host"
        ),
        pytest.param({"DATA_DIR": "/dev/null/data"}, "set VIDEOCREDITS_DATA_DIR to another", id="no directory"),
        pytest.param({"DATABASE_URL": "postgresql://me:hush@127.0.0.1:1/db"}, "cannot be reached", id="unreachable"),
        pytest.param({"DATABASE_URL": "postgresql://me:hush@[/db"}, "write it as postgresql://", id="malformed"),
    ],
)
def test_serve_explains_a_failed_start(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    """Each obstacle is one sentence that says what to do, without a password; nothing has been started by then."""
    said = refusal(tmp_path / "data", "serve", **settings)
    assert text in said
    assert "hush" not in said
    assert not (tmp_path / "data").exists()


def test_all_wrong_settings_are_reported_at_once(tmp_path: Path) -> None:
    """Every wrong setting has its own line."""
    done = run(tmp_path, "serve", PORT="http", SIGNUP_CREDITS="-1", COLOUR="red")
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stderr.splitlines()] == [
        ["Error:", f"VIDEOCREDITS_{name}"] for name in ("PORT", "SIGNUP_CREDITS", "COLOUR")
    ]


async def test_an_unusable_database_is_refused(new_database: NewDatabase, tmp_path: Path) -> None:
    """`serve` and `migrate` refuse a missing database and one too new for the code, in a sentence."""
    dsn = await new_database()
    done = await asyncio.to_thread(run, tmp_path, "migrate", DATABASE_URL=dsn)
    assert (done.stderr, done.returncode) == ("", 0)
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE alembic_version SET version_num = '9999', oldest_code = '9999'")
    await connection.close()
    for command in ("serve", "migrate"):
        message = await asyncio.to_thread(refusal, tmp_path, command, DATABASE_URL=dsn)
        assert "The database is at migration 9999, too new for this code" in message
        message = await asyncio.to_thread(refusal, tmp_path, command, DATABASE_URL=dsn.replace("/test_", "/no_"))
        assert "does not exist): create it" in message


async def test_verify_reports_broken_rules(new_database: NewDatabase, tmp_path: Path) -> None:
    """`verify` lists every rule and exits with 0, or with 1 and the broken row, for all users or one."""
    dsn = await new_database()
    message = await asyncio.to_thread(refusal, tmp_path, "verify", DATABASE_URL=dsn)
    assert message == "Error: The database has no tables yet: run `videocredits migrate`.\n"
    assert (await asyncio.to_thread(run, tmp_path, "migrate", DATABASE_URL=dsn)).returncode == 0
    kept = await asyncio.to_thread(run, tmp_path, "verify", DATABASE_URL=dsn)
    assert {line.split()[0] for line in kept.stdout.splitlines()} == {"kept"}
    assert (kept.stderr, kept.returncode) == ("", 0)
    ann, bob = uuid4(), uuid4()
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET session_replication_role = replica")  # Without the triggers, as only a superuser can.
    rich = "INSERT INTO wallets (wallet_id, credits) VALUES ($1, 5)"
    await connection.executemany(rich, [[ann], [bob]])
    await connection.close()
    broken = await asyncio.to_thread(run, tmp_path, "verify", DATABASE_URL=dsn)
    assert "BROKEN  balances are sums\n" in broken.stdout
    assert {str(ann), str(bob)} <= set(re.split(r"[\s:]+", broken.stdout))
    assert (broken.stderr, broken.returncode) == ("", 1)
    for user in (str(ann), str(encode_id(UserKey(ann)))):
        one = await asyncio.to_thread(run, tmp_path, "verify", "--user", user, DATABASE_URL=dsn)
        assert str(ann) in one.stdout
        assert str(bob) not in one.stdout
        assert (one.stderr, one.returncode) == ("", 1)
    assert (await asyncio.to_thread(run, tmp_path, "verify", "--user", "ann")).returncode == 2


def test_schema_prints_the_contract(tmp_path: Path) -> None:
    """`schema` prints only GraphQL."""
    done = run(tmp_path, "schema")
    assert "\ntype Mutation {\n" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_help_has_examples(tmp_path: Path) -> None:
    """Every command's help shows an example, and `serve` lists every setting."""
    for name in commands.commands:
        assert "Examples:\n  " in (shown := run(tmp_path, name, "--help").stdout)
        assert f"videocredits {name}" in shown.partition("Examples:")[2]
    shown = run(tmp_path, "serve", "--help").stdout
    assert [name for name in VARIABLES if name not in shown] == []
