"""What the pages that this server ships have in common: they are built by Vite, and filled in for who may see what."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette_compress import CompressMiddleware

from server.auth.development import IDENTITIES, development_token
from server.process.environment import is_loopback
from server.process.settings import Settings
from server.wire.compression import COMPRESSED_BYTES_MIN

COMPRESSED = [Middleware(CompressMiddleware, minimum_size=COMPRESSED_BYTES_MIN)]
BUILT = Path(__file__).parent / "built"  # By `explorer/build.py`; the wheel ships it.

# Names that need no DNS. With any other, a stranger's page could read what is served here (DNS rebinding). The header
# itself is checked: where it is odd, Starlette's URL names the address that the server listens on.
_THIS_MACHINE = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


def tokens(settings: Settings, host: str | None, client: tuple[str, int] | None) -> dict[str, str]:
    """Sign a token of each role for a page that a ``client`` asks for by this Host header.

    There are none but with development keys, and for a browser on this machine alone.
    """
    is_near = client is not None and is_loopback(client[0]) and host is not None and _THIS_MACHINE.fullmatch(host)
    if not settings.development_keys or not is_near:
        return {}
    return {role.name: development_token(settings, identity) for role, identity in IDENTITIES.items()}


def filled(page: Path, data: Mapping[str, Any], policy: str) -> Response:
    """Answer a page with data for its script, which no cache keeps, under a Content-Security-Policy."""
    # In a script element all is as it stands, but for `<`: it may begin the tag that ends it.
    text = json.dumps(data).replace("<", r"\u003c")
    return HTMLResponse(
        page.read_text(encoding="utf-8").replace("{{ data }}", text),
        headers={"Cache-Control": "no-store", "Content-Security-Policy": policy},
    )


def files(directory: Path) -> Route:
    """Lead to the files of a directory, below its name; each is kept, since its own name changes with its content."""

    def file(request: Request) -> Response:
        name = request.path_params["name"]
        if not any(each.name == name for each in directory.glob("*")):  # Not a path that leads elsewhere.
            raise HTTPException(404)
        return FileResponse(directory / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})

    return Route(f"/{directory.name}/{{name}}", file, methods=["GET"], middleware=COMPRESSED)
