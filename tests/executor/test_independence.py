"""The executor could be released alone: neither it nor its tests use the project."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "executor").glob("*.py"), *(ROOT / "tests" / "executor").glob("*.py")]
ALLOWED = {"executor", "tests.executor", "graphql", "strawberry", "pytest"}


def imported(file: Path) -> set[str]:
    """List the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                names |= {each.name for each in node.names}
            case ast.ImportFrom():
                assert not node.level, "relative"
                names.add(node.module or "")
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_of_the_project_is_imported(file: Path) -> None:
    """The executor and its tests import only the standard library, graphql-core, Strawberry and each other."""
    for name in imported(file):
        parts = name.split(".")
        assert {parts[0], ".".join(parts[:2])} & (ALLOWED | sys.stdlib_module_names), name
