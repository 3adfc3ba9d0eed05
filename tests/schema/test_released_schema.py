"""The released schema stays compatible: the changelog announces every change that can break clients.

`make released` keeps the schema of a release in docs/released.graphql, which does not exist before the first one.
"""

import re
from pathlib import Path

import pytest
from graphql import build_schema, find_breaking_changes, find_dangerous_changes

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PRESENT = (ROOT / "schema.graphql").read_text(encoding="utf-8")
KEPT = ROOT / "docs" / "released.graphql"
RELEASED = KEPT.read_text(encoding="utf-8") if KEPT.exists() else None


def last_release(changelog: str) -> str | None:
    """Return the version of the changelog's newest release; None before the first."""
    found = re.search(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    return found and found[1]


def release_kept(released: str | None) -> str | None:
    """Return the release whose schema is kept; None if none is."""
    return released and released.partition("\n")[0].removeprefix("# Released as ")


def unannounced(released: str, present: str, changelog: str) -> list[str]:
    """List breaking and dangerous changes since the release that [Unreleased] does not name in these words."""
    old, new = build_schema(released), build_schema(present)
    breaking = [change.description for change in find_breaking_changes(old, new)]
    dangerous = [change.description for change in find_dangerous_changes(old, new)]
    unreleased = changelog.partition("## [Unreleased]")[2].partition("\n## [")[0]
    return [change for change in breaking + dangerous if plain(change) not in plain(unreleased)]


def plain(text: str) -> str:
    """Remove line breaks and markup from a sentence."""
    return " ".join(text.replace("`", "").split())


def test_every_change_is_announced() -> None:
    """Every change that can break clients of the last release is listed under [Unreleased], in the words shown here."""
    assert unannounced(RELEASED or PRESENT, PRESENT, CHANGELOG) == []


def test_the_last_release_is_kept() -> None:
    """The kept schema is that of the changelog's last release: `make released` updates it."""
    assert release_kept(RELEASED) == last_release(CHANGELOG)


CHANGES = {
    "Field User.credits was removed.": ("  credits: Int!", "  balance: Int!"),
    "Field User.credits changed type from Int! to Int.": ("  credits: Int!", "  credits: Int"),
    "Enum value AdjustmentKind.REWARD was removed.": ("  REWARD\n", "  BONUS\n"),
    "Enum value VideoStatus.PAUSED was added.": ("enum VideoStatus {", "enum VideoStatus {\n  PAUSED"),
    "UserNotFound was added to union type RegisterUserResult.": (
        "union RegisterUserResult = ",
        "union RegisterUserResult = UserNotFound | ",
    ),
    "A required field CancelVideoDataInput.reason was added.": (
        "input CancelVideoDataInput {",
        "input CancelVideoDataInput {\n  reason: String!",
    ),
    "VideoFilter.trashed has changed defaultValue from EXCLUDE to INCLUDE.": (
        "trashed: TrashFilter! = EXCLUDE",
        "trashed: TrashFilter! = INCLUDE",
    ),
}


@pytest.mark.parametrize("sentence", CHANGES)
def test_an_unannounced_change(sentence: str) -> None:
    """A change that can break clients is reported until [Unreleased] names it."""
    before, after = CHANGES[sentence]
    assert before in PRESENT
    changed = PRESENT.replace(before, after)
    assert sentence in unannounced(PRESENT, changed, CHANGELOG)
    first, name, rest = sentence.split(" ", 2)
    announced = f"- {first} `{name}`\n  {rest}\n"
    assert sentence not in unannounced(PRESENT, changed, f"## [Unreleased]\n\n{announced}\n## [0.1.0]\n")
    assert sentence in unannounced(PRESENT, changed, f"## [Unreleased]\n\n## [0.1.0]\n\n{announced}")


def test_a_compatible_change() -> None:
    """A new field or type needs no announcement."""
    grown = PRESENT.replace("type User implements Node {", "type User implements Node {\n  nickname: String\n")
    assert unannounced(PRESENT, grown + "type New { field: Int }", CHANGELOG) == []


def test_a_release_without_its_schema() -> None:
    """A release in the changelog requires its schema, and each kept schema names its release."""
    assert last_release("## [Unreleased]\n") is None
    assert last_release("## [Unreleased]\n\n## [0.2.0] - 2027-01-01\n\n## [0.1.0] - 2026-12-01\n") == "0.2.0"
    assert release_kept(None) is None
    assert release_kept("# Released as 0.1.0\n" + PRESENT) == "0.1.0"
