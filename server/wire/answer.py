"""Responses as JSON: an operation's result or a refusal, and the HTTP status of each."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError, GraphQLSyntaxError
from starlette.responses import Response
from strawberry.types import ExecutionResult as Result

from db.database import RetryLaterError
from schema.error import response_too_large
from server.auth.tokens import InvalidToken
from server.wire.errors import present
from server.wire.media_type import GRAPHQL_RESPONSE, JSON
from server.wire.request import RETRY_SECONDS, ClientGone, Refused

RETRY = {"Retry-After": str(RETRY_SECONDS)}

# A point in time is written as RFC 3339 has it, in UTC. Other types are left to the standard library.
_AS_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_UTC_Z


def _as_json(value: object) -> Any:
    match value:
        case datetime():
            return orjson.dumps(value, option=orjson.OPT_UTC_Z)[1:-1].decode()
        case orjson.Fragment():
            return json.loads(orjson.dumps(value))
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


_encode_slowly = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_as_json).encode


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
    """JSON in UTF-8, which no cache keeps: it belongs to the client that asked."""

    def __init__(
        self,
        body: Mapping[str, Any],
        status: int = 200,
        media_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Replaces Starlette's constructor, which searches and encodes each header again: that took a tenth of an
        # answer's time.
        self.status_code = status
        self.background = None
        self.body = encode_utf8(body)
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), *_SAME_FOR_ALL[media_type]]
        for name, value in (headers or {}).items():
            self.raw_headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))


def encode_result(result: ExecutionResult | Result, error_id: str, bytes_max: int) -> str:
    """Write a result of an operation as JSON text, or the error that it is longer than ``bytes_max``."""
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [present(error, error_id) for error in result.errors]
    written = encode_utf8(body)
    if len(written) > bytes_max:
        written = encode_utf8({"data": None, "errors": [present(response_too_large(bytes_max), error_id)]})
    return written.decode()


def was_executed(result: ExecutionResult | Result) -> bool:
    """Return whether an operation was executed at all: only then do errors have a path."""
    return result.data is not None or any(error.path for error in result.errors or ())


def answer(result: ExecutionResult | Result, error_id: str, media_type: str, *, draft: bool, bytes_max: int) -> Answer:
    """Answer over HTTP with the result of an operation, by the status that it has in this media type.

    A ``draft`` of GraphQL over HTTP has some statuses that no client knows yet. A result of more than ``bytes_max``
    becomes an error.
    """
    answered = (
        _with_errors(result, error_id, media_type, draft)
        if result.errors
        else Answer({"data": result.data}, 200, media_type)
    )
    if len(answered.body) > bytes_max:
        too_large = ExecutionResult(None, [response_too_large(bytes_max)])
        answered = _with_errors(too_large, error_id, media_type, draft)
    return answered


def _with_errors(result: ExecutionResult | Result, error_id: str, media_type: str, draft: bool) -> Answer:
    assert result.errors  # noqa: S101 - an answer without any is 200
    errors = [present(error, error_id) for error in result.errors]
    body: dict[str, Any] = {"errors": errors}
    codes = {error["extensions"]["code"] for error in errors}
    headers: Mapping[str, str] | None = RETRY if "RETRY" in codes else None
    draft = draft and media_type == GRAPHQL_RESPONSE
    first = result.errors[0]
    if result.data is None and headers:
        status = 503
    elif was_executed(result):
        body = {"data": result.data, "errors": errors}
        status = 294 if draft else 200
    elif isinstance(first, Refused):
        status, headers = first.status, first.headers
    elif "INTERNAL_SERVER_ERROR" in codes:
        status = 500
    elif media_type == JSON:  # Any server on the way may answer JSON too: 200 says that the answer is GraphQL's.
        status = 200
    else:
        status = 422 if draft and not isinstance(first, GraphQLSyntaxError) else 400
    return Answer(body, status, media_type, headers)


def refusal(error: Exception, error_id: str, media_type: str = JSON) -> Response:
    """Answer over HTTP a request that was not executed: one error, presented as any other, and no data."""
    headers: Mapping[str, str] | None = None
    match error:
        case ClientGone():
            return Response(status_code=499)  # For the log alone.
        case Refused():
            status, headers = error.status, error.headers
        case InvalidToken():
            status, headers = 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case RetryLaterError():
            status, headers = 503, RETRY
        case _:
            status = 500
    shown = error if isinstance(error, GraphQLError) else GraphQLError("", original_error=error)
    return Answer({"errors": [present(shown, error_id)]}, status, media_type, headers)
