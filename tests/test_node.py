"""Tests in several processes share one installation of npm's packages."""

import asyncio
import sys
from pathlib import Path

from tests.node import install

# Notes that it was called, and takes so long that a second call would overlap.
NPM = """
import pathlib, time
with open("calls", "a") as calls:
    calls.write("ci\\n")
time.sleep(0.2)
pathlib.Path("node_modules").mkdir()
pathlib.Path("node_modules", ".package-lock.json").touch()
"""


async def test_packages_are_installed_once(tmp_path: Path) -> None:
    """When several processes need a directory's packages, one installs them, and all return once they exist."""
    npm = tmp_path / "npm.py"
    npm.write_text(NPM, encoding="utf-8")
    (tmp_path / "package-lock.json").write_text("{}", encoding="utf-8")
    await asyncio.gather(*(install(tmp_path, sys.executable, str(npm)) for _ in range(3)))
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "ci\n"
