"""Compression of responses, where the client reads it and it pays."""

from collections.abc import Mapping
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type

from server.wire.media_type import GRAPHQL_RESPONSE

COMPRESSED_BYTES_MIN = 1024  # Below, a response fits into a packet anyway.

add_compress_type(GRAPHQL_RESPONSE)
# A compressor keeps more memory for each stream than all else, and gains little in small results, one by one.
for media_type in ("text/event-stream", "multipart/mixed"):
    remove_compress_type(media_type)


def compressed(response: Response, headers: Mapping[bytes, bytes]) -> ASGIApp:
    """Return what sends a whole response: as it is if it is small, and else as the client prefers to have it."""
    if len(response.body) < COMPRESSED_BYTES_MIN:
        return response
    if b"accept-encoding" not in headers:  # To find out by the middleware takes as long as to resolve a page.
        for place, (name, value) in enumerate(response.raw_headers):
            if name == b"vary":
                response.raw_headers[place] = (name, value + b", Accept-Encoding")
                return response
        response.raw_headers.append((b"vary", b"Accept-Encoding"))
        return response
    return partial(_compress, response)


async def _compress(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["response"] = response
    await _compressor(scope, receive, send)


async def _send(scope: Scope, receive: Receive, send: Send) -> None:
    await scope["state"]["response"](scope, receive, send)


_compressor = CompressMiddleware(_send, minimum_size=COMPRESSED_BYTES_MIN)
