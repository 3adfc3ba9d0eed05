"""Functions in PostgreSQL live in files of their own, one each: ``functions/<name>.sql``."""

import re
from importlib.resources import files
from typing import NamedTuple


class Function(NamedTuple):
    """A function with arguments, results and body as PostgreSQL keeps them, and the command that makes it."""

    name: str
    arguments: str
    results: str
    body: str
    sql: str


def _function(sql: str) -> Function:
    found = re.search(r"FUNCTION (\w+)\((.*?)\) RETURNS TABLE \((.*?)\)\n.* AS \$\$(.*)\$\$;", sql, re.DOTALL)
    assert found is not None  # noqa: S101 - the file defines a function
    name, arguments, results, body = found.groups()
    return Function(name, " ".join(arguments.split()), f"TABLE({results})", body, sql)


# To change one, ship a migration too, empty if need be: with it, older code does not install its own text again.
# Names of arguments and columns of answers cannot be replaced: the migration has to drop the function.
FUNCTIONS = {
    function.name: function
    for function in (_function(path.read_text("utf-8")) for path in (files("db") / "functions").iterdir())
}
