"""How an HTTP response is written, whatever it answers."""

import json
from collections.abc import Mapping
from typing import Any

from graphql import GraphQLError
from starlette.responses import Response

from server.errors import present
from server.media_type import JSON

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Answer(Response):
    """JSON in UTF-8, which no cache keeps: it belongs to whoever asked."""

    def __init__(
        self,
        body: Mapping[str, Any],
        status: int = 200,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Half a character, which a message may quote, has no UTF-8: it becomes a question mark.
        content = encode(body).encode(errors="replace")
        all_headers = {"Cache-Control": "no-store", "Vary": "Accept", **(headers or {})}
        super().__init__(content, status, all_headers, f"{media_type}; charset=utf-8")


def refusal(
    error: GraphQLError,
    error_id: str,
    status: int,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Answer a request that came to nothing: one error, shown as any other, and no data."""
    return Answer({"errors": [present(error, error_id)]}, status, media_type, headers)
