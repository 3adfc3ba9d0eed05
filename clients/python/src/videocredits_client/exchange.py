"""What is sent, what of it is sent again, and when: the same for callers that block and for those that await.

An exchange is a generator: it yields what is to be done, and is sent what came of it. It knows nothing of HTTP clients,
threads or event loops.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from random import uniform
from time import monotonic
from typing import Any, TypeVar

from videocredits_client.errors import ApiError, NetworkError, UnexpectedAnswerError, VideocreditsError
from videocredits_client.operation import Operation, as_variable

T = TypeVar("T")
PAUSE_SECONDS_MAX = 10
PASSING_STATUSES = (429, 502, 503, 504)  # What proxies answer while there is no server behind them.


@dataclass(frozen=True)
class Patience:
    """How long an operation is tried, how often, and how long one try may take."""

    deadline_seconds: float
    tries_max: int
    timeout_seconds: float


@dataclass(frozen=True)
class GetToken:
    """Asks for the token, and for another one than that which was refused."""

    refused: str | None


@dataclass(frozen=True)
class Send:
    """Asks for a request to be sent; its answer is a Response, or a NetworkError is thrown."""

    body: bytes
    token: str
    timeout_seconds: float


@dataclass(frozen=True)
class Rest:
    """Asks for nothing to be done for a while."""

    seconds: float


@dataclass(frozen=True)
class Response:
    """What was answered."""

    status: int
    retry_after: str | None
    body: bytes


Exchange = Generator[GetToken | Send | Rest, Any, T]


def as_body(document: str, variables: Mapping[str, Any]) -> bytes:
    """Write a request; ValueError for what is no JSON."""
    sent = {name: as_variable(value) for name, value in variables.items()}
    return json.dumps({"query": document, "variables": sent}, allow_nan=False).encode()


def exchange(operation: Operation[T], variables: Mapping[str, Any], patience: Patience) -> Exchange[T]:
    """Return an operation's result, however often it takes; raises what stood in the way at last."""
    # Written once: what is sent again is the same to the byte, its idempotency key with it.
    body = as_body(operation.document, variables)
    tries = Tries(patience)
    while True:
        token = yield GetToken(tries.refused_token)
        tries.begin(token)
        try:
            response = yield Send(body, token, tries.timeout_seconds)
            return operation.read(data_of(response))
        except VideocreditsError as failure:
            yield Rest(tries.pause_seconds(failure))


def data_of(response: Response) -> Any:
    """Return what is answered; raises ApiError for the first error, UnexpectedAnswerError when it is not the API's."""
    try:
        answer = json.loads(response.body)
        errors = answer.get("errors")
        if not errors:
            return answer["data"]
        message, extensions = errors[0]["message"], errors[0].get("extensions") or {}
    except (ValueError, AttributeError, LookupError, TypeError):
        raise UnexpectedAnswerError(
            f"The answer (HTTP status {response.status}) is not the API's: check the address, and what is before it.",
            status=response.status,
        ) from None
    wait = response.retry_after
    seconds = float(wait) if wait is not None and wait.isdecimal() else None
    raise ApiError(message, extensions, retry_after_seconds=seconds)


class Tries:
    """Counts the tries of one operation, and judges what may be tried again."""

    def __init__(self, patience: Patience) -> None:
        """Begin to count, and the time until the deadline to run."""
        self._patience = patience
        self._token = ""
        self.succeed()

    def succeed(self) -> None:
        """Begin anew: what follows live has been told something."""
        self.refused_token: str | None = None
        self._count = 0
        self._faults = 0
        self._deadline = monotonic() + self._patience.deadline_seconds

    @property
    def timeout_seconds(self) -> float:
        """How long the next try may take."""
        return max(0.001, min(self._patience.timeout_seconds, self._deadline - monotonic()))

    def begin(self, token: str) -> None:
        """Begin a try with a token."""
        self._token = token
        self._count += 1

    def pause_seconds(self, failure: VideocreditsError) -> float:
        """Return how long to wait before the next try; raises the failure when there is to be none."""
        ceiling = min(PAUSE_SECONDS_MAX, 0.25 * 2 ** min(self._count, 10))
        seconds = uniform(0, ceiling)  # noqa: S311 - it keeps callers from coming all at once, and guards nothing
        match failure:
            case ApiError(reason="EXPIRED") if self._token != self.refused_token:
                seconds = 0 if self.refused_token is None else seconds
                self.refused_token = self._token
            case NetworkError():
                pass
            case UnexpectedAnswerError(status=status) if status in PASSING_STATUSES:
                pass
            case ApiError(code="RETRY", retry_after_seconds=at_least):
                seconds += at_least or 0
            case ApiError(code="LIMIT_EXCEEDED", retry_after_seconds=float(at_least)):
                seconds += at_least
            case ApiError(code="INTERNAL_SERVER_ERROR") if self._faults == 0:
                self._faults += 1
            case _:
                raise failure
        if self._count >= self._patience.tries_max or monotonic() + seconds > self._deadline:
            raise failure
        return seconds
