"""Reads live in files of their own, one statement each: ``queries/<name>.sql``."""

import re
from importlib.resources import files
from typing import Any


def statement(name: str, **rows: Any) -> str:
    """Return the text of ``queries/<name>.sql``, in which ``alias.*`` becomes the fields of that alias's row type.

    So a column that is only passed on stands in its row type alone. What else a table has, newer code's columns too, is
    not read.
    """
    text = (files("db") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    for alias, row in rows.items():
        text = text.replace(f"{alias}.*", ", ".join(f"{alias}.{field}" for field in row._fields))
    return text


def paged(name: str, **rows: Any) -> tuple[str, str]:
    """Return a statement that lists rows, and the same statement in the other order, for pages from a list's end.

    So ``backward`` picks one of them, and each walks its index in one direction.
    """
    forward = statement(name, **rows)
    order = re.compile(r" (ASC|DESC)$", re.MULTILINE)
    assert len(order.findall(forward)) == 1  # noqa: S101 - the file orders by one column, at the end of a line
    return forward, order.sub(lambda found: " ASC" if found[1] == "DESC" else " DESC", forward)
