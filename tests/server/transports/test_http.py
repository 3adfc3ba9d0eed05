"""GraphQL over HTTP beyond the specification's audits: every unusual request gets a JSON error that says what to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from db.database import Database
from resolvers.identity import Identity, Role
from server.auth.tokens import TokenVerifier
from server.pipeline import Pipeline, Request
from server.process.settings import Settings
from server.transports.middleware import RequestMiddleware
from tests.api import MUTATIONS, Api, headers, serving
from tests.db.test_cancellation import listening
from tests.log import Log, serving_logged
from tests.race import Account, unblocked

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
TYPENAME = {"query": "{ __typename }"}
DATA = {"data": {"__typename": "Query"}}


@pytest.fixture
async def logged(dsn: str, settings: Settings) -> AsyncIterator[tuple[Api, Log]]:
    """Call an app, and read what it logs."""
    async with serving_logged(dsn, settings) as opened:
        yield opened


async def post(api: Api, content: object, **given: str) -> httpx2.Response:
    """Post JSON or raw bytes, with additional headers whose names are written with underscores."""
    more = {name.replace("_", "-"): value for name, value in given.items()}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return await api.client.post("/graphql", content=body, headers={"Content-Type": JSON} | more)


def assert_refused(response: httpx2.Response, status: int, code: str = "BAD_USER_INPUT", media_type: str = JSON) -> str:
    """Assert that a response is one error in JSON, with code and id and no data, and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json()
    assert body.keys() == {"errors"}
    (error,) = body["errors"]
    assert error["extensions"] == {"code": code, "errorId": response.headers["X-Request-Id"]}
    message: str = error["message"]
    assert message.endswith(".")
    return message


NO_OBJECTS: list[object] = ["{}", 0, False, []]
MALFORMED: dict[str, object] = {
    "text": "x",
    "a number": 7,
    "null": None,
    "a boolean": True,
    "a list": [],
    "a batch": [TYPENAME, TYPENAME],
    "an empty object": {},
    "nothing": b"",
    "a NUL": b"\0",
    "half an object": b'{"query": "{ __typename }"',
    "two objects": b'{"query": "{ __typename }"}{}',
    "no UTF-8": b'{"query": "{ __typename } # \xff"}',
    "UTF-16": json.dumps(TYPENAME).encode("utf-16"),
    "30,000 brackets": b"[" * 30_000,
    "60,000 brackets, closed": b'{"query": "{ __typename }", "variables": {"a": %s}}' % (b"[" * 30_000 + b"]" * 30_000),
    "a number of 5,000 digits": b'{"query": "{ __typename }", "variables": {"a": %s}}' % (b"9" * 5_000),
    "half a character": {"query": "{ __typename } # \ud83d"},
    "no query": {"qeury": "{ __typename }"},
    "an empty query": {"query": ""},
    **{f"a query that is {value!r}": {"query": value} for value in (None, *NO_OBJECTS[1:], {})},
    **{f"variables that are {value!r}": {**TYPENAME, "variables": value} for value in NO_OBJECTS},
    **{f"extensions that are {value!r}": {**TYPENAME, "extensions": value} for value in NO_OBJECTS},
    **{f"an operationName that is {value!r}": {**TYPENAME, "operationName": value} for value in (*NO_OBJECTS[1:], {})},
    "a name that is half a character": {**TYPENAME, "operationName": "\ud83d"},
    "a name that no operation has": {"query": "query A { __typename }", "operationName": "B"},
    "a name with a NUL": {"query": "query A { __typename }", "operationName": "A\0"},
    "two operations and no name": {"query": "query A { __typename } query B { __typename }"},
    "two operations and an empty name": {"query": "query A { __typename } query B { __typename }", "operationName": ""},
    "two operations, one without a name": {"query": "{ __typename } query B { __typename }"},
    "no operation": {"query": "fragment f on User { id }"},
    "a subscription": {"query": "subscription { viewer { id } }"},
}


@pytest.mark.parametrize("media_type", [JSON, GRAPHQL])
async def test_a_malformed_request(logged: tuple[Api, Log], media_type: str) -> None:
    """A body that does not describe one operation gets 400 in the requested media type, and is logged at info level."""
    api, log = logged
    for name, content in MALFORMED.items():
        response = await post(api, content, Accept=media_type)
        assert_refused(response, 400, media_type=media_type)
        (line,) = log.read()
        assert (line["event"], line["level"]) == ("request", "info"), name


