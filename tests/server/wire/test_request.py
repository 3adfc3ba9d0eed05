"""How a body becomes an operation, on the fast path and on the ASGI path."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from server.wire.request import GraphQLRequest, Refused, read_body, read_json, read_operation

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())  # lone surrogates too
)
VALUES = st.recursive(
    LEAVES, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3), max_leaves=8
)
NAMES = st.sampled_from(["query", "variables", "operationName", "documentId", "extensions", "name", "document_id"])
BODIES = st.builds(
    lambda pairs: "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}",
    st.lists(st.tuples(NAMES, VALUES | st.sampled_from(["{ __typename }", "", {}])), max_size=6),
)


def read(way: Callable[[bytes], GraphQLRequest], body: bytes) -> Any:
    """Return the parsed operation; None if it is refused. How empty values were omitted does not matter."""
    try:
        operation = way(body)
    except Refused:
        return None
    parts = [operation.query, operation.name, operation.document_id, operation.extensions or None]
    return [*parts, json.dumps(operation.variables)]  # In JSON 1 is not 1.0, and the order matters.


def asgi_path(body: bytes) -> GraphQLRequest:
    return read_operation(read_json(body, "advice"))


@example(b'{"query": "{ a }", "variables": {"a": 1e999}}')
@example(b'{"query": "{ a }", "variables": {"a": NaN}}')
@example(b'{"query": "{ a }", "variables": {"a": 18446744073709551616, "b": -9223372036854775809, "c": -0, "d": -0.0}}')
@example(b'{"query": "{ a }", "variables": {"a": "\\ud800"}}')
@example(b'{"query": "{ a }", "variables": {"a": 1, "a": 2, "b": 3}, "query": "{ b }"}')
@example(b'\xef\xbb\xbf{"query": "{ a }"}')
@example(b'{"query": "{ \xff }"}')
@example(b' {"query": "{ a }"} \n')
@example(b'{"query": "{ a }"},')
@example(b'{"query": "{ a }", "operationName": ""}')
@example(b'["{ a }"]')
@example(b"")
@example(b'{"query": "{ a }", "variables": {"a": %s}}' % (b"9" * 5000))
@example(b'{"query": "{ a }", "variables": {"a": %s}}' % (b"[" * 5000 + b"]" * 5000))
@given(BODIES.map(str.encode) | st.builds(lambda body, cut: body[:cut].encode(), BODIES, st.integers(0, 60)))
def test_the_fast_path_reads_what_asgi_reads(body: bytes) -> None:
    """The fast path parses a body like the ASGI path, or leaves it to that."""
    assert read(read_body, body) == read(asgi_path, body)
