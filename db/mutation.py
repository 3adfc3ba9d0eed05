"""A mutation is one function in PostgreSQL, which runs 1 to 64 calls at once: ``functions/<name>.sql``."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import asyncpg

from db.function import FUNCTIONS

_PARAMETER = re.compile(r"(\w+)_of (\w+)\[\]")


class Mutation:
    """A function and the statements that call it: an array for each parameter, or a value, and a row for each call.

    A row has the call's ``place`` in the arrays, from 1, the ``outcome``, and the columns of the row types of its
    ``parts``, which are null where there is no such row.
    """

    def __init__(self, name: str, **parts: Any) -> None:
        self.name = name
        types = dict(_PARAMETER.findall(FUNCTIONS[name].arguments))
        self.parameters = tuple(types)
        # A rerun finds its request's id on the entry of its key, or else among those of a row's newest changes.
        self.has_idempotency_key = "idempotency_key" in types
        columns = [f"({part}).{column} AS {part}_{column}" for part, row in parts.items() for column in row._fields]
        select = f"SELECT place, outcome, {', '.join(columns)} FROM {name}"  # noqa: S608 - no input
        arrays = [f"${number}::{type_}[]" for number, type_ in enumerate(types.values(), start=1)]
        self.text = f"{select}({', '.join(arrays)})"
        # For one call: asyncpg takes longer to write an array than a value.
        values = [f"ARRAY[${number}::{type_}]" for number, type_ in enumerate(types.values(), start=1)]
        self.text_for_one = f"{select}({', '.join(values)})"
        ends = list(accumulate((len(row._fields) for row in parts.values()), initial=2))
        self._parts = list(zip(ends, ends[1:], parts.values(), strict=False))

    def rows(self, record: asyncpg.Record) -> Sequence[Any]:
        """Return the outcome of a call, then the row of each part, or None where there is none."""
        # The first column of each row type is never null. As `_make`, in half the time: that is a function of Python's.
        new = tuple.__new__
        found = [None if record[begin] is None else new(row, record[begin:end]) for begin, end, row in self._parts]
        return (record["outcome"], *found)
