"""Secrets, scripts and captions: the log never contains them, and errors do not echo them."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from resolvers.identity import Role
from server.process.settings import Settings
from server.wire.errors import MESSAGE_CHARACTERS_MAX
from tests.api import MUTATIONS, SECRET, Api, headers
from tests.log import Log, serving_logged

# Each is one word, so that a part of it is found too.
SCRIPT, CAPTION, PASSWORD, COOKIE = "scriptword", "captionword", "passwordword", "cookieword"
VIDEO: dict[str, Any] = {
    "title": "Whales",
    "videoStyle": "realistic",
    "script": f"{SCRIPT} " * 100,
    "caption": {"text": CAPTION, "lines": [{CAPTION: CAPTION}]},
}
CONTENT: dict[str, Any] = {
    "script": f"{SCRIPT} again",
    "captionJson": {"sentences": [{"text": CAPTION}]},
    "config": {"scenes": [{"text": CAPTION}]},
    "images": [{"image": f"https://example.com/{CAPTION}", "start": 0, "duration": 1}],
}
# How to break the database, and how to repair it.
FAULTS = {
    "ALTER TABLE video_data ADD CONSTRAINT video_data_broken CHECK (title <> 'Whales') NOT VALID": (
        "ALTER TABLE video_data DROP CONSTRAINT video_data_broken"
    ),
    f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'broken' USING DETAIL = '{SCRIPT} \n{CAPTION}', HINT = '{CAPTION}'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON credit_entries FOR EACH ROW EXECUTE FUNCTION fail()""": (
        "DROP TRIGGER fail ON credit_entries; DROP FUNCTION fail"
    ),
    "ALTER TABLE credit_entries RENAME COLUMN memo TO note": "ALTER TABLE credit_entries RENAME COLUMN note TO memo",
    "ALTER TABLE video_contents RENAME script TO said": "ALTER TABLE video_contents RENAME said TO script",
}


@pytest.fixture
async def watched(dsn: str, settings: Settings) -> AsyncIterator[tuple[Api, Log]]:
    """Call an app that logs at the most verbose level, and whose database has a password."""
    address = urlsplit(dsn)
    with_password = address._replace(netloc=f"{address.username}:{PASSWORD}@{address.hostname or ''}").geturl()
    async with serving_logged(with_password, settings, log_level="debug") as opened:
        yield opened


def secrets(signed: dict[str, str]) -> list[str]:
    """List what must not be logged: each part of a token, and the other secrets' markers."""
    parts = signed["Authorization"].removeprefix("Bearer ").split(".")
    return [*parts, SECRET, SCRIPT, CAPTION, PASSWORD, COOKIE, base64.b64encode(SECRET.encode()).decode()]


def documents() -> dict[str, tuple[str, dict[str, Any]]]:
    """Build requests with every kind of mistake that a document can have, each with a script in it."""
    create, update = MUTATIONS["createVideoData"], MUTATIONS["updateVideoData"]
    inline = f'title: "T", videoStyle: "S", idempotencyKey: "K", script: "{SCRIPT}", caption: {{{CAPTION}: 1}}'
    return {
        "a syntax error": (f'mutation {{ createVideoData(input: {{script: "{SCRIPT}" "', {}),
        "a field that is none": (f"mutation {{ createVideoData(input: {{{inline}}}) {{ nothing }} }}", {}),
        "an argument that is none": (f"mutation {{ createVideoData({inline}) {{ __typename }} }}", {}),
        "an input that lacks fields": (
            f'mutation {{ createVideoData(input: {{script: "{SCRIPT}"}}) {{ __typename }} }}',
            {},
        ),
        "a number for a script": (update, {"input": {"recordId": "video_x", "script": {SCRIPT: CAPTION}}}),
        "a script for a number": (update, {"input": {"recordId": "video_x", "expectedVersion": SCRIPT}}),
        "a script for an enum": (MUTATIONS["updateVideoRecordStatus"], {"input": {"status": SCRIPT}}),
        "a script for an id": (update, {"input": {"recordId": SCRIPT, **CONTENT}}),
        "a script for a URL": (MUTATIONS["registerUser"], {"input": {"picture": f"https://{SCRIPT}@x/{CAPTION}"}}),
        "a script too long": (create, {"input": {**VIDEO, "script": SCRIPT * 10_000, "idempotencyKey": "K"}}),
        "a script with NUL": (create, {"input": {**VIDEO, "script": f"{SCRIPT}\0", "idempotencyKey": "K"}}),
        "captions too deep": (create, {"input": {**VIDEO, "caption": _nested(40), "idempotencyKey": "K"}}),
        "a field that the input lacks": (create, {"input": {**VIDEO, SCRIPT: CAPTION}}),
        "no variables": (create, {}),
        "another's key": (create, {"input": {**VIDEO, "title": "Other", "idempotencyKey": "first"}}),
        "a video": (create, {"input": {**VIDEO, "idempotencyKey": "second"}}),
    }


