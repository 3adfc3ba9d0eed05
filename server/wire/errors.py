"""The response's `errors`: what clients may read, and what only the log has."""

from typing import Any

import structlog
from graphql import GraphQLError, IntValueNode

from db.database import RetryLaterError
from schema.error import RequestError
from server.auth.tokens import InvalidToken

MESSAGE_CHARACTERS_MAX = 1000

log = structlog.get_logger()


def present(error: GraphQLError, error_id: str) -> dict[str, Any]:
    """Present an error to a client, always with a code; the internals of a fault go to the log alone, once."""
    cause = _cause(error)
    shown = error.formatted
    extensions: dict[str, Any] = {"code": "BAD_USER_INPUT"}
    match cause:
        case None:  # graphql-core's own: syntax, validation, coercion.
            shown["message"] = _cut(error.message)
        case ValueError() if error.nodes and isinstance(error.nodes[0], IntValueNode):
            shown["message"] = "This whole number has too many digits."  # Python reads none of more than 4,300.
        case RequestError():
            extensions = dict(cause.extensions or {})
            shown["message"] = cause.message
        case InvalidToken():
            extensions = {"code": cause.code, "reason": cause.reason.value}
            shown["message"] = cause.message
        case RetryLaterError():
            extensions = {"code": "RETRY"}
            shown["message"] = _retry(error.path or [])
            # Without the traceback: an outage has one for each request, and all of them alike.
            log.warning("retry", path=error.path, reason=repr(cause.__cause__ or cause))
        case _:
            extensions = {"code": "INTERNAL_SERVER_ERROR"}
            shown["message"] = "The server made a mistake. It is logged under this errorId."
            log.error("fault", path=error.path, exc_info=cause)
    return {**shown, "extensions": {**extensions, "errorId": error_id}}


def _retry(path: list[str | int]) -> str:
    """Say what may have happened. Mutations run one after the other, and their nested fields only read."""
    if len(path) > 1:
        return (
            "The server could not read this field in time. If it is in a mutation, that has happened, and so have "
            "those before it: read the field again, without repeating them."
        )
    message = (
        "The server could not finish in time, and what you asked for may or may not have happened: "
        "send it again, with the same idempotency key if it has one."
    )
    return f"{message} Mutations before it in the same request have happened." if path else message


def _cut(message: str) -> str:
    """Shorten a message that quotes the request, which may hold a whole script; names stand at either end of it."""
    if len(message) <= MESSAGE_CHARACTERS_MAX:
        return message
    half = MESSAGE_CHARACTERS_MAX // 2 - 2
    return f"{message[:half]} … {message[-half:]}"


def _cause(error: GraphQLError) -> Exception | None:
    """Find the exception that graphql-core has wrapped; None if the error is graphql-core's own."""
    cause: Exception | None = error
    while isinstance(cause, GraphQLError) and not isinstance(cause, RequestError):
        cause = cause.original_error
    return cause
