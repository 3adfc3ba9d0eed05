"""Random documents, bodies, headers and URLs: each is answered, without a fault or internals."""

import asyncio
import json
import re
from contextlib import AsyncExitStack, redirect_stderr
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import hypothesis
import pytest
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLField,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    VariableDefinitionNode,
    VariableNode,
    build_schema,
    parse_type,
    print_ast,
    value_from_ast_untyped,
)
from hypothesis import strategies as st
from hypothesis_graphql import Mode, nodes
from hypothesis_graphql import strategies as graphql_strategies
from starlette.types import Message

from resolvers.identity import Role
from schema.node import EntryKey, EventKey, UserKey, VideoKey, decode_id, encode_id
from server.app import create_app
from server.operations.document_limits import LIMITS
from server.process.settings import Settings
from tests.api import Api, headers
from tests.log import Log, serving_logged
from tests.race import check_verified

SCHEMA = build_schema((Path(__file__).parents[3] / "schema.graphql").read_text(encoding="utf-8"))
CODES = {"UNAUTHENTICATED", "FORBIDDEN", "BAD_USER_INPUT", "LIMIT_EXCEEDED", "RETRY"}
# Internal names: Python's, the libraries', PostgreSQL's, and this project's files, tables and constraints.
INTERNALS = re.compile(
    r"Traceback|\.py\b|site-packages|asyncpg|strawberry|graphql\.|<class |object at 0x|set_int_max_str_digits|"
    r"SQLSTATE|pg_|\bSELECT\b|\bINSERT\b|\bUPDATE\b|relation |constraint|violates|"
    r"video_data_|users_|wallets_|video_events|credit_entries"
)
# Placeholders for ids of existing rows, which are created after the documents.
ROWS = [f"<{owner} {kind}>" for owner in ("ann", "bob") for kind in ("user", "video", "entry", "event")]


class Asked(NamedTuple):
    """A GraphQL request and its sender."""

    role: Role | None
    document: str
    variables: dict[str, Any]


class Sent(NamedTuple):
    """An HTTP request, byte by byte, and its sender."""

    method: str
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    body: list[bytes]


