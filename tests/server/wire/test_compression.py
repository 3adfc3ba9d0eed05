"""Responses are compressed when the client accepts it and when it pays."""

import gzip

import brotli  # type: ignore[import-untyped]  # it ships none
import pytest
import zstandard
from starlette.datastructures import Headers

from tests.api import Api, headers

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

GRAPHQL = "application/graphql-response+json"
LARGE = {"query": "{ __schema { types { name description fields { name description } } } }"}
SMALL = {"query": "{ __typename }"}
READ = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstandard.decompress}


async def receive(api: Api, accept: str, encodings: str, document: dict[str, str] = LARGE) -> tuple[Headers, bytes]:
    """Return the headers and the raw body."""
    sent = {"Accept": accept, "Accept-Encoding": encodings, **headers("ann")}
    async with api.client.stream("POST", "/graphql", json=document, headers=sent) as response:
        body = b"".join([part async for part in response.aiter_raw()])
        assert response.status_code == 200
        return Headers(raw=response.headers.raw), body


@pytest.mark.parametrize("accept", [GRAPHQL, "application/json"])
@pytest.mark.parametrize(
    ("encodings", "chosen"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br;q=0, zstd;q=0", "gzip"),
    ],
)
async def test_a_large_response_is_compressed(api: Api, accept: str, encodings: str, chosen: str) -> None:
    """A large response has the best encoding that the client accepts, and a Vary header."""
    plain_headers, plain = await receive(api, accept, "identity")
    assert "Content-Encoding" not in plain_headers
    compressed_headers, compressed = await receive(api, accept, encodings)
    assert compressed_headers["Content-Encoding"] == chosen
    assert compressed_headers["Content-Type"] == f"{accept}; charset=utf-8"
    assert int(compressed_headers["Content-Length"]) == len(compressed) < len(plain) / 3
    assert READ[chosen](compressed) == plain
    assert {"Accept", "Accept-Encoding"} <= set(compressed_headers["Vary"].split(", "))


@pytest.mark.parametrize("url", ["/graphql?query={__schema{types{name,description}}}", "/graphql"])
async def test_no_compression_without_accept_encoding(api: Api, url: str) -> None:
    """Without a supported encoding in Accept-Encoding, JSON and pages are sent uncompressed, with a Vary header."""
    accept = GRAPHQL if "query" in url else "text/html"
    request = api.client.build_request("GET", url, headers={"Accept": accept})
    del request.headers["Accept-Encoding"]
    response = await api.client.send(request)
    assert len(response.content) > 1024
    assert "Content-Encoding" not in response.headers
    assert "Accept-Encoding" in response.headers["Vary"].split(", ")


async def test_a_small_response_is_not_compressed(api: Api) -> None:
    """A response that fits into a packet is not compressed."""
    small_headers, small = await receive(api, GRAPHQL, "gzip, deflate, br, zstd", SMALL)
    assert "Content-Encoding" not in small_headers
    assert small == b'{"data":{"__typename":"Query"}}'


async def test_graphiql_is_compressed(api: Api) -> None:
    """GraphiQL's page is compressed, and keeps its content security policy."""
    response = await api.client.get("/graphql", headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "GraphiQL" in response.text
