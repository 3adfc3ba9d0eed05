"""How an HTTP response is written, whatever it answers."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.responses import Response

from server.wire.errors import present
from server.wire.media_type import GRAPHQL_RESPONSE, JSON

# A point in time is written as RFC 3339 has it, in UTC. Whatever else the standard library would refuse is left to it.
_AS_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_UTC_Z


def _as_text(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not JSON serializable")
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)[1:-1].decode()


_encode_slowly = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_text).encode


def encode_utf8(value: Any) -> bytes:
    """Write JSON in UTF-8, of numbers that are finite, as GraphQL's scalars are. Half a character becomes a `?`."""
    try:
        return orjson.dumps(value, option=_AS_JSON)
    except TypeError:  # It takes no whole number of more than 64 bits, no half a character, no deep nesting.
        return _encode_slowly(value).encode(errors="replace")


def encode(value: Any) -> str:
    """Write JSON as text, as `encode_utf8` does."""
    return encode_utf8(value).decode()


_SAME_FOR_ALL = {
    each: (
        (b"content-type", f"{each}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"Accept"),
    )
    for each in (JSON, GRAPHQL_RESPONSE)
}


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
        # that an answer takes.
        self.status_code = status
        self.background = None
        self.body = encode_utf8(body)
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), *_SAME_FOR_ALL[media_type]]
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