async def test_batching_is_off(api: Api) -> None:
    """A JSON list is refused with a message that says to send one operation per request."""
    assert "batching is off" in assert_refused(await post(api, [TYPENAME]), 400)


async def test_an_error_that_quotes_a_lone_surrogate(api: Api) -> None:
    """An error message that quotes a lone surrogate is still valid UTF-8."""
    content = {"query": MUTATIONS["registerUser"], "variables": {"input": {"na\ud83dme": "Ann"}}}
    (error,) = (await post(api, content, **headers("ann"))).json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "'na?me'" in error["message"]


async def test_duplicate_keys(api: Api) -> None:
    """If a key appears twice in the body, the last one counts, as in JavaScript's JSON.parse."""
    response = await post(api, b'{"query": "{ viewer { id } }", "query": "{ __typename }"}')
    assert (response.status_code, response.json()) == (200, DATA)


DOCUMENTS_IN_ERROR = {
    "syntax": {"query": "{"},
    "validation": {"query": "{ password }"},
    "coercion": {"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": None}},
}


async def test_an_invalid_document(dsn: str, settings: Settings) -> None:
    """An invalid document gets 400, or 200 in legacy JSON. With the draft's status codes, most get 422."""
    async with serving(dsn, settings) as api, serving(dsn, replace(settings, draft_status_codes="on")) as newest:
        for name, content in DOCUMENTS_IN_ERROR.items():
            draft = 400 if name == "syntax" else 422
            for site, accept, status in (
                (api, JSON, 200),
                (api, GRAPHQL, 400),
                (newest, JSON, 200),
                (newest, GRAPHQL, draft),
            ):
                assert_document_refused(await post(site, content, Accept=accept, **headers("ann")), status)


def assert_document_refused(response: httpx2.Response, status: int) -> None:
    assert response.status_code == status
    assert response.json().keys() == {"errors"}
    assert {error["extensions"]["code"] for error in response.json()["errors"]} == {"BAD_USER_INPUT"}


async def test_errors_beside_data(dsn: str, settings: Settings) -> None:
    """An executed operation gets 200, with or without errors.

    With the draft's status codes, partial success gets 294.
    """
    content = {"query": "{ viewer { id } users { nodes { id } } }"}
    partly = {"query": "{ viewer { id } node(id: 1) { id } }"}
    worker = headers("ann", Role.WORKER)
    async with serving(dsn, settings) as api, serving(dsn, replace(settings, draft_status_codes="on")) as newest:
        for each, accept, status in [(api, GRAPHQL, 200), (newest, JSON, 200), (newest, GRAPHQL, 294)]:
            for document in (content, partly):
                response = await post(each, document, Accept=accept, **worker)
                assert response.status_code == status
                assert response.json().keys() == {"data", "errors"}
            assert (await post(each, TYPENAME, Accept=accept)).status_code == 200


NEGOTIATED = {
    None: JSON,
    "": JSON,
    "*/*": JSON,
    "application/*": JSON,
    JSON: JSON,
    GRAPHQL: GRAPHQL,
    "APPLICATION/GraphQL-Response+JSON": GRAPHQL,
    f"{JSON}; charset=utf-8": JSON,
    f"{GRAPHQL}, {JSON};q=0.9": GRAPHQL,
    f"{GRAPHQL};q=0.5, {JSON};q=0.9": JSON,
    f"{JSON}, {GRAPHQL}": GRAPHQL,
    f"{JSON};q=0.999 , {GRAPHQL} ; q=1.000": GRAPHQL,
    f"*/*, {GRAPHQL};q=0.1": JSON,
    f"*/*;q=0.1, {GRAPHQL};q=0.2": GRAPHQL,
    f"{JSON};q=0, */*": GRAPHQL,
    f"{JSON};q=0, {GRAPHQL};q=0, */*": None,
    "text/event-stream, */*": JSON,
    f"multipart/mixed;deferSpec=20220824, {GRAPHQL}, {JSON}": GRAPHQL,
    f"{GRAPHQL};q=9, {JSON}": JSON,
    f"{GRAPHQL};q=nan, {JSON};q=0.1": JSON,
    f"{GRAPHQL};q=0": None,
    "*/*;q=0": None,
    "application/jsonfoo": None,
    "application/json-seq": None,
    "text/html": None,
    "text/*": None,
    "multipart/mixed": None,
    "multipart/mixed;subscriptionSpec=2.0": None,
    ";q=1": JSON,
    ",,,": JSON,
    "é": None,
}


