"""How an HTTP request becomes one GraphQL operation, or a refusal with a status that says what to do instead."""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeGuard
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Scope

from schema.error import RequestError
from server.wire.media_type import JSON, is_json

RETRY_SECONDS = 1  # What Retry-After says where the code is RETRY and nothing is known of a better time.
METHODS = "GET, HEAD, OPTIONS, POST"

# Each makes a browser ask first (CORS) whether another site's page may send it; no link, form or image can.
_PREFLIGHTED = {b"authorization", b"graphql-require-preflight", b"apollo-require-preflight", b"x-requested-with"}
_HALF_AN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_OBJECT_OR_NULL = (dict, type(None))
_SURROGATE = re.compile("[\ud800-\udfff]")


class Refused(RequestError):  # noqa: N818 - It is what is done, and reads so where it is raised.
    """A request that is answered before GraphQL: with this HTTP status, and a code and message as any other error."""

    def __init__(self, status: int, message: str, *, code: str = "BAD_USER_INPUT", **headers: str) -> None:
        super().__init__(code, message)
        if code == "RETRY":
            headers.setdefault("retry_after", str(RETRY_SECONDS))
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def fault() -> Refused:
    """Refuse a request because of a mistake of the server's, for which not even the usual answer could be made."""
    return Refused(500, "The server made a mistake.", code="INTERNAL_SERVER_ERROR")


def stopped() -> Refused:
    """Refuse a request that the server could not finish before it stopped."""
    message = (
        "The server was stopped before it could finish, and what you asked for may or may not have happened: "
        "send it again, with the same idempotency key if it has one."
    )
    return Refused(503, message, code="RETRY")


class ClientGone(Exception):  # noqa: N818 - It is what happened, and reads so where it is caught.
    """The client has left before its request was executed."""


class GraphQLRequest(msgspec.Struct, frozen=True, rename={"name": "operationName", "document_id": "documentId"}):
    """What a request asks for."""

    query: str | None = None
    variables: dict[str, Any] | None = None
    name: str | None = None
    document_id: str | None = None
    extensions: dict[str, Any] | None = None


_read_short = msgspec.json.Decoder(GraphQLRequest).decode
# Of some numbers (1e308) msgspec reads a megabyte in 1.5 seconds, the standard library any megabyte in a twentieth.
SHORT_BODY_BYTES = 16_384
# Lists and objects take a third of a microsecond each, ten times as long as anything else of the same length.
CONTAINERS_MAX = 100_000


def read_headers(scope: Scope) -> dict[bytes, bytes]:
    """Read a request's headers; lines of the same name are joined, as HTTP means them."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def read_url(scope: Scope, bytes_max: int) -> dict[str, str]:
    """Read the query string of a request; raise Refused where it is not what a URL's should be."""
    query_string: bytes = scope["query_string"]
    if len(query_string) > bytes_max:
        raise Refused(414, f"The URL is longer than {bytes_max} bytes: use POST.", code="LIMIT_EXCEEDED")
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise Refused(400, "The URL cannot be read: its query must be percent-encoded UTF-8.") from error
    parameters = dict(pairs)
    if _HALF_AN_ESCAPE.search(query_string) or len(parameters) < len(pairs):
        raise Refused(400, "The URL cannot be read: encode each `%` as `%25`, and give each parameter once.")
    return parameters


def read_get(parameters: Mapping[str, str], headers: Mapping[bytes, bytes]) -> GraphQLRequest:
    """Read the operation out of a URL's parameters; raise Refused where there is none, or another site sent it."""
    by_another_site = headers.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}
    if by_another_site and headers.keys().isdisjoint(_PREFLIGHTED):
        raise Refused(
            403,
            "A page of another site may query by GET with the header `GraphQL-Require-Preflight: 1`, or by POST.",
            code="FORBIDDEN",
        )
    given: dict[str, Any] = dict(parameters)
    for name in ("variables", "extensions"):
        if name in given:
            given[name] = read_json(given[name], f"`{name}` must be a JSON object, percent-encoded.")
    return read_operation(given)


def check_body(headers: Mapping[bytes, bytes], bytes_max: int) -> None:
    """Refuse, by its headers, a body that is no JSON, or is longer than ``bytes_max``."""
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json" and not is_json(content_type.decode("latin-1")):
        raise Refused(415, "Send the operation as JSON, with `Content-Type: application/json`.", accept_post=JSON)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "Send the body as it is, without `Content-Encoding`.", accept_encoding="identity")
    length = headers.get(b"content-length", b"0").strip(b" \t")
    if not length.isdigit() or len(length) > 15 or int(length) > bytes_max:
        raise too_long(bytes_max)


def too_long(bytes_max: int, **headers: str) -> Refused:
    """Refuse a body of more than ``bytes_max``."""
    return Refused(413, f"The body is longer than {bytes_max} bytes: send less.", code="LIMIT_EXCEEDED", **headers)


def read_body(body: bytes) -> GraphQLRequest:
    """Read the operation out of a body, or raise Refused."""
    if len(body) <= SHORT_BODY_BYTES:
        try:
            operation = _read_short(body)
        except (ValueError, RecursionError):  # What is wrong is found below, if anything is.
            pass
        else:
            if operation.query and operation.name != "":
                return operation
    if not body:
        raise Refused(400, 'The body is empty: send JSON such as {"query": "{ __typename }"}.')
    return read_operation(read_json(body, "The body cannot be read: send JSON in UTF-8."))


def read_json(content: str | bytes, advice: str) -> Any:
    """Read JSON, in which the last of two equal keys counts, as it does for JavaScript; raise Refused if it is none."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        if text.count("[") + text.count("{") > CONTAINERS_MAX:
            message = f"There are more than {CONTAINERS_MAX:,} lists and objects in the request: send less."
            raise Refused(413, message, code="LIMIT_EXCEEDED")
        return _read(text)
    except (ValueError, RecursionError) as error:  # Not UTF-8, not JSON, a number of 5,000 digits, nested too deep.
        raise Refused(400, advice) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which Python takes for JSON.


_read = json.JSONDecoder(parse_constant=_no_number).decode


def read_operation(given: Any) -> GraphQLRequest:
    """Read the operation out of what was asked for; raise Refused where its shape is wrong."""
    if isinstance(given, list):
        raise Refused(400, "Send one operation for each request, not a list of them: batching is off.")
    if not isinstance(given, dict):
        raise Refused(400, 'Send a JSON object such as {"query": "{ __typename }"}.')
    query, name, document_id = given.get("query"), given.get("operationName"), given.get("documentId")
    for key in ("variables", "extensions"):
        if not isinstance(given.get(key), _OBJECT_OR_NULL):
            raise Refused(400, f"`{key}` must be an object or null.")
    extensions = given.get("extensions") or {}
    named = query is None and (document_id is not None or "persistedQuery" in extensions)
    if not named and (not is_text(query) or not query):
        raise Refused(400, "`query` must be the text of a GraphQL document.")
    for key, value in (("operationName", name), ("documentId", document_id)):
        if value is not None and not is_text(value):
            raise Refused(400, f"`{key}` must be text or null.")
    return GraphQLRequest(query, given.get("variables"), name or None, document_id, extensions)


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string, with no half characters (JSON can escape them): there is no UTF-8 for those."""
    return isinstance(value, str) and (value.isascii() or not _SURROGATE.search(value))
