"""A mutation is one function in PostgreSQL, which runs 1 to 64 calls at once: ``functions/<name>.sql``."""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import asyncpg

_PARAMETER = re.compile(r"(\w+)_of (\w+)\[\]")


def function(name: str) -> str:
    """Return the text of ``functions/<name>.sql``."""
    return (files("db") / "functions" / f"{name}.sql").read_text(encoding="utf-8")


class Mutation:
    """A function and the statement that calls it: an array for each parameter, and a row for each call.

    A row has the call's ``place`` in the arrays, from 1, the ``outcome``, and the columns of the row types of its
    ``parts``, which are null where there is no such row.
    """

    def __init__(self, name: str, **parts: Any) -> None:
        self.name = name
        signature = re.search(rf"FUNCTION {name}\((.*?)\) RETURNS", function(name), re.DOTALL)
        assert signature is not None  # noqa: S101 - the file defines the function of its name
        types = dict(_PARAMETER.findall(signature[1]))
        self.parameters = tuple(types)
        # Each entry keeps its request's id; a video or a profile keeps those of its newest changes.
        self.writes_entries = "idempotency_key" in types
        columns = [f"({part}).{column} AS {part}_{column}" for part, row in parts.items() for column in row._fields]
        arguments = [f"${number}::{type_}[]" for number, type_ in enumerate(types.values(), start=1)]
        self.text = f"SELECT place, outcome, {', '.join(columns)} FROM {name}({', '.join(arguments)})"  # noqa: S608 - no input
        self._parts = []
        begin = 2
        for row in parts.values():
            end = begin + len(row._fields)
            self._parts.append((begin, end, row._make))
            begin = end

    def rows(self, record: asyncpg.Record) -> Sequence[Any]:
        """Return the outcome of a call, then the row of each part, or None where there is none."""
        # The first column of each row type is never null.
        found = [None if record[begin] is None else make(record[begin:end]) for begin, end, make in self._parts]
        return [record[1], *found]