@pytest.mark.parametrize("accept", NEGOTIATED)
async def test_content_negotiation(api: Api, accept: str | None) -> None:
    """The response has the media type that Accept ranks highest.

    If Accept excludes both of ours, nothing is executed.
    """
    request = api.client.build_request("POST", "/graphql", json=TYPENAME)
    others = [line for line in request.headers.raw if line[0].lower() != b"accept"]  # The client has one of its own.
    request.headers = httpx2.Headers(others + [(b"accept", (accept or "").encode())] * (accept is not None))
    response = await api.client.send(request)
    assert response.headers["Vary"] == "Accept"
    wanted = NEGOTIATED[accept]
    if wanted is None:
        assert GRAPHQL in assert_refused(response, 406)
    else:
        assert response.headers["Content-Type"] == f"{wanted}; charset=utf-8"
        assert (response.status_code, response.json()) == (200, DATA)
        assert response.headers["Cache-Control"] == "no-store"


async def test_accept_on_several_lines(api: Api) -> None:
    """Several Accept lines count as one list."""
    lines = [("Content-Type", JSON), ("Accept", GRAPHQL), ("Accept", "image/png")]
    response = await api.client.post("/graphql", content=json.dumps(TYPENAME), headers=lines)
    assert response.headers["Content-Type"] == f"{GRAPHQL}; charset=utf-8"


@pytest.mark.parametrize(
    "content_type", [JSON, "Application/JSON", f"{JSON};charset=UTF-8", f'{JSON}; charset="utf-8"', f"{JSON}; a=b"]
)
async def test_json_is_accepted(api: Api, content_type: str) -> None:
    """JSON in UTF-8 is accepted, in any spelling of its content type."""
    response = await post(api, {"query": '{ __typename @include(if: true) } # "Año 🏊"'}, Content_Type=content_type)
    assert (response.status_code, response.json()) == (200, DATA)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/jsonfoo",
        "application/json-patch+json",
        "application/graphql",
        "application/graphql-response+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain",
        "text/plain; application/json",
        f"{JSON}; charset=latin-1",
        f"{JSON}, {JSON}",
    ],
)
async def test_other_content_types_are_refused(api: Api, content_type: str) -> None:
    """Any other content type, such as one that a foreign site's form can send, gets 415 with the accepted type."""
    response = await post(api, TYPENAME, Content_Type=content_type)
    assert JSON in assert_refused(response, 415)
    assert response.headers["Accept-Post"] == JSON


async def test_no_content_type(api: Api) -> None:
    """A body without a content type gets 415."""
    assert_refused(await api.client.post("/graphql", content=json.dumps(TYPENAME)), 415)


async def test_a_compressed_body(api: Api) -> None:
    """A compressed body gets 415 with Accept-Encoding; `identity` is accepted."""
    for encoding in ("gzip", "br", "identity, gzip", "x"):
        response = await post(api, TYPENAME, Content_Encoding=encoding)
        assert_refused(response, 415)
        assert response.headers["Accept-Encoding"] == "identity"
    assert (await post(api, TYPENAME, Content_Encoding="Identity")).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get"])