text = st.text(max_size=30)
almost_ids = st.builds(
    "".join, st.tuples(st.sampled_from(["", "user_", "video_", "entry_", "event_"]), st.sampled_from(["", *ROWS]), text)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.sampled_from(ROWS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
scalars = {
    "ID": (st.sampled_from(ROWS) | text | almost_ids).map(nodes.String),
    "URL": st.sampled_from(["https://example.com/a", "http://localhost/", "javascript:1"]).map(nodes.String),
    "JSON": st.integers().map(nodes.Int) | text.map(nodes.String) | st.just(nodes.Object([])),
}


def document_nodes(mode: Mode) -> st.SearchStrategy[Any]:
    return graphql_strategies.from_schema(SCHEMA, custom_scalars=scalars, print_ast=lambda node: node, mode=mode)


def hoist(document: DocumentNode) -> tuple[DocumentNode, dict[str, Any]]:
    """Move the root fields' arguments into variables; return the document without them, and the variables."""
    variables: dict[str, Any] = {}
    (operation,) = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    root = SCHEMA.get_root_type(operation.operation)
    assert root is not None
    declared: list[VariableDefinitionNode] = []

    def moved(argument: ArgumentNode, field: GraphQLField) -> ArgumentNode:
        if argument.name.value not in field.args:
            return argument
        name = f"v{len(variables)}"
        variables[name] = value_from_ast_untyped(argument.value)
        variable = VariableNode(name=NameNode(value=name))
        type_ = parse_type(str(field.args[argument.name.value].type))
        declared.append(VariableDefinitionNode(variable=variable, type=type_, directives=()))
        return replace(argument, value=variable)

    selections: list[SelectionNode] = []
    for selected in operation.selection_set.selections:
        if isinstance(selected, FieldNode) and (field := root.fields.get(selected.name.value)):
            given = tuple(moved(each, field) for each in selected.arguments or ())
            selections.append(replace(selected, arguments=given))
        else:
            selections.append(selected)
    selection_set = replace(operation.selection_set, selections=tuple(selections))
    changed = replace(operation, variable_definitions=tuple(declared), selection_set=selection_set)
    return replace(document, definitions=(changed,)), variables


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Draw a document, valid or not, with its values inline or as variables; garble some."""
    mode: Mode = draw(st.sampled_from(Mode))
    node: DocumentNode = draw(document_nodes(mode))
    variables: dict[str, Any] = {}
    if draw(st.booleans()):
        node, variables = hoist(node)
    document = print_ast(node)
    if len(variables) > 0 and draw(st.booleans()):
        variables[draw(st.sampled_from(sorted(variables)))] = draw(json_values)
    elif draw(st.integers(0, 4)) == 0:
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(document))] * 2)))
        document = (
            document[:start]
            + draw(st.sampled_from(["", document[start:end] * 2, "{", '"', "$", "\0"]))
            + document[end:]
        )
    return Asked(draw(st.sampled_from([*Role, None])), document, variables)


RIGHT = {"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": ROWS[0]}, "operationName": None}
HEADER_NAMES = [
    *(b"accept", b"accept-encoding", b"content-type", b"content-length", b"content-encoding", b"authorization"),
    *(b"origin", b"sec-fetch-site", b"cookie", b"host", b"connection", b"upgrade", b"transfer-encoding", b"expect"),
    *(b"access-control-request-method", b"access-control-request-headers", b"x-forwarded-for", b"x-request-id"),
    *(b"if-none-match", b"range", b"graphql-require-preflight"),
]
HEADER_VALUES = [
    *(b"application/json", b"application/graphql-response+json", b"application/json; charset=utf-16", b"text/html"),
    *(b"*/*", b"*/*;q=", b"application/json;q=0", b"text/event-stream", b"gzip", b"br;q=1.0, *;q=0", b"identity"),
    *(b"0", b"-1", b"99999999999999999999", b"1e3", "²".encode("latin-1"), b"cross-site", b"null", b"POST"),
    *(b"https://evil.example", b"http://[::1", b"Bearer x", b"Bearer", b"bytes=0-1", b"100-continue", b""),
]
json_bodies = st.one_of(
    json_values,
    st.fixed_dictionaries({}, optional={name: st.just(value) | json_values for name, value in RIGHT.items()}),
    st.just(RIGHT),
).map(lambda value: json.dumps(value).encode())
bodies = st.one_of(
    st.binary(max_size=60),
    json_bodies,
    st.tuples(json_bodies, st.integers(0, 80), st.binary(max_size=3)).map(lambda cut: cut[0][: cut[1]] + cut[2]),
    st.tuples(json_bodies, st.sampled_from(["utf-16", "utf-32", "utf-8-sig"])).map(
        lambda other: other[0].decode().encode(other[1])
    ),
    st.sampled_from(
        [b"[" * 3_000, b'{"query":' * 3_000, b"9" * 5_000, b'"\\ud800"', b'{"query": "{ a }", "query": 1}']
    ),
)
query_strings = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(["query", "variables", "operationName", "extensions", "raw", "x"]),
            st.sampled_from(["{__typename}", "{viewer{id}}", "mutation{a}", "{", "null", "[]", "%", "%ff", "%00", "+"])
            | text,
        ),
        max_size=4,
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode()),
)
any_headers = st.lists(
    st.tuples(
        st.sampled_from(HEADER_NAMES) | st.binary(min_size=1, max_size=8).map(bytes.lower),
        st.sampled_from(HEADER_VALUES) | st.binary(max_size=20),
    ),
    max_size=4,
)
json_header = st.just([(b"content-type", b"application/json")])
methods = st.sampled_from(["POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "get", "\0"])
some_bodies = st.lists(bodies, min_size=1, max_size=2)
sent = st.one_of(
    st.builds(Sent, st.just("POST"), st.just(b""), json_header, some_bodies),
    st.builds(Sent, st.just("POST"), query_strings, st.builds(list.__add__, json_header, any_headers), some_bodies),
    st.builds(Sent, st.just("GET"), query_strings, any_headers, st.just([b""])),
    st.builds(Sent, methods, query_strings, any_headers, some_bodies),
)


def check_shown(shown: str, said: str) -> None:
    """Check that a response reveals no internals except what the client itself has sent."""
    internals = {found[0] for found in INTERNALS.finditer(shown)}
    assert all(word in said for word in internals), (internals, shown[:2000])


def check_body(content: bytes, said: str) -> dict[str, Any]:
    """Check that a response is JSON, with data or coded errors, and reveals no internals; return it."""
    shown = content.decode()
    check_shown(shown, said)
    body: dict[str, Any] = json.loads(shown)
    assert body.keys() <= {"data", "errors", "extensions"}
    assert "data" in body or body["errors"]
    for error in body.get("errors", []):
        assert error["extensions"]["code"] in CODES, error
        assert error["message"]
        assert re.fullmatch(r"[0-9a-f]{32}", error["extensions"]["errorId"])
    return body


def values(part: Any) -> int:
    """Count the values in a response."""
    match part:
        case dict():
            return sum(map(values, part.values()))
        case list():
            return sum(map(values, part))
        case _:
            return 1


async def rows(api: Api) -> dict[str, str]:
    """Create users with videos for Ann and for Bob, and return the existing ids."""
    found: dict[str, str] = {}
    for subject in ("ann", "bob"):
        user_id = await api.register(subject, credits=1000)
        await api.video("failed", subject=subject, status="FAILED")
        video_id = await api.video("new", subject=subject)
        user, video = decode_id(user_id), decode_id(video_id)
        assert isinstance(user, UserKey)
        assert isinstance(video, VideoKey)
        entry, event = encode_id(EntryKey(*user, 1)), encode_id(EventKey(*video, 1))
        found |= {f"<{subject} user>": user_id, f"<{subject} video>": video_id}
        found |= {f"<{subject} entry>": entry, f"<{subject} event>": event}
    return found


def some_and_many(many: int, some: int = 200) -> pytest.MarkDecorator:
    """Run a test on a few examples, always the same; in a soak, on many new ones each time."""
    unhurried = hypothesis.settings(
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
        report_multiple_bugs=False,
    )
    return pytest.mark.parametrize(
        "run",
        [
            pytest.param(hypothesis.settings(unhurried, max_examples=some, derandomize=True), id="some"),
            pytest.param(hypothesis.settings(unhurried, max_examples=many), id="many", marks=pytest.mark.soak),
        ],
    )


def replaced(text: str, ids: dict[str, str]) -> str:
    for name, row_id in ids.items():
        text = text.replace(name, row_id)
    return text


@some_and_many(1_000)
def test_any_document(dsn: str, settings: Settings, run: hypothesis.settings) -> None:
    """Any document with any variables, from any user, gets data or coded errors, without a fault.

    No response exceeds the limit on cost, and afterwards every balance is right.
    """
    slowest = (0.0, "")
    seen: set[str] = set()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        api, log = runner.run(stack.enter_async_context(serving_logged(dsn, settings)))
        ids = runner.run(rows(api))
        log.read()

        async def check(one: Asked) -> None:
            nonlocal slowest
            content = replaced(json.dumps({"query": one.document, "variables": one.variables}), ids)
            signed = headers("ann", one.role) if one.role else {}
            started = perf_counter()
            response = await api.client.post(
                "/graphql", content=content, headers={"Content-Type": "application/json", **signed}
            )
            slowest = max(slowest, (1000 * (perf_counter() - started), content))
            lines = log.read()
            assert response.status_code < 500, response.text
            assert response.headers["Content-Type"].startswith("application/")
            body = check_body(response.content, content)
            seen.update([error["extensions"]["code"] for error in body.get("errors", ())] or ["data"])
            assert values(body.get("data")) <= LIMITS["cost"].maximum
            assert all(line["event"] == "request" for line in lines)

        @run
        @hypothesis.given(asked())
        def each(one: Asked) -> None:
            runner.run(check(one))

        each()
        runner.run(check_verified(dsn))
        runner.run(stack.aclose())
    assert seen >= {"data", "BAD_USER_INPUT", "FORBIDDEN", "UNAUTHENTICATED"}
    print(f"The slowest took {slowest[0]:.0f} ms: {slowest[1][:500]}")  # noqa: T201 - Shown by `pytest -rP`.


@some_and_many(5_000)
def test_any_bytes(dsn: str, settings: Settings, run: hypothesis.settings) -> None:
    """Any method, URL, headers and body get a response, as JSON with data or coded errors, without a fault."""
    log = Log()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        with redirect_stderr(log.stream):
            app = create_app(replace(settings, log_format="json", log_level="info"), dsn=dsn)
        runner.run(stack.enter_async_context(app.router.lifespan_context(app)))

        async def check(one: Sent) -> None:
            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "scheme": "http",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 1),
                "root_path": "",
                "path": "/graphql",
                "raw_path": b"/graphql",
                "method": one.method,
                "query_string": one.query_string,
                "headers": one.headers,
            }
            *early, last = one.body
            coming = [{"type": "http.request", "body": body, "more_body": True} for body in early]
            coming.append({"type": "http.request", "body": last, "more_body": False})
            answered: list[Message] = []

            async def receive() -> Message:
                return coming.pop(0) if coming else {"type": "http.disconnect"}

            async def send(message: Message) -> None:
                answered.append(message)

            await app(scope, receive, send)
            await asyncio.sleep(0)  # Request lines are written at the next iteration of the event loop.
            lines = log.read()
            start, *parts = answered
            content = b"".join(part.get("body", b"") for part in parts)
            fields = dict(start["headers"])
            headers_said = [part for header in one.headers for part in header]
            said = b" ".join([one.query_string, *headers_said, *one.body]).replace(b"\0", b"").decode("latin-1")
            assert start["status"] < 500, (start, content)
            check_shown(str(start["headers"]), said)
            if b"json" in fields.get(b"content-type", b"") and one.method != "HEAD":
                check_body(content, said)
            else:
                assert one.method in {"HEAD", "OPTIONS", "GET"}, (start, content)
            assert all(line["event"] == "request" for line in lines)

        @run
        @hypothesis.given(sent)
        def each(one: Sent) -> None:
            runner.run(check(one))

        each()
        runner.run(stack.aclose())
