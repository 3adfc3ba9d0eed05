"""The private parts of uvicorn that the protocols use: a new version that changes them fails here first."""

import asyncio
import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import websockets.protocol
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import Server, ServerState

from server.gates.backlog import Backlog
from server.transports.http_protocol import Protocol
from server.transports.websocket_protocol import WebSocketProtocol

ROOT = Path(__file__).parents[3]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    pass


def test_the_version_is_bounded() -> None:
    """The next minor version of uvicorn is not installed before these tests have run with it."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bounds,) = (each for each in dependencies if each.startswith("uvicorn"))
    major, minor = map(int, version("uvicorn").split(".")[:2])
    assert re.fullmatch(r"uvicorn>=(\d+\.\d+),<(\d+\.\d+)", bounds)
    assert bounds == f"uvicorn>={major}.{minor},<{major}.{minor + 1}"


def test_the_server() -> None:
    """Uvicorn's server creates connections with these arguments, shares this state, and calls `shutdown`."""
    source = inspect.getsource(Server)
    (made,) = re.findall(r"config\.http_protocol_class\((.*?)\n\s*\)", source, re.DOTALL)
    assert set(re.findall(r"(\w+)=", made)) == set(inspect.signature(Protocol).parameters)
    assert set(re.findall(r"\bconnection\.(\w+)", source)) == {"shutdown"}
    assert vars(ServerState()).keys() == {"total_requests", "connections", "tasks", "default_headers"}


def test_the_cycle() -> None:
    """Uvicorn's ASGI cycle takes these arguments, and uses only those parts of flow control that our connection has."""
    assert [*inspect.signature(RequestResponseCycle).parameters] == [
        *("scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers", "message_event"),
        *("expect_100_continue", "keep_alive", "on_response"),
    ]
    source = inspect.getsource(RequestResponseCycle)
    assert set(re.findall(r"self\.flow\.(\w+)", source)) == {"write_paused", "drain", "resume_reading"}
    for attribute in ("body", "more_body", "disconnected", "response_complete", "keep_alive", "message_event"):
        assert re.search(rf"self\.{attribute}\b", source)
    assert STATUS_LINE[431] == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


async def test_the_websocket() -> None:
    """Uvicorn's WebSocket class has each method that ours overrides, and each attribute that ours reads."""
    replaced = vars(WebSocketProtocol).keys() & vars(WebSocketsSansIOProtocol).keys()
    assert replaced - {"__init__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"} == {
        *("connection_lost", "data_received", "pause_writing", "resume_writing", "run_asgi", "send", "receive"),
        *("keepalive_timeout", "send_receive_event_to_app"),
    }
    config = Config(app)
    config.load()
    ours = WebSocketProtocol(config, ServerState(), {}, lambda: None, None, Backlog(), None, None)
    read = set(re.findall(r"self\.(\w+)", inspect.getsource(WebSocketProtocol)))
    assert {each for each in read if not hasattr(ours, each)} == {"scope"}  # It is made of the handshake.
    assert isinstance(ours.writable, asyncio.Event)
    assert "recv_frame" in vars(websockets.protocol.Protocol)