async def test_unsupported_methods(api: Api, method: str) -> None:
    """A method that the endpoint does not support gets 405 with the supported ones in Allow."""
    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/graphql", "query_string": b"", "headers": []}
    response = await raw(api, scope)
    assert_refused(response, 405)
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def raw(api: Api, scope: Mapping[str, Any]) -> httpx2.Response:
    """Call the app directly, since the client would correct an invalid request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    transport = api.client._transport  # noqa: SLF001 - Only it knows the app.
    assert isinstance(transport, httpx2.ASGITransport)
    await transport.app(dict(scope), receive, send)
    return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])


async def test_options(api: Api) -> None:
    """OPTIONS lists the methods and has no body."""
    response = await api.client.options("/graphql")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


async def test_unknown_paths_and_methods(api: Api) -> None:
    """An unknown path gets 404 and a wrong method 405, as JSON errors in the same shape."""
    assert "/graphql" in assert_refused(await api.client.get("/nowhere"), 404)
    response = await api.client.post("/livez")
    assert "GET" in assert_refused(response, 405)
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_fault_outside_of_graphql() -> None:
    """An exception outside of GraphQL is a 500 in the same shape, without internals."""

    async def fail(_: Scope, __: Receive, ___: Send) -> None:
        raise RuntimeError("internal_name")

    app = RequestMiddleware(fail, lambda *_: None)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://testserver") as client:
        response = await client.get("/")
    assert "internal_name" not in assert_refused(response, 500, "INTERNAL_SERVER_ERROR")


async def test_a_query_by_get(api: Api) -> None:
    """GET accepts a query with variables and an operation name, and runs it as the signed-in user."""
    await api.register()
    document = "query A($deep: Boolean!) { viewer { name @skip(if: $deep) credits } } query B { __typename }"
    parameters = {"query": document, "variables": '{"deep": true}', "operationName": "A", "extensions": "{}"}
    response = await api.client.get("/graphql", params=parameters, headers=headers("ann"))
    assert (response.status_code, response.json()) == (200, {"data": {"viewer": {"credits": 10}}})


async def test_an_empty_operation_name_by_get(api: Api) -> None:
    """An empty operationName in a URL counts as absent."""
    assert (await api.client.get("/graphql?query={__typename}&operationName=")).json() == DATA


@pytest.mark.parametrize("by", ["name", "alone", "among others"])
async def test_a_mutation_by_get(api: Api, by: str) -> None:
    """A mutation by GET gets 405 with how to send it, and changes nothing."""
    mutation = "mutation M { registerUser(input: {}) { __typename } }"
    parameters = {
        "name": {"query": f"query Q {{ __typename }} {mutation}", "operationName": "M"},
        "alone": {"query": mutation},
        "among others": {"query": f"{mutation} query Q {{ __typename }}", "operationName": "M"},
    }[by]
    response = await api.client.get("/graphql", params=parameters, headers=headers("ann"))
    assert "POST" in assert_refused(response, 405)
    assert response.headers["Allow"] == "POST"
    assert await api.query("{ viewer { id } }") == {"viewer": None}


@pytest.mark.parametrize(
    "query_string",
    [
        b"",
        b"query",
        b"query=",
        b"query=%",
        b"query={__typename}%2",
        b"query={__typename}%zz",
        b"query=%FF",
        b"query={__typename}%20%23%ED%A0%BD",  # Half a character.
        b"query=\xff",
        b"query={__typename}&query={__typename}",
        b"query={__typename}&variables=",
        b"query={__typename}&variables={",
        b"query={__typename}&variables=[]",
        b"query={__typename}&variables=%22x%22",
        b"query={__typename}&variables=" + b"[" * 60_000,
        b"query={__typename}&variables=" + b"9" * 5_000,
        b"query={__typename}&extensions=7",
        b"query=query+A{__typename}query+B{__typename}",
        b"query={__typename}&operationName=B",
        b"query=subscription{viewer{id}}",
        b"&" * 10_000,
        b"query={__typename}" + b"".join(b"&a%d=" % number for number in range(100)),
    ],
)
async def test_a_malformed_url(api: Api, query_string: bytes) -> None:
    """A URL that does not describe one operation gets 400."""
    scope = {"type": "http", "method": "GET", "path": "/graphql", "query_string": query_string, "headers": []}
    assert_refused(await raw(api, scope), 400)


async def test_a_url_that_is_too_long(dsn: str, settings: Settings) -> None:
    """A URL has the same size limit as a body."""
    async with serving(dsn, replace(settings, body_bytes_max=100)) as api:
        response = await api.client.get("/graphql", params={"query": "{ __typename } #" + 100 * "x"})
        assert_refused(response, 414, "LIMIT_EXCEEDED")


async def test_cross_site_requests(api: Api) -> None:
    """A cross-site GET that needs no CORS preflight is refused; one that needs a preflight is answered."""
    for site in ("cross-site", "same-site"):
        for mode in ("no-cors", "navigate", "cors"):
            browser = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
            response = await api.client.get("/graphql?query={__typename}", headers=browser)
            assert "GraphQL-Require-Preflight" in assert_refused(response, 403, "FORBIDDEN")
            for asked in ("GraphQL-Require-Preflight", "Apollo-Require-Preflight", "X-Requested-With"):
                response = await api.client.get("/graphql?query={__typename}", headers={**browser, asked: "1"})
                assert response.json() == DATA
            assert (
                await api.client.get("/graphql?query={__typename}", headers=browser | headers("ann"))
            ).status_code == 200
    for site in ("same-origin", "none"):
        response = await api.client.get("/graphql?query={__typename}", headers={"Sec-Fetch-Site": site})
        assert response.json() == DATA


@pytest.mark.parametrize(
    "accept",
    [f"{JSON}, text/html;q=0.9", f"{GRAPHQL}, text/html;q=0.1", "*/*", "text/html;q=0, */*", "text/*;q=0.1, */*"],
)
async def test_a_client_that_prefers_json_gets_no_page(api: Api, accept: str) -> None:
    """A GET without a query from a client that prefers JSON to HTML gets 400, not GraphiQL's page."""
    response = await api.client.get("/graphql", headers={"Accept": accept})
    assert response.status_code == 400
    assert "`query`" in response.json()["errors"][0]["message"]


