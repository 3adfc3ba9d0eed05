"""Responses as JSON: any value as the standard library writes it, though a faster encoder writes most."""

import datetime
import json
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvers.identity import Role
from server.wire.answer import encode, encode_utf8

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.text(st.characters())  # lone surrogates too
    | st.sampled_from(["null", Role.USER])
)


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.text() | st.integers(), parts, max_size=4)
    return st.lists(parts, max_size=4) | st.lists(parts, max_size=4).map(tuple) | objects | objects.map(OrderedDict)


@given(st.recursive(LEAVES, containers))
def test_any_value(value: Any) -> None:
    """Any value is written as the same JSON, with question marks for lone surrogates."""
    expected = json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    assert json.loads(encode_utf8(value)) == json.loads(expected)
    assert encode(value) == encode_utf8(value).decode()


def test_values_beyond_the_fast_encoder() -> None:
    """Deep nesting, large integers and lone surrogates, which the fast encoder refuses, are written all the same."""
    deep: Any = None
    for _ in range(400):
        deep = [deep]
    assert encode_utf8(deep) == b"[" * 400 + b"null" + b"]" * 400
    assert encode_utf8({"a": [2**64, -(2**63) - 1]}) == b'{"a":[18446744073709551616,-9223372036854775809]}'
    assert encode_utf8({"\ud800": "\udfff", "é": "né"}) == '{"?":"?","é":"né"}'.encode()
    assert encode_utf8({1: 2}) == b'{"1":2}'


@pytest.mark.parametrize(("microsecond", "written"), [(0, "2026-11-29T03:06:04Z"), (1, "2026-11-29T03:06:04.000001Z")])
def test_a_point_in_time(microsecond: int, written: str) -> None:
    """A time is written as RFC 3339 in UTC by either encoder."""
    time = datetime.datetime(2026, 11, 29, 3, 6, 4, microsecond, datetime.UTC)
    assert encode([time]) == f'["{written}"]'
    assert encode([time, 2**64]) == f'["{written}",{2**64}]'


@pytest.mark.parametrize("value", [{"a": b"b"}, [object()], 1j])
def test_values_without_a_json_form(value: Any) -> None:
    """A value that JSON cannot represent is a fault of the server."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode_utf8(value)
