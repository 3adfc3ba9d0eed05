"""Reads live in files of their own, one statement each: ``queries/<name>.sql``."""

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
