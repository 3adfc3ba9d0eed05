"""Clients that disconnect before their request is complete."""

from starlette.types import Message
from structlog.testing import capture_logs

from server.app import create_app
from server.process.settings import Settings


async def test_client_leaves_while_it_sends(settings: Settings, dsn: str) -> None:
    """A client that disconnects in the middle of its request causes no log line above info."""
    app = create_app(settings, dsn=dsn)
    received: list[Message] = [
        {"type": "http.request", "body": b'{"query": "{ vie', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b""}
    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    async with app.router.lifespan_context(app):
        with capture_logs() as logs:
            await app({**scope, "headers": headers}, receive, send)
    assert logs == []
    assert sent[0]["status"] == 499
