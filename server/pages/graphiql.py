"""The page at /graphql for browsers: GraphiQL with a working example of each operation in its tabs."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from db.database import Database
from resolvers.connection import NEWEST_ENTRY_FIRST, cursor
from resolvers.identity import Role
from server.operations.root_fields import build_schema
from server.pages.page import BUILT, COMPRESSED, files, filled, tokens
from server.pages.seed import seeded_ids
from server.process.settings import Settings

_SERVER = Path(__file__).parent
_NOT_BUILT = (
    "GraphiQL has not been built in this checkout: run `make explorer`, and load this page anew. The API works without "
    "it: send GraphQL to this address with any client.\n"
)

# What the page is made of and nothing else: its own files, and calls to this server.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; img-src 'self' data:; "
    # The editor gives its lines inline styles, and brings its fonts in its stylesheet.
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


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


async def page(database: Database, settings: Settings, host: str | None, client: tuple[str, int] | None) -> Response:
    """Make the page for a ``client`` that asks for it by this Host header.

    With development keys, and for a browser on this machine alone, it holds tokens, and its tabs ids of the seed.
    """
    if not BUILT.exists():
        return PlainTextResponse(_NOT_BUILT, 404)
    signed_in = tokens(settings, host, client)
    ids = await seeded_ids(database) if signed_in else {}
    data = {
        "version": version("videocredits"),
        "tokens": signed_in,
        "examples": [_tab(example, signed_in=bool(signed_in)) for example in examples(ids)],
    }
    return filled(BUILT / "index.html", data, _POLICY)


def _tab(example: Example, *, signed_in: bool) -> dict[str, str]:
    sign_in = '# Sign in first: put your token into Headers, below, as\n# {"Authorization": "Bearer …"}.\n#\n'
    return {
        "role": example.role,
        "query": ("" if signed_in else sign_in) + example.document,
        "variables": json.dumps(example.variables, indent=2) if example.variables else "",
    }


def routes(settings: Settings) -> list[Route]:
    """List what leads to the files that the page is made of, where the page is served at all."""
    if settings.introspection == "off":
        return []
    schema = Route("/graphql/schema.graphql", _schema_as_text, methods=["GET"], middleware=COMPRESSED)
    return [schema, files(BUILT / "graphql")]


async def _schema_as_text(_: Request) -> Response:
    return PlainTextResponse(_schema())


@cache
def _schema() -> str:
    return build_schema().as_str()
