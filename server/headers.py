"""What responses tell browsers: to take each for what it is, to show it in no frame, and whose pages may read it."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFLIGHT_REMEMBERED_SECONDS = 7200  # No browser remembers one for longer.
_ALWAYS = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
_POLICY = b"content-security-policy"
_NO_PAGE = (_POLICY, b"default-src 'none'; frame-ancestors 'none'")  # GraphiQL's, which is one, has its own policy.
_TLS_YEAR = (b"strict-transport-security", b"max-age=31536000")


class SecurityHeaders:
    """Puts the headers on every response; by TLS, also that browsers are to come by no other way for a year."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                headers = [*message["headers"], *_ALWAYS]
                if all(name != _POLICY for name, _ in headers):
                    headers.append(_NO_PAGE)
                if scope.get("scheme") in {"https", "wss"}:
                    headers.append(_TLS_YEAR)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, send_with_headers)


def cors(origins: tuple[str, ...] | None) -> list[Middleware]:
    """Let pages of these origins call the API and read its answers; without any, no other site's page may."""
    if origins is None:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # A client's own, such as apollo-require-preflight: the origin is what is trusted.
            expose_headers=["X-Request-Id", "Retry-After"],
            max_age=PREFLIGHT_REMEMBERED_SECONDS,
        )
    ]
