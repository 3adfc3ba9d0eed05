"""The custom scalars DateTime, JSON and URL, each limited when it is parsed."""

import datetime
import json
import math
import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any, NewType
from urllib.parse import urlsplit

import orjson
import strawberry
from graphql import GraphQLError, Undefined, ValueNode, value_from_ast_untyped
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from schema.host import is_one_of
from schema.limits import JSON_BYTES_MAX, JSON_DEPTH_MAX, URL_LENGTH_MAX, unstorable

URL = NewType("URL", str)


def scalar_map(*, loopback_http: bool, url_hosts: Collection[str] | None) -> Mapping[object, ScalarDefinition]:
    """Define the custom scalars; ``loopback_http`` admits http:// URLs of this machine, for development.

    ``url_hosts`` are the hosts that URLs may name, as `schema.host` has them; None means any.
    """

    def parse_url(value: object) -> str:
        fault = _url_fault(value, loopback_http=loopback_http, hosts=url_hosts)
        if fault:
            raise GraphQLError(f"Not a URL that is accepted here: {fault}.")
        return str(value)

    return {
        # Passed through: `server.wire.answer` writes it with the rest of the answer, in a tenth of the time. Each comes
        # from a row, and rows are read in UTC (`db.database`).
        datetime.datetime: strawberry.scalar(
            name="DateTime",
            description="A point in time as RFC 3339 text in UTC, such as `2026-11-24T09:30:00.123456Z`.",
            specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
            parse_value=_parse_datetime,
        ),
        JSON: strawberry.scalar(
            name="JSON",
            description="Any JSON value, passed through as it is. "
            f"At most {JSON_BYTES_MAX // 1024} KiB as text and {JSON_DEPTH_MAX} levels deep.",
            specified_by_url="https://www.ecma-international.org/publications-and-standards/standards/ecma-404/",
            serialize=_serialize_json,
            parse_value=_parse_json,
            parse_literal=_parse_json_literal,
        ),
        URL: strawberry.scalar(
            name="URL",
            description=f"An absolute https URL of at most {URL_LENGTH_MAX} characters, without user name or password. "
            "(In development, http is accepted for this machine.) "
            "An installation may accept certain hosts alone. The server stores it and never fetches it.",
            specified_by_url="https://www.rfc-editor.org/rfc/rfc3986",
            serialize=str,
            parse_value=parse_url,
        ),
    }


def _parse_datetime(value: object) -> datetime.datetime:
    try:
        parsed = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        raise GraphQLError("Not a point in time: give RFC 3339 text such as 2026-11-24T09:30:00Z.") from None
    if parsed.tzinfo is None:
        raise GraphQLError("This point in time lacks its offset: end it with Z or with one such as +01:00.")
    return parsed


def _serialize_json(value: Any) -> Any:
    """Pass a value through. A number that JSON cannot represent is a fault, and must not become null."""
    if type(value) in _MAY_BE_INFINITE and not _is_finite(value):
        raise ValueError("Not JSON: a number is not finite.")
    return value


_CONTAINERS = frozenset({dict, list, tuple})
_MAY_BE_INFINITE = _CONTAINERS | {float}


def _is_finite(value: Any) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    for part in value.values() if kind is dict else value:
        if type(part) in _MAY_BE_INFINITE and not _is_finite(part):
            return False
    return True


def _parse_json(value: Any) -> Any:
    if fault := _shape_fault(value) or _text_fault(value):
        raise GraphQLError(f"Not a JSON value that can be stored: {fault}.")
    return value


def _parse_json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    return _parse_json(_without_undefined(value_from_ast_untyped(node, variables)))


def _without_undefined(value: Any) -> Any:
    """Remove variables that were not given: objects omit them, in lists they are null."""
    match value:
        case dict():
            return {name: _without_undefined(part) for name, part in value.items() if part is not Undefined}
        case list():
            return [None if part is Undefined else _without_undefined(part) for part in value]
        case _:
            return value


# A NUL in JSON text: an escape whose backslash is not itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TOO_LARGE = f"it is larger than {JSON_BYTES_MAX // 1024} KiB"


def _text_fault(value: Any) -> str | None:
    """Return why PostgreSQL cannot store a JSON value, or some client cannot read it back."""
    try:
        written = orjson.dumps(value)
    except TypeError:  # It has a number of more than 64 bits or half a character.
        pass
    else:
        if len(written) > JSON_BYTES_MAX:
            return _TOO_LARGE
        # orjson writes NUL as this escape and a number that is not finite as null; both may also be genuine.
        if len(written) <= JSON_BYTES_MAX // 2 and b"\\u0000" not in written and b"null" not in written:
            return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return unstorable("\ud800")
    except ValueError:
        return "it holds a number that is not finite"
    if len(text) > JSON_BYTES_MAX:
        return _TOO_LARGE
    return unstorable("\0") if _NUL.search(text) else None


def _shape_fault(value: Any) -> str | None:
    """Return whether a value is nested too deep, or has more parts than its size allows: each takes two bytes.

    C code makes all other checks. This one stops early, so that no value of a megabyte takes more than 20 ms.
    """
    containers = [value] if type(value) in _CONTAINERS else []
    room = JSON_BYTES_MAX // 2
    for _ in range(JSON_DEPTH_MAX):
        if not containers:
            return None
        room -= sum(map(len, containers))
        if room < 0:
            return _TOO_LARGE
        containers = [
            part
            for container in containers
            for part in (container.values() if type(container) is dict else container)
            if type(part) in _CONTAINERS
        ]
    return f"it is nested more than {JSON_DEPTH_MAX} levels deep" if containers else None


def _url_fault(value: object, *, loopback_http: bool, hosts: Collection[str] | None) -> str | None:
    # Browsers take a backslash for a slash, so that with it they would see another host than is seen here.
    if not isinstance(value, str) or not value.isprintable() or " " in value or "\\" in value:
        return "it is not text without spaces, backslashes and control characters"
    if len(value) > URL_LENGTH_MAX:
        return f"it is longer than {URL_LENGTH_MAX} characters"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it cannot be parsed"
    if not host or parts.username is not None or parts.password is not None:
        return "it names no host, or a user with it"
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback_http and _is_loopback(host)):
        return "it must begin with https://"
    return None if hosts is None or is_one_of(host, hosts) else f"its host must be {' or '.join(hosts)}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
