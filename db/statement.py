"""SQL lives in files of its own, one statement each."""

from importlib.resources import files


def statement(name: str) -> str:
    """Return the text of ``queries/<name>.sql``."""
    return (files("db") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
