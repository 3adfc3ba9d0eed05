"""Every mutation's function in the migrated database: the code and it agree on parameters, columns and outcomes."""

import re
from itertools import takewhile
from types import FunctionType
from typing import Any, get_args, get_type_hints

import pytest

import db.user
import db.video_data
from db.database import Database
from db.function import FUNCTIONS
from db.mutation import Mutation
from db.video_data import CONTENT_COLUMNS, VideoDataRow
from tests.db.test_statements import PYTHON_TYPES, without_none

NAMES = sorted(FUNCTIONS)
MODULES = (db.user, db.video_data)
MUTATIONS = {value.name: value for module in MODULES for value in vars(module).values() if isinstance(value, Mutation)}
PARTS = {"user": "account"}  # `user` is reserved in SQL.


def run_by(name: str) -> FunctionType:
    """Return the function in Python that runs a mutation."""
    (found,) = (getattr(module, name) for module in MODULES if hasattr(module, name))
    assert isinstance(found, FunctionType)
    return found


def answer(name: str) -> dict[str, Any]:
    """Return the fields of what a mutation's function in Python returns, with their types."""
    return get_type_hints(get_type_hints(run_by(name))["return"])


def test_every_function_is_called() -> None:
    """Each file defines one function, which one function in Python calls."""
    assert sorted(MUTATIONS) == NAMES
    for name in NAMES:
        assert re.findall(r"FUNCTION (\w+)", FUNCTIONS[name].sql) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_explains_itself(name: str) -> None:
    """Its file begins with its promise, its parameters, its outcomes, and why it is race-free."""
    lines = takewhile(lambda line: line.startswith("--"), FUNCTIONS[name].sql.splitlines())
    explained = " ".join(line.removeprefix("--").strip() for line in lines)
    assert re.match(r"[A-Z].+[.:]", explained)
    assert "Race-free because" in explained
    assert "in the order of their ids" in explained or "primary key" in explained
    words = set(re.findall(r"\w+", explained))
    columns = set(VideoDataRow._fields) | set(CONTENT_COLUMNS) if "the video's columns" in explained else set()
    assert set(MUTATIONS[name].parameters) - columns <= words
    assert set(get_args(answer(name)["outcome"])) <= words


@pytest.mark.parametrize("name", NAMES)
def test_outcomes_are_the_row_types(name: str) -> None:
    """A function answers with the outcomes that its row type in Python names, and no others."""
    code = "\n".join(line for line in FUNCTIONS[name].sql.splitlines() if not line.startswith("--"))
    answered = set(re.findall(r"(?:THEN|ELSE|outcome :=|\.(?:i|place),)\s+'([a-z_]+)'", code))
    assert answered == set(get_args(answer(name)["outcome"]))


@pytest.mark.parametrize("name", NAMES)
async def test_parameters_are_the_functions(database: Database, name: str) -> None:
    """The parameters have the names of Python's and their types, as arrays; the last is the request's id."""
    names = await database.pool.fetchval(
        "SELECT proargnames[1:pronargs] FROM pg_proc WHERE oid = $1::text::regproc", name
    )
    hints = {each: hint for each, hint in get_type_hints(run_by(name)).items() if each not in {"database", "return"}}
    assert names == [f"{each}_of" for each in (*hints, "request_id")]
    async with database.pool.acquire() as connection:
        parameters = (await connection.prepare(MUTATIONS[name].text)).get_parameters()
    types = [PYTHON_TYPES[kind.name.removesuffix("[]")] for kind in parameters]
    json = {"caption", "comments", "profile", "stored"}
    assert types == [*(str if each in json else without_none(hint) for each, hint in hints.items()), int]


@pytest.mark.parametrize("name", NAMES)
async def test_columns_are_the_row_types_fields(database: Database, name: str) -> None:
    """The columns are the fields of the row types, by name, in order, and of the annotated types."""
    expected: list[tuple[str, object]] = [("place", int), ("outcome", str)]
    for part, row in answer(name).items():
        if part != "outcome":
            prefix = PARTS.get(part, part)
            fields = get_type_hints(without_none(row)).items()
            expected += [(f"{prefix}_{field}", without_none(kind)) for field, kind in fields]
    async with database.pool.acquire() as connection:
        columns = (await connection.prepare(MUTATIONS[name].text)).get_attributes()
    assert [(column.name, PYTHON_TYPES[column.type.name]) for column in columns] == expected
