"""Compression of responses, where the client reads it and it pays."""

import asyncio
from collections.abc import Mapping
from functools import partial

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_compress import CompressMiddleware, add_compress_type, remove_compress_type

from server.wire.media_type import GRAPHQL_RESPONSE, HEADER_CHARACTERS_MAX

COMPRESSED_BYTES_MIN = 1024  # Below, a response fits into a packet anyway.
# A longer body is compressed in slices of this size, between which the event loop does other work: each takes 1 ms.
SLICE_BYTES = 65_536

add_compress_type(GRAPHQL_RESPONSE)
# A compressor keeps more memory for each stream than all else, and gains little in small results, one by one.
for media_type in ("text/event-stream", "multipart/mixed"):
    remove_compress_type(media_type)


def compressed(response: Response, headers: Mapping[bytes, bytes]) -> ASGIApp:
    """Return what sends a whole response: as it is if it is small, and else as the client prefers to have it."""
    if len(response.body) < COMPRESSED_BYTES_MIN:
        return response
    # To find out by the middleware takes as long as to resolve a page, and of a long header 10 ms.
    if not 0 < len(headers.get(b"accept-encoding", b"")) <= HEADER_CHARACTERS_MAX:
        for place, (name, value) in enumerate(response.raw_headers):
            if name == b"vary":
                response.raw_headers[place] = (name, value + b", Accept-Encoding")
                return response
        response.raw_headers.append((b"vary", b"Accept-Encoding"))
        return response
    return partial(_compress if len(response.body) <= SLICE_BYTES else _compress_slices, response)


async def _compress(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["send_response"] = response
    await _compressor(scope, receive, send)


async def _compress_slices(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Compress slice by slice, then send a whole response."""
    start: Message = {}
    parts: list[bytes] = []

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    scope["state"]["send_response"] = partial(_send_slices, response)
    await _compressor(scope, receive, collect)
    body = b"".join(parts)
    others = [(name, value) for name, value in start["headers"] if name != b"content-length"]
    await send({**start, "headers": [(b"content-length", b"%d" % len(body)), *others]})
    await send({"type": "http.response.body", "body": body})


async def _send_slices(response: Response, _scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    for begin in range(0, len(response.body), SLICE_BYTES):
        end = begin + SLICE_BYTES
        more = end < len(response.body)
        await send({"type": "http.response.body", "body": bytes(response.body[begin:end]), "more_body": more})
        await asyncio.sleep(0)


async def _send(scope: Scope, receive: Receive, send: Send) -> None:
    await scope["state"]["send_response"](scope, receive, send)


_compressor = CompressMiddleware(_send, minimum_size=COMPRESSED_BYTES_MIN)
