"""The cost of parsing headers, and what is cached of them."""

import gc
import sys
from functools import _lru_cache_wrapper
from importlib import import_module
from pathlib import Path

import pytest

import server
from server.process import logging
from server.wire import media_type
from server.wire.media_type import (
    GRAPHQL_RESPONSE,
    HEADER_CHARACTERS_MAX,
    JSON,
    Accepted,
    accepted,
    is_json,
    is_page_preferred,
)

ROOT = Path(server.__file__).parent
# Every function cache in the server, and why clients cannot make it large.
CACHES = {
    "server.gates.rate_limit.network": "addresses",
    "server.pages.graphiql._schema": "our own schema",
    "server.process.logging._shown": "one second",
    "server.process.logging._usual_target": "64 of TARGET_CHARACTERS_REMEMBERED",
    "server.transports.fast_path._lines": "headers that the server writes",
    "server.wire.headers.lines": "headers that the server writes",
    "server.wire.media_type._accepted": "HEADERS_REMEMBERED of HEADER_CHARACTERS_MAX",
    "server.wire.media_type._is_json": "HEADERS_REMEMBERED of HEADER_CHARACTERS_MAX",
}


def test_every_cache_is_known() -> None:
    """Each function cache in the server has an entry here that states what bounds its keys."""
    found = {}
    for file in ROOT.rglob("*.py"):
        name = ".".join(["server", *file.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for key, value in vars(import_module(name)).items():
            if isinstance(value, _lru_cache_wrapper) and value.__module__ == name:
                found[f"{name}.{key}"] = value.cache_info().maxsize
    assert found.keys() == CACHES.keys()
    assert None not in {size for name, size in found.items() if CACHES[name] != "our own schema"}


HOSTILE = [",", ";", "a,", "a;q=0.5,", "*/*,", "application/json,", "application/json;q=0.", " ", "\xff", "a;b;c;d,"]


@pytest.mark.parametrize("part", HOSTILE)
def test_long_headers_take_few_steps_and_leave_nothing(part: str) -> None:
    """A header of any length takes few steps, and nothing of it is cached."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    texts = [
        part * (62 * 1024 // len(part)),
        (part * 3_000)[:HEADER_CHARACTERS_MAX],
        (part * 3_000)[: HEADER_CHARACTERS_MAX + 1],
    ]
    for text in texts:
        sys.setprofile(count)
        try:
            accepted(text.encode("latin-1"))
            is_page_preferred(text)
            is_json(text)
        finally:
            sys.setprofile(None)
    assert calls < 50_000
    for cache in (media_type._accepted, media_type._is_json):  # noqa: SLF001 - what is kept shows nowhere else
        (kept,) = (each for each in gc.get_referents(cache) if isinstance(each, dict) and each is not vars(cache))
        assert max(len(key) if isinstance(key, str | bytes) else 0 for key in kept) <= HEADER_CHARACTERS_MAX


def test_a_header_beyond_the_limit_is_ignored() -> None:
    """A header at the limit is parsed; a longer one accepts nothing, and does not name JSON."""
    for length, read in ((HEADER_CHARACTERS_MAX, True), (HEADER_CHARACTERS_MAX + 1, False)):
        accept = GRAPHQL_RESPONSE + "," * (length - len(GRAPHQL_RESPONSE))
        assert accepted(accept.encode()) == Accepted(GRAPHQL_RESPONSE if read else None, None, None)
        assert is_page_preferred("text/html" + "," * (length - len("text/html"))) is read
        assert is_json(JSON + ";" * (length - len(JSON))) is read


def test_long_paths_are_not_cached() -> None:
    """A path in the log looks the same whether it is short and cached or not."""
    logging._usual_target.cache_clear()  # noqa: SLF001 - it shows nowhere else
    for length in (10, logging.TARGET_CHARACTERS_REMEMBERED, 70_000):
        before = logging._usual_target.cache_info().currsize  # noqa: SLF001 - as above
        written = logging._request_line(0, "GET", "/" + "a" * length, 200, 0.1, "id")  # noqa: SLF001 - as above
        assert '"method": "GET", "path": "/aaa' in written
        grown = logging._usual_target.cache_info().currsize - before  # noqa: SLF001 - as above
        assert grown == (length == 10)