async def test_head(settings: Settings, dsn: str) -> None:
    """HEAD gets the status and content type of GET, without the body."""
    async with listening(settings, dsn) as (_, base_url), httpx2.AsyncClient(base_url=base_url) as client:
        for accept, query in [(JSON, "?query={__typename}"), (JSON, "?query={"), (GRAPHQL, ""), ("text/html", "")]:
            url, accepting = f"/graphql{query}", {"Accept": accept}
            got, head = await client.get(url, headers=accepting), await client.head(url, headers=accepting)
            assert head.content == b""
            assert (head.status_code, head.headers["Content-Type"]) == (got.status_code, got.headers["Content-Type"])


async def exchange(base_url: str, request: bytes) -> httpx2.Response:
    """Send raw bytes and read one response; close the connection only if the server does."""
    host, _, port = base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    response_headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    content = await reader.readexactly(int(dict(response_headers)["content-length"]))
    if ("connection", "close") in response_headers:
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return httpx2.Response(int(start.split()[1]), headers=response_headers, content=content)


HEAD = b"POST /graphql HTTP/1.1\r\nHost: testserver\r\nContent-Type: application/json\r\n"


async def test_a_body_over_the_limit(settings: Settings, dsn: str) -> None:
    """A body over the limit is refused before it has arrived: by its Content-Length, or at the first excess byte."""
    async with listening(replace(settings, body_bytes_max=1000), dsn) as (_, base_url):
        for request in (
            HEAD + b"Content-Length: 1001\r\n\r\n",
            HEAD + b"Content-Length: 9999999999999999\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + 1001 * b" ",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 501 * b"2\r\n  \r\n",
        ):
            response = await exchange(base_url, request)
            if (
                response.status_code == 400 and b"Invalid" in response.content
            ):  # The HTTP parser's own limit came first.
                continue
            assert "1000 bytes" in assert_refused(response, 413, "LIMIT_EXCEEDED")
            assert ("close" in response.headers.get("Connection", "")) is (b"chunked" in request)


async def test_a_whole_body_over_the_limit(dsn: str, settings: Settings) -> None:
    """A body at the limit is accepted; one byte more is refused."""
    async with serving(dsn, replace(settings, body_bytes_max=1000)) as api:
        body = json.dumps(TYPENAME).encode()
        assert (await post(api, body.ljust(1000))).json() == DATA
        assert "1000 bytes" in assert_refused(await post(api, body.ljust(1001)), 413, "LIMIT_EXCEEDED")