def _nested(depth: int) -> Any:
    value: Any = CAPTION
    for _ in range(depth):
        value = [value]
    return value


async def test_nothing_private_is_logged(watched: tuple[Api, Log], dsn: str) -> None:
    """Whatever succeeds or fails, at the most verbose level, no line contains a token, secret, script or caption."""
    api, log = watched
    signed = headers("ann") | {"Content-Type": "application/json", "Cookie": f"session={COOKIE}", "X-Api-Key": COOKIE}
    await api.register(credits=100)
    created = await api.create("first", **{**VIDEO, "title": "First"})
    video_id = created["videoData"]["id"]
    await api.mutate("updateVideoData", recordId=video_id, **CONTENT)
    await api.report(video_id, status="FAILED", comments={"why": CAPTION})
    await api.retry(video_id, "again")
    reading = "query($id: ID!) { videoData(id: $id) { script caption captionJson config images { image } comments } }"
    assert SCRIPT in (await api.query(reading, id=video_id))["videoData"]["script"]

    async def send(content: bytes, **changed: str) -> None:
        response = await api.client.post("/graphql", content=content, headers=signed | changed)
        assert response.headers["X-Request-Id"]

    for document, variables in documents().values():
        await send(json.dumps({"query": document, "variables": variables}).encode())
        asked = {
            "query": document,
            "variables": json.dumps(variables)[:10_000],
        }  # The test's client sends nothing more.
        await api.client.get("/graphql", params=asked, headers=signed)
    for content in (f'{{"query": "{SCRIPT}', f'"{SCRIPT}"', f'{{"query": {{"{SCRIPT}": "{CAPTION}"}}}}', SCRIPT):
        await send(content.encode())
        await send(content.encode("utf-16"))
        await send(content.encode(), **{"Content-Type": f"text/{SCRIPT}"})
    token = signed["Authorization"]
    for authorization in (f"{token}x", f"{token},", token[7:], f"Basic {token[7:]}", f"Bearer {SECRET}"):
        await send(b'{"query": "{ viewer { id } }"}', Authorization=authorization)

    connection = await asyncpg.connect(dsn)
    for fault, mended in FAULTS.items():
        video_id = await api.video(fault[:200])
        await connection.execute(fault)
        for name, given in (
            ("createVideoData", {**VIDEO, "idempotencyKey": fault[-200:]}),
            ("updateVideoData", {"recordId": video_id, **CONTENT}),
            ("updateVideoRecordStatus", {"recordId": video_id, "status": "FAILED", "comments": {"why": CAPTION}}),
        ):
            await api.post(MUTATIONS[name], {"input": given}, subject="ann", role=Role.ADMIN)
        await api.post(reading, {"id": video_id}, subject="ann")
        await connection.execute(mended)
    await connection.close()

    lines = log.read()
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert {line["level"] for line in lines} >= {"info", "error"}
    exceptions = " ".join(line["exception"] for line in lines if line["event"] == "fault")
    assert all(name in exceptions for name in ("CheckViolation", "RaiseError", "UndefinedColumn")), exceptions
    for secret in secrets(signed):
        assert secret not in text, text[max(0, text.index(secret) - 2000) : text.index(secret) + 100]


async def test_errors_quote_little(watched: tuple[Api, Log]) -> None:
    """A message that quotes input is cut in the middle: nobody needs a script back in an error."""
    api, _ = watched
    long = "x" * 30_000
    for document, variables, ends in (
        (f"{{ {long} }}", {}, ("Cannot query field 'xxx", "xxx' on type 'Query'.")),
        (f"{{ node(id: [{long}]) {{ id }} }}", {}, ("", "")),
        (f'{{ videos(first: "{long}") {{ nodes {{ id }} }} }}', {}, ("Int cannot represent", 'xxx"')),
        ("query($filter: VideoFilter) { videos(filter: $filter) { nodes { id } } }", {"filter": {long: 1}}, ("", "")),
        (MUTATIONS["createVideoData"], {"input": {"script": long}}, ("Variable '$input'", "")),
    ):
        body = await api.post(document, variables, subject="root", role=Role.ADMIN)
        assert "data" not in body or body["data"] is None
        for error in body["errors"]:
            assert error["extensions"]["code"] == "BAD_USER_INPUT"
            assert len(error["message"]) <= MESSAGE_CHARACTERS_MAX
            assert error["message"].startswith(ends[0])
            assert error["message"].endswith(ends[1])


async def test_a_number_of_too_many_digits(watched: tuple[Api, Log]) -> None:
    """An integer too long for Python to parse is bad input, in our own words, and not a fault."""
    api, log = watched
    body = await api.post(f"{{ videos(first: {'9' * 5000}) {{ nodes {{ id }} }} }}", subject="ann")
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["message"] == "This whole number has too many digits."
    assert all(line["event"] != "fault" for line in log.read())
