"""The pages for operators and front-end developers name only what exists, and all of it."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from graphql import build_schema

from server.process.settings import PREFIX, VARIABLES

ROOT = Path(__file__).parents[2]
LIMITS_PAGES = "".join(
    (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("limits.md", "operator-limits.md")
)
PAGES = ["SECURITY.md", "docs/limits.md", "docs/operator-limits.md", "docs/refusals.md", "docs/from-convex.md"]
SCHEMA = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))

# Settings that are limits; the README lists all settings.
BOUNDING = [name for name in VARIABLES if re.search(r"_MAX$|_LIMIT_PER_|TIMEOUT|POOL_SIZE", name)]


def constants() -> dict[str, int | float]:
    """Return each public limit in the code, by name."""
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
    """The pages of limits have a row for each limit in the code and each setting that is a limit, and no others."""
    rows = re.findall(r"^\| [^|]+ \| ([^ |]+)[^|]* \| `([A-Z_]+)` \|$", LIMITS_PAGES, re.MULTILINE)
    settings = {name: VARIABLES[name].default or "" for name in BOUNDING}
    expected = {name: str(value).removesuffix(".0") for name, value in (CONSTANTS | settings).items()}
    assert {name: value.replace(",", "") for value, name in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    """Every file, setting and link that a page names exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)*\w+\.(?:py|sql|md|toml))`", text)
    for file in files:
        assert (ROOT / file).is_file() or (ROOT / "tests" / file).is_file(), file
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for name in re.findall(rf"{PREFIX}\w+", text):
        assert name in VARIABLES, name


def refusal_codes(package: str, pattern: str) -> set[str]:
    """Return the codes in a package's code."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / package).rglob("*.py")]
    return {code for source in sources for code in re.findall(pattern, source)}


def test_every_refusal_and_error_has_its_row() -> None:
    """The page of refusals has a row for each type that implements Error, and for each error code."""
    page = (ROOT / "docs" / "refusals.md").read_text(encoding="utf-8")
    refusals = dict(re.findall(r"^\| `(\w+)` \| `([A-Z_]+)` \|", page, re.MULTILINE))
    error = SCHEMA.get_type("Error")
    assert refusals.keys() == {type_.name for type_ in SCHEMA.get_possible_types(error)}  # type: ignore[arg-type] # It is an interface.
    assert set(refusals.values()) == refusal_codes("resolvers", r'\bcode="([A-Z_]+)"')
    errors = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    written = r'RequestError\(\s*"([A-Z_]+)"|"code": "([A-Z_]+)"|\bcode(?:: ClassVar)? ?= ?"([A-Z_]+)"'
    found = {code for package in ("server", "schema") for codes in refusal_codes(package, written) for code in codes}
    assert errors == found - {""}


def test_the_convex_page_is_complete() -> None:
    """The page for users of Convex names only existing fields and statuses, and every mutation and subscription."""
    page = (ROOT / "docs" / "from-convex.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)\.(\w+)", page)
    for type_name, field in named:
        assert field in SCHEMA.type_map[type_name].fields, f"{type_name}.{field}"  # type: ignore[attr-defined] # Types named there have fields.
    for root in ("Mutation", "Subscription"):
        fields = SCHEMA.type_map[root].fields.keys()  # type: ignore[attr-defined] # as above
        assert fields - {"creditEntryAdded"} <= {field for type_name, field in named if type_name == root}
    statuses = set(re.findall(r"`([A-Z_]{5,})`", page)) - {"PURCHASE", "REWARD", "ADMIN"}
    assert statuses <= SCHEMA.type_map["VideoStatus"].values.keys()  # type: ignore[attr-defined] # It is an enum.


def test_the_reference_is_current() -> None:
    """The reference equals the output for schema.graphql: run `make schema` when this fails."""
    printed = subprocess.check_output([sys.executable, ROOT / "docs" / "reference.py"], encoding="utf-8")
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == printed
