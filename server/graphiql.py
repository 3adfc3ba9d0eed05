"""The page at /graphql for browsers: GraphiQL with a working example of each operation in its tabs."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.responses import HTMLResponse

from db.database import Database
from resolvers.connection import NEWEST_ENTRY_FIRST, cursor
from resolvers.identity import Role
from server.development import IDENTITIES, development_token
from server.seed import seeded_ids
from server.settings import Settings

_SERVER = files("server")
_PAGE = (_SERVER / "graphiql.html").read_text(encoding="utf-8")


def _policy(page: str) -> str:
    """Allow the page what it is made of and nothing else: its own script, the files it names, calls to this server."""
    own = [hashlib.sha256(script.encode()) for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)]
    scripts = [f"'sha256-{b64encode(each.digest()).decode()}'" for each in own]
    scripts += re.findall(r'src="(https:[^"]+)"', page)
    styles = re.findall(r'href="(https:[^"]+)"', page)
    return (
        "default-src 'none'; img-src data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        # The editor gives its lines inline styles.
        f"frame-ancestors 'none'; script-src {' '.join(scripts)}; style-src 'unsafe-inline' {' '.join(styles)}"
    )


_POLICY = _policy(_PAGE)

# Names that no DNS server is asked for. Any other may be a stranger's, whose pages DNS lets read what is served here
# (rebinding). It is the header itself that is looked at: where that is odd, Starlette's URL names the address that the
# server listens on.
_THIS_MACHINE = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


class Example(NamedTuple):
    """A document of `examples/`, named as its operation is, with the role and the variables that it works with."""

    name: str
    role: Role
    variables: Mapping[str, Any]

    @property
    def document(self) -> str:
        return (_SERVER / "examples" / f"{self.name}.graphql").read_text(encoding="utf-8").rstrip()


def examples(ids: Mapping[str, str]) -> list[Example]:
    """List the examples in the order of their tabs, with fresh idempotency keys, and the ids that the seed gave."""

    def video(name: str) -> str:
        return ids.get(name, "the id of a video")

    return [
        Example("Viewer", Role.USER, {}),
        Example("VideoData", Role.USER, {"id": video("seed-failed")}),
        Example("ViewerUpdated", Role.USER, {}),
        Example("VideoDataUpdated", Role.USER, {"id": video("seed-queued")}),
        Example("VideosUpdated", Role.USER, {"first": 10, "filter": {"trashed": "EXCLUDE"}}),
        Example("CreditEntryAdded", Role.USER, {"after": cursor(NEWEST_ENTRY_FIRST, 1)}),
        Example(
            "RegisterUser",
            Role.USER,
            {
                "input": {
                    "name": "Dana Lee",
                    "email": "dana@example.com",
                    "picture": "https://images.example.com/dana.png",
                }
            },
        ),
        Example(
            "CreateVideoData",
            Role.USER,
            {
                "input": {
                    "title": "The Night Market",
                    "videoStyle": "realistic",
                    "topic": "A market that opens at midnight",
                    "script": "At midnight, the first lantern is lit.",
                    "caption": {"name": "Supreme", "color": "yellow"},
                    "voice": {"voiceId": "am_echo", "name": "Echo"},
                    "createdBy": "dana@example.com",
                    "idempotencyKey": str(uuid4()),
                }
            },
        ),
        # The same key on each visit: once the video is QUEUED again, a fresh one would be refused.
        Example(
            "RetryVideoData",
            Role.USER,
            {"input": {"recordId": video("seed-failed"), "idempotencyKey": "example-of-a-retry"}},
        ),
        Example("CancelVideoData", Role.USER, {"input": {"recordId": video("seed-ready")}}),
        Example(
            "UpdateVideoData",
            Role.USER,
            {
                "input": {
                    "recordId": video("seed-ready"),
                    "script": "Step out. The sky is pink, and you weigh as much as a child.",
                    "musicTrack": {"name": "Slow Orbit", "url": "https://music.example.com/slow-orbit.mp3"},
                    "volume": {"backgroundMusic": 0.3, "voice": 1.0},
                    "config": {"transition": "fade", "subtitle": "bottom"},
                }
            },
        ),
        Example("TrashVideoData", Role.USER, {"input": {"recordId": video("seed-completed")}}),
        Example("RestoreVideoData", Role.USER, {"input": {"recordId": video("seed-completed")}}),
        Example("RenderQueue", Role.WORKER, {}),
        Example(
            "UpdateVideoRecordStatus",
            Role.WORKER,
            {"input": {"recordId": video("seed-queued"), "status": "RENDERING", "renderProgress": 40}},
        ),
        Example("AdminPage", Role.ADMIN, {"filter": {"status": ["QUEUED", "FAILED"], "trashed": "INCLUDE"}}),
        Example(
            "AdjustUserCredits",
            Role.ADMIN,
            {
                "input": {
                    "userId": ids.get("user", "the id of a user"),
                    "amount": 10,
                    "kind": "PURCHASE",
                    "memo": "10 credits for 5 EUR",
                    "idempotencyKey": str(uuid4()),
                }
            },
        ),
    ]


async def page(database: Database, settings: Settings, host: str | None) -> HTMLResponse:
    """Make the page for a browser that asks for it by this Host header.

    With development keys, and for a browser on this machine alone, the tabs hold tokens and ids of the seed.
    """
    trusted = settings.development_keys and host is not None and _THIS_MACHINE.fullmatch(host) is not None
    tokens = {role: development_token(settings, identity) for role, identity in IDENTITIES.items()} if trusted else {}
    ids = await seeded_ids(database) if trusted else {}
    tabs = [_tab(example, tokens.get(example.role)) for example in examples(ids)]
    # In a script element all is as it stands, but for `<`: it may begin the tag that ends it.
    return HTMLResponse(
        _PAGE.replace("{{ tabs }}", json.dumps(tabs).replace("<", r"\u003c")),
        headers={"Cache-Control": "no-store", "Content-Security-Policy": _POLICY},
    )


def _tab(example: Example, token: str | None) -> dict[str, str]:
    variables = json.dumps(example.variables, indent=2) if example.variables else ""
    if token is None:
        sign_in = '# Sign in first: put your token into Headers, below, as\n# {"Authorization": "Bearer …"}.\n#\n'
        return {"query": sign_in + example.document, "variables": variables, "headers": ""}
    headers = json.dumps({"Authorization": f"Bearer {token}"}, indent=2)
    return {"query": example.document, "variables": variables, "headers": headers}
