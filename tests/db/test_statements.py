"""Every query, prepared against the migrated database: the code and it agree on parameters and columns."""

import ast
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import import_module
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from types import FunctionType, NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints
from uuid import UUID

import asyncpg
import pytest

import db
import schema
from db.change_feed import Change
from db.credit_entry import CreditEntryRow
from db.user import UserRow
from db.video_data import CONTENT_COLUMNS, VideoContentRow, VideoDataCountsRow, VideoDataRow
from db.video_event import VideoEventRow
from db.wallet import WalletRow


class Definition(NamedTuple):
    name: str
    definition: str


class After(NamedTuple):
    after: int


class QueuePosition(NamedTuple):
    queue_id: UUID
    position: int


RowType = type[tuple[Any, ...]]

# What each query answers with, in order: rows, by their columns' prefix and their type.
ANSWERS: dict[str, list[tuple[str, RowType]]] = {
    "count_video_data": [("", VideoDataCountsRow)],
    "get_credit_entries": [("", CreditEntryRow)],
    "get_queue_positions": [("", QueuePosition)],
    "get_users": [("", UserRow)],
    "get_viewers": [("", UserRow), ("", CreditEntryRow)],
    "get_video_content": [("", VideoContentRow)],
    "get_video_data": [("", VideoDataRow)],
    "get_video_events": [("", VideoEventRow)],
    "list_added_credit_entries": [("", CreditEntryRow), ("", After)],
    "list_all_videos": [("", VideoDataRow)],
    "list_credit_entries": [("", CreditEntryRow)],
    "list_credit_entries_of_video": [("", CreditEntryRow)],
    "list_render_queue": [("", VideoDataRow)],
    "list_users": [("", UserRow)],
    "list_video_events": [("", VideoEventRow)],
    "list_videos": [("", VideoDataRow)],
    "poll_changes": [("", Change)],
    "read_catalog": [("", Definition)],
}
NAMES = sorted(file.name.removesuffix(".sql") for file in (files("db") / "queries").iterdir() if file.is_file())
PYTHON_TYPES: dict[str, object] = {
    "uuid": UUID,
    "int4": int,
    "int8": int,
    "int4[]": list[int],
    "text": str,
    "jsonb": Any,
    "timestamptz": datetime,
    "float8": float,
    "bool": bool,
    "bytea": bytes,
}


MODULES = [import_module(f"db.{each.name}") for each in pkgutil.iter_modules(db.__path__)]
# A list's statement is there in two orders.
ORDERS: dict[str, tuple[str, ...]] = {
    constant.lower(): (texts,) if isinstance(texts, str) else texts
    for module in MODULES
    for constant, texts in vars(module).items()
    if constant.isupper() and constant.lower() in NAMES
}
TEXTS = {name: texts[0] for name, texts in ORDERS.items()}


def functions() -> Iterator[tuple[FunctionType, set[str]]]:
    """Find each function of `db` that runs statements, and the names of those."""
    for module in MODULES:
        constants = {name for name in vars(module) if name.isupper() and name.lower() in NAMES}
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__:
                used = {
                    node.id for node in ast.walk(ast.parse(inspect.getsource(function))) if isinstance(node, ast.Name)
                }
                if used & constants:
                    yield getattr(module, name), {constant.lower() for constant in used & constants}


RUN_BY: dict[str, list[FunctionType]] = {
    name: [function for function, run in functions() if name in run] for name in NAMES
}


def header(name: str) -> str:
    """Return the comment that a statement's file begins with."""
    lines = takewhile(lambda line: line.startswith("--"), TEXTS[name].splitlines())
    return " ".join(line.removeprefix("--").strip() for line in lines)


def without_none(annotation: object) -> object:
    if isinstance(annotation, UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not NoneType)
    return annotation


