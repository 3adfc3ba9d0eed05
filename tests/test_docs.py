"""The pages for operators: what they name is there, and what there is they name."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from server.settings import PREFIX, VARIABLES

ROOT = Path(__file__).parents[1]
LIMITS_PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
PAGES = ["SECURITY.md", "docs/limits.md"]

# Settings that bound what one may do; the README has them all.
BOUNDING = [name for name in VARIABLES if re.search(r"_MAX$|_LIMIT_PER_|TIMEOUT|POOL_SIZE", name)]


def constants() -> dict[str, int | float]:
    """Find each public limit in the code, by its name."""
    found: dict[str, int | float] = {}
    for package in ("schema", "resolvers", "db", "executor", "server"):
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if ".migrations" not in module.name and not module.name.startswith("server.demo"):
                names = vars(importlib.import_module(module.name))
                found |= {
                    name: value
                    for name, value in names.items()
                    if re.fullmatch(r"[A-Z][A-Z_]*_(MAX|REMEMBERED|KEPT)|PAGE_SIZE", name)
                    and isinstance(value, int | float)
                }
    return found


CONSTANTS = constants()


def test_every_limit_has_its_row() -> None:
    """The page of limits has a row for each limit in the code and each setting that is one, and no other."""
    rows = re.findall(r"^\| [^|]+ \| ([^ |]+)[^|]* \| `([A-Z_]+)` \|$", LIMITS_PAGE, re.MULTILINE)
    settings = {name: VARIABLES[name].default or "" for name in BOUNDING}
    expected = {name: str(value).removesuffix(".0") for name, value in (CONSTANTS | settings).items()}
    assert {name: value.replace(",", "") for value, name in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    """Files, settings and links that a page names are there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)*\w+\.(?:py|sql|md|toml))`", text)
    for file in files:
        assert (ROOT / file).is_file() or (ROOT / "tests" / file).is_file(), file
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for name in re.findall(rf"{PREFIX}\w+", text):
        assert name in VARIABLES, name
