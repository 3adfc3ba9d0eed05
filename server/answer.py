"""How an HTTP response is written, whatever it answers."""

import json
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError
from starlette.responses import Response

from server.errors import present
from server.media_type import GRAPHQL_RESPONSE, JSON

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


_CONTENT_TYPES = {each: f"{each}; charset=utf-8".encode() for each in (JSON, GRAPHQL_RESPONSE)}
_KEPT_BY_NOBODY = ((b"cache-control", b"no-store"), (b"vary", b"Accept"))


class Answer(Response):
    """JSON in UTF-8, which no cache keeps: it belongs to whoever asked."""

    def __init__(
        self,
        body: Mapping[str, Any],
        status: int = 200,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Not by Starlette's own, which looks for each header among the others and encodes it anew: a tenth of the time
        # that an answer takes. Half a character, which a message may quote, has no UTF-8: it becomes a question mark.
        self.status_code = status
        self.background = None
        self.body = encode(body).encode(errors="replace")
        self.raw_headers = [
            *_KEPT_BY_NOBODY,
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", _CONTENT_TYPES[media_type]),
        ]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))


def refusal(
    error: GraphQLError,
    error_id: str,
    status: int,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer a request that came to nothing: one error, shown as any other, and no data."""
    return Answer({"errors": [present(error, error_id)]}, status, media_type, headers)
