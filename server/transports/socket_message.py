"""What a client may send over a socket, by the protocol `graphql-transport-ws`."""

from typing import Any, NamedTuple

from starlette.types import Message

from server.wire.request import Refused, is_text, read_json

OPERATION_ID_CHARACTERS_MAX = 255

_ADVICE = 'Send each message as a text frame that is a JSON object, such as {"type": "ping"}.'


class SocketMessage(NamedTuple):
    """One message; the ``id`` names the operation where it is about one."""

    type: str
    id: str
    payload: dict[str, Any] | None


def read_message(received: Message, bytes_max: int) -> SocketMessage:
    """Read a message; Refused where it is invalid or longer than ``bytes_max``."""
    text: str | None = received.get("text")
    if text is None:
        raise Refused(400, _ADVICE)
    if len(text.encode()) > bytes_max:
        raise Refused(400, f"The message is longer than {bytes_max} bytes: send less.")
    message = read_json(text, _ADVICE)
    if not isinstance(message, dict):
        raise Refused(400, _ADVICE)
    type_, name, payload = message.get("type"), message.get("id", ""), message.get("payload")
    if type_ not in ("connection_init", "ping", "pong", "subscribe", "complete"):
        raise Refused(400, "`type` must be connection_init, ping, pong, subscribe or complete.")
    if type_ in ("subscribe", "complete") and not (is_text(name) and 1 <= len(name) <= OPERATION_ID_CHARACTERS_MAX):
        raise Refused(400, f"`id` must be text of 1 to {OPERATION_ID_CHARACTERS_MAX} characters.")
    if not isinstance(payload, dict | None):
        raise Refused(400, "`payload` must be an object.")
    return SocketMessage(type_, name, payload)
