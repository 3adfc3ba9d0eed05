"""Security headers and CORS: no sniffing, no frames, and which sites' pages may read responses."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Header = tuple[bytes, bytes]

PREFLIGHT_REMEMBERED_SECONDS = 7200  # No browser remembers one for longer.
ADDRESS_CHARACTERS_MAX = 255  # A proxy may forward anything that a client calls its address.
_ALWAYS = (
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_POLICY = b"content-security-policy"
# GraphiQL, which is a page, has its own policy.
_WITHOUT_PAGE = (*_ALWAYS, (_POLICY, b"default-src 'none'; frame-ancestors 'none'"))
_TLS_YEAR = (b"strict-transport-security", b"max-age=31536000")


def with_security(scheme: str | None, headers: Iterable[Header], *own: Header) -> list[Header]:
    """Add the headers that every response has; over TLS, also HSTS for a year."""
    has_policy = any(name == _POLICY for name, _ in headers)
    with_all = [*own, *headers, *(_ALWAYS if has_policy else _WITHOUT_PAGE)]
    if scheme in {"https", "wss"}:
        with_all.append(_TLS_YEAR)
    return with_all


@lru_cache(256)
def lines(headers: tuple[Header, ...]) -> bytes:
    """Write headers as HTTP/1.1 has them, once for all responses that have the same."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)


def forwarded(app: ASGIApp, proxies: tuple[str, ...] | None) -> ASGIApp:
    """Believe X-Forwarded-For and X-Forwarded-Proto of these proxies; without any, of none."""
    if not proxies:
        return app

    async def with_short_address(scope: Scope, receive: Receive, send: Send) -> None:
        if client := scope.get("client"):
            scope["client"] = (client[0][:ADDRESS_CHARACTERS_MAX], client[1])
        await app(scope, receive, send)

    middleware: Any = ProxyHeadersMiddleware  # Uvicorn has names of its own for the same types.
    proxied: ASGIApp = middleware(with_short_address, list(proxies))
    return proxied


def cors(app: ASGIApp, origins: tuple[str, ...] | None) -> ASGIApp:
    """Let pages of these origins call the API and read its answers; without any, no other site's page may."""
    if origins is None:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],  # Clients have their own, such as apollo-require-preflight. Trust is in the origin.
        expose_headers=["X-Request-Id", "Retry-After"],
        max_age=PREFLIGHT_REMEMBERED_SECONDS,
    )