@pytest.mark.parametrize("more", [b"", b"Accept: text/event-stream\r\n"], ids=["fast path", "ASGI"])
async def test_a_body_without_a_token(settings: Settings, dsn: str, more: bytes) -> None:
    """Anonymous clients have a smaller body limit, which never exceeds that of signed-in users."""
    signed = f"Authorization: {headers('ann')['Authorization']}\r\n".encode()
    for anonymous_max, body_max, limit in ((1000, 2000, 1000), (2000, 1000, 1000)):
        limited = replace(settings, anonymous_body_bytes_max=anonymous_max, body_bytes_max=body_max)
        async with listening(limited, dsn) as (_, base_url):
            for token, most in ((b"", limit), (signed, body_max)):
                for length, status in ((most, 200), (most + 1, 413)):
                    body = json.dumps(TYPENAME).encode().ljust(length)
                    response = await exchange(
                        base_url, HEAD + token + more + b"Content-Length: %d\r\n\r\n" % length + body
                    )
                    assert response.status_code == status
                    assert status == 200 or f"{most} bytes" in assert_refused(response, 413, "LIMIT_EXCEEDED")


async def test_a_body_at_the_limit(settings: Settings, dsn: str) -> None:
    """A body at the limit is accepted, with a Content-Length or in chunks."""
    body = json.dumps(TYPENAME).encode().ljust(1000)
    async with listening(replace(settings, body_bytes_max=1000), dsn) as (_, base_url):
        for request in (
            HEAD + b"Content-Length: 1000\r\n\r\n" + body,
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + body + b"\r\n0\r\n\r\n",
            HEAD
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            + b"0\r\n\r\n",
        ):
            assert (await exchange(base_url, request)).json() == DATA


async def test_a_slow_body(settings: Settings, dsn: str) -> None:
    """A body that has not arrived completely by the request's deadline gets 408, and its connection is closed."""
    async with listening(replace(settings, request_timeout_seconds=0.1), dsn) as (_, base_url):
        for request in (
            HEAD + b"Content-Length: 1000\r\n\r\n" + json.dumps(TYPENAME).encode(),
            HEAD + b"Content-Length: 1000\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        ):
            response = await exchange(base_url, request)
            assert_refused(response, 408, "RETRY")
            assert response.headers["Connection"] == "close"


async def test_a_mutation_that_waits_too_long(database: Database, dsn: str, settings: Settings) -> None:
    """A mutation that gets no lock by its deadline is a RETRY with 503. Sent again, it happens once."""
    content = {
        "query": MUTATIONS["createVideoData"],
        "variables": {"input": {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": "key"}},
    }
    hurry = replace(settings, request_timeout_seconds=0.2)
    async with serving(dsn, settings) as api, serving(dsn, hurry) as hurried:
        await api.register()
        async with Account(database, Identity("ann", Role.USER).user_id).locked():
            for media_type in (JSON, GRAPHQL):
                response = await post(hurried, content, Accept=media_type, **headers("ann"))
                assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
                assert response.json().keys() == {"errors"}
                assert response.json()["errors"][0]["extensions"]["code"] == "RETRY"
            await unblocked(database)
        created = (await post(api, content, **headers("ann"))).json()["data"]["createVideoData"]
        assert (created["replayed"], created["user"]["credits"]) == (False, 9)


async def test_a_request_has_one_deadline(dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its deadline a request is a RETRY with 503, whatever it waits for."""

    async def wait(_: TokenVerifier, __: str) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(TokenVerifier, "prove", wait)
    async with serving(dsn, replace(settings, request_timeout_seconds=0.1)) as api:
        response = await post(api, TYPENAME, **headers("ann"))
        assert "send it again" in assert_refused(response, 503, "RETRY")
        assert response.headers["Retry-After"] == "1"


async def test_a_deadline_begins_on_arrival(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline counts from a request's arrival: one that arrived an hour ago is a RETRY with 503."""
    answer = Pipeline.answer

    async def answer_late(pipeline: Pipeline, request: Request[Any]) -> Any:
        request.deadline -= 3600
        return await answer(pipeline, request)

    monkeypatch.setattr(Pipeline, "answer", answer_late)
    response = await api.client.get("/graphql?query={viewer{id}}", headers=headers("ann"))
    assert_refused(response, 503, "RETRY")
