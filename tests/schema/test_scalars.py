"""JSON, URL and DateTime: which values they accept, and that these come back unchanged, over HTTP."""

import datetime
import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from graphql import GraphQLError, GraphQLScalarType

from db.database import Database
from resolvers.identity import Role
from schema.limits import JSON_BYTES_MAX, JSON_DEPTH_MAX, URL_LENGTH_MAX
from server.auth.tokens import mint_token
from server.operations.root_fields import build_schema
from server.process.settings import Settings, development_secret
from tests.api import MUTATIONS, Api, headers, serving


async def refusal(api: Api, mutation: str, **given: Any) -> str:
    """Send an input that must be refused as bad input, and return the message."""
    (error,) = (await api.post(MUTATIONS[mutation], {"input": given}, subject="ann"))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    message: str = error["message"]
    return message


def nested(depth: int, inner: Any = None) -> Any:
    """Nest arrays and objects alternately, `depth` levels deep."""
    value = [] if inner is None else [inner]
    for level in range(depth - 1):
        value = [value] if level % 2 else {"a": value}  # type: ignore[assignment]  # Any JSON.
    return value


JSON_VALUES = [
    {},
    [],
    "",
    0,
    -1,
    False,
    True,
    1.5,
    -1e-300,
    2**63,
    10**300,
    {"": {"": [None, {}]}},
    {"ключ": "значение 💥 \u2028 \x01 \ufffe", "b": 1, "a": 2},
    [[[[]]], [None, None]],
    nested(JSON_DEPTH_MAX),
    "x" * (JSON_BYTES_MAX - 2),
    ["💥" * ((JSON_BYTES_MAX - 4) // 4)],
]


async def test_json_round_trip(api: Api) -> None:
    """Any JSON value within the limits comes back unchanged: from a column, from comments, and from the history."""
    await api.register(credits=100)
    document = "query($id: ID!) { videoData(id: $id) { config comments } }"
    for number, value in enumerate(JSON_VALUES):
        video_id = await api.video(str(number))
        await api.mutate("updateVideoData", recordId=video_id, config=value)
        reported = await api.report(video_id, status="READY", comments=value)
        read = (await api.query(document, id=video_id))["videoData"]
        event = (await api.history(video_id))[-1]
        for each in (read["config"], read["comments"], reported["videoData"]["comments"], event["comments"]):
            assert (each, type(each)) == (value, type(value))


JSON_REFUSED = [
    ("x" * (JSON_BYTES_MAX - 1), "larger than 256 KiB"),
    ("💥" * (JSON_BYTES_MAX // 4), "larger than 256 KiB"),
    ({str(number): number for number in range(30_000)}, "larger than 256 KiB"),
    (nested(JSON_DEPTH_MAX + 1), "more than 32 levels"),
    (nested(900), "more than 32 levels"),
    ([float("inf")], "not finite"),
    ({"a": [-float("inf")]}, "not finite"),
    ("a\0", "NUL"),
    (nested(JSON_DEPTH_MAX, "\0"), "NUL"),
    ({"a\0": 1}, "NUL"),
    ([{"b": {"c\0": 1}}], "NUL"),
    ("\ud83d", "surrogate"),
    ({"a": ["\udca5\ud83d"]}, "surrogate"),
    ({"\ud83d": 1}, "surrogate"),
]


async def test_json_that_cannot_be_stored_is_refused(api: Api) -> None:
    """JSON beyond the limits, or that PostgreSQL cannot store, is refused with the field and the reason."""
    for value, reason in JSON_REFUSED:
        message = await refusal(api, "updateVideoData", recordId="video_x", config=value)
        assert reason in message, repr(value)[:50]
        assert "at .config:" in message
        assert len(message) < 500


async def test_json_that_python_cannot_parse(api: Api) -> None:
    """JSON that Python cannot parse is a bad request, not a fault."""
    document = "query($id: ID!) { node(id: $id) { id } }"
    for text in ("NaN", "-Infinity", "9" * 5_000, "[" * 50_000 + "]" * 50_000, '"\xff"'):
        content = f'{{"query": "{document}", "variables": {{"id": {text}}}}}'.encode("latin-1")
        request = {"Content-Type": "application/json", **headers("ann")}
        response = await api.client.post("/graphql", content=content, headers=request)
        (error,) = response.json()["errors"]
        assert (response.status_code, error["extensions"]["code"]) == (400, "BAD_USER_INPUT"), text[:10]


async def test_variables_inside_a_json_literal(api: Api) -> None:
    """A JSON literal may contain variables. One that is not given is omitted from an object, and null in a list."""
    await api.register()
    document = """mutation($a: Int, $b: String, $c: Float = 0.5) { createVideoData(
      input: {title: "T", videoStyle: "S", idempotencyKey: "K", caption: {a: $a, b: $b, c: [$a, $b, $c, {b: $b}], e: R}}
    ) { ... on CreateVideoDataSuccess { videoData { caption } } } }"""
    data = await api.query(document, a=1)
    caption = {"a": 1, "c": [1, None, 0.5, {}], "e": "R"}
    assert data["createVideoData"]["videoData"]["caption"] == caption


URLS = [
    "https://example.com",
    "https://example.com/",
    "HTTPS://EXAMPLE.com/a%20b?c=d&e[]=f#g",
    "https://example.com:8443/path;v=1?q=a:b@c/d",
    "https://münchen.example/straße?q=ü",
    "https://xn--mnchen-3ya.example/",
    "https://日本語.example/パス",
    "https://[2001:db8::1]/a",
    "https://203.0.113.7/a",
    "https://example.com/" + "x" * (URL_LENGTH_MAX - 20),
    "https://lh3.googleusercontent.com/a/ABC-def_123=s96-c",
]
NO_URLS = [
    "",
    "x",
    "example.com",
    "//example.com/a",
    "/a",
    "https:",
    "https://",
    "https:///a",
    "https:/example.com",
    "https:example.com",
    "http://example.com/",
    "http://localhost.example.com/",
    "http://128.0.0.1/",
    "http://[::2]/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "javascript://example.com/%0aalert(1)",
    "data:text/html,x",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://:password@example.com/",
    "https://@example.com/",
    "https://exa mple.com/",
    "https://example.com/a b",
    " https://example.com/",
    "https://example.com/\n",
    "https://example.com/\t",
    "java\nscript:alert(1)",
    "https://example.com/\0",
    "https://example.com/\x7f",
    "https://example.com/\u2028",
    "https://example.com/\u00a0",
    "https://example.com/\ud83d",
    "https://example.com:0x50/",
    "https://example.com:65536/",
    "https://[::1/",
    "https://[not-an-address]/",
    "https://example.com/" + "x" * (URL_LENGTH_MAX - 19),
    "https://" + "x" * 100_000,
    7,
    True,
    ["https://example.com/"],
    {"url": "https://example.com/"},
]
LOOPBACK = [
    "http://localhost:3000/a",
    "http://127.0.0.1/a",
    "http://127.8.9.1:80/a",
    "http://[::1]:9000/a",
    "HTTP://localhost",
]


async def test_url_round_trip(api: Api) -> None:
    """An absolute https URL within the limit comes back unchanged."""
    for url in URLS:
        assert (await api.mutate("registerUser", picture=url))["user"]["picture"] == url
        assert (await api.query("{ viewer { picture } }"))["viewer"]["picture"] == url


async def test_invalid_urls(api: Api) -> None:
    """A URL that is not absolute https, or has credentials or spaces, is refused with the field, and not stored."""
    for url in [*NO_URLS, *LOOPBACK]:
        message = await refusal(api, "registerUser", picture=url)
        assert "at .picture: Not a URL that is accepted here: it" in message, url
        assert len(message) < 500
    assert await api.query("{ viewer { id } }") == {"viewer": None}


async def test_development_accepts_loopback_http(dsn: str, settings: Settings, tmp_path: Path) -> None:
    """With development keys, http is accepted for loopback hosts, and for no other."""
    development = replace(settings, jwt_secret=None, data_dir=tmp_path)
    token = mint_token(
        development_secret(tmp_path),
        role=Role.USER,
        subject="ann",
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=60,
    )
    async with serving(dsn, development) as api:

        async def register(picture: object) -> dict[str, Any]:
            content = {"query": MUTATIONS["registerUser"], "variables": {"input": {"picture": picture}}}
            request = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            response = await api.client.post("/graphql", content=json.dumps(content), headers=request)
            body: dict[str, Any] = response.json()
            return body

        for url in LOOPBACK:
            assert (await register(url))["data"]["registerUser"]["user"]["picture"] == url
        for other in NO_URLS:
            assert "Not a URL" in (await register(other))["errors"][0]["message"]


async def test_times_are_rfc_3339_in_utc(api: Api, database: Database) -> None:
    """A time is RFC 3339 text in UTC, to the microsecond."""
    user_id = await api.register()
    (record,) = await database.rows("SELECT created_at FROM users")
    shown = (await api.query("query($id: ID!) { user(id: $id) { createdAt } }", id=user_id))["user"]["createdAt"]
    assert shown.endswith("Z")
    assert shown == record["created_at"].astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    assert datetime.datetime.fromisoformat(shown) == record["created_at"]


async def test_times_ignore_the_databases_settings(dsn: str, settings: Settings) -> None:
    """The database's time zone and date style do not change times."""
    connection = await asyncpg.connect(dsn)
    name = await connection.fetchval("SELECT current_database()")
    for setting in ("timezone = 'Asia/Kolkata'", "datestyle = 'German'"):
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")
    async with serving(dsn, settings) as api:
        user_id = await api.register()
        shown = (await api.query("query($id: ID!) { user(id: $id) { createdAt } }", id=user_id))["user"]["createdAt"]
    assert shown.endswith("Z")
    assert datetime.datetime.fromisoformat(shown) == await connection.fetchval("SELECT created_at FROM users")
    await connection.close()


async def test_time_round_trip(database: Database) -> None:
    """Any point in time comes back unchanged, to the microsecond."""
    zones = [datetime.UTC, datetime.timezone(-datetime.timedelta(hours=3, minutes=30)), ZoneInfo("Europe/Amsterdam")]
    for year, microsecond, zone in product((2, 1899, 2026, 9998), (0, 1, 100_000, 999_999), zones):
        moment = datetime.datetime(year, 11, 24, 9, 30, 0, microsecond, zone)
        (record,) = await database.rows("SELECT $1::timestamptz AS moment", moment)
        assert record["moment"] == moment


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2026-11-24T09:30:00Z", datetime.datetime(2026, 11, 24, 9, 30, tzinfo=datetime.UTC)),
        ("2026-11-24T10:30:00.123456+01:00", datetime.datetime(2026, 11, 24, 9, 30, 0, 123456, tzinfo=datetime.UTC)),
    ],
)
def test_a_valid_time(value: str, read: datetime.datetime) -> None:
    """A point in time with its offset is accepted."""
    scalar: Any = build_schema()._schema.type_map["DateTime"]  # noqa: SLF001 - No input takes one yet.
    assert scalar.parse_value(value) == read
    assert scalar.parse_value(value).utcoffset() is not None


@pytest.mark.parametrize(
    "value", ["2026-11-24T09:30:00", "2026-11-24", "yesterday", "", 7, None, [], "2026-13-01T00:00:00Z"]
)
def test_invalid_times(value: object) -> None:
    """A time without an offset, or invalid text, is refused with a sentence."""
    scalar: Any = build_schema()._schema.type_map["DateTime"]  # noqa: SLF001 - No input takes one yet.
    with pytest.raises(GraphQLError, match=r"\.$"):
        scalar.parse_value(value)


@pytest.mark.parametrize("value", [math.nan, -math.inf, [1, {"a": (None, math.inf)}]])
def test_a_number_that_is_not_finite(value: object) -> None:
    """A value that JSON cannot represent is a fault, and does not become null."""
    scalar = build_schema()._schema.get_type("JSON")  # noqa: SLF001 - Strawberry shows graphql-core's own nowhere else.
    assert isinstance(scalar, GraphQLScalarType)
    with pytest.raises(ValueError, match="not finite"):
        scalar.coerce_output_value(value)
    assert scalar.coerce_output_value([1.5, {"a": None}]) == [1.5, {"a": None}]