@pytest.fixture
async def connection(dsn: str) -> typing.AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def test_the_package_schema_is_ours() -> None:
    """The package `schema` is this project's, and not the one of that name that others may have installed over it."""
    assert Path(schema.__file__ or "").parent == Path(__file__).parents[2] / "schema"
    assert (schema.__doc__ or "").startswith("GraphQL's nouns")


def test_every_statement_is_known_here() -> None:
    """Every statement's columns are compared below."""
    assert set(NAMES) == set(ANSWERS)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_run_by_one_function(name: str) -> None:
    """A query is run by the one function of its own name."""
    assert [function.__name__ for function in RUN_BY[name]] == [name]


@pytest.mark.parametrize("name", NAMES)
async def test_a_statement_explains_itself(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """A query's file begins with what it does, and what each parameter is."""
    explained = header(name)
    assert re.match(r"[A-Z].+[.:]", explained)
    parameters = (await connection.prepare(TEXTS[name])).get_parameters()
    assert set(re.findall(r"\$(\d+)", explained)) == {str(number) for number in range(1, len(parameters) + 1)}


@pytest.mark.parametrize("name", NAMES)
async def test_columns_are_the_row_types_fields(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """A statement's columns are its row types' fields, by name, in order, and of the annotated types."""
    expected: list[tuple[str, object]] = []
    for prefix, row_type in ANSWERS[name]:
        expected += [(prefix + field, without_none(kind)) for field, kind in get_type_hints(row_type).items()]
    columns = (await connection.prepare(TEXTS[name])).get_attributes()
    assert [(column.name, PYTHON_TYPES[column.type.name]) for column in columns] == expected


def parameter_types(annotation: object) -> list[object]:
    """Spread an annotation over the parameters that a value of it fills: a list of pairs is two lists."""
    annotation = without_none(annotation)
    if get_origin(annotation) is not Sequence:
        return [annotation]
    (item,) = get_args(annotation)
    return [(list, part) for part in (get_args(item) if get_origin(item) is tuple else [item])]


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"poll_changes", "read_catalog"}))
async def test_parameters_are_the_functions(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """A function's parameters are its query's, in order and of the annotated types."""
    (function,) = RUN_BY[name]
    hints = {
        name: hint for name, hint in get_type_hints(function).items() if name not in {"database", "backward", "return"}
    }
    expected = [part for hint in hints.values() for part in parameter_types(hint)]
    parameters = (await connection.prepare(TEXTS[name])).get_parameters()
    types = [(kind.kind, PYTHON_TYPES[kind.name.removesuffix("[]")]) for kind in parameters]
    assert [(list, type_) if kind == "array" else type_ for kind, type_ in types] == expected


@pytest.mark.parametrize(
    ("tables", "row_type"),
    [
        (["users", "wallets"], UserRow),
        (["wallets"], WalletRow),
        (["video_data"], VideoDataRow),
        (["video_contents"], VideoContentRow),
        (["credit_entries"], CreditEntryRow),
        (["video_events"], VideoEventRow),
    ],
)
async def test_a_field_may_be_none_where_its_column_may(
    connection: "asyncpg.Connection[asyncpg.Record]", tables: list[str], row_type: RowType
) -> None:
    """A row type's field admits None exactly where its column admits null."""
    columns = await connection.fetch(
        "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = any($1::text[]::regclass[]) AND attnum > 0",
        tables,
    )
    not_null = {record["attname"]: record["attnotnull"] for record in columns}
    not_null |= {"sizes": True, "total_bytes": True}  # No columns: a statement measures the large ones.
    for field, annotation in get_type_hints(row_type).items():
        admits_none = annotation is Any or NoneType in get_args(annotation)
        assert admits_none is not not_null[field], field


async def test_a_video_carries_no_content_along(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The large columns have a table of their own: a report on a video with 3 MB of them took 7 ms, not 0.4."""
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'video_data'::regclass AND NOT attisdropped"
    )
    assert not {record["attname"] for record in columns} & set(CONTENT_COLUMNS)
