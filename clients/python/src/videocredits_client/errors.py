"""What is raised: everything but refusals, which are results."""

from collections.abc import Mapping
from typing import Any


class VideocreditsError(Exception):
    """An operation has no result: whichever of the reasons below."""


class ApiError(VideocreditsError):
    """The API answered with an error; the operator finds it in the server's log under `error_id`."""

    def __init__(
        self, message: str, extensions: Mapping[str, Any], *, retry_after_seconds: float | None = None
    ) -> None:
        """Take an error as it stands in `errors`."""
        self.code = str(extensions.get("code", "INTERNAL_SERVER_ERROR"))
        self.reason: str | None = extensions.get("reason")
        self.error_id: str | None = extensions.get("errorId")
        self.extensions = extensions
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        told = self.code if self.reason is None else f"{self.code} ({self.reason})"
        super().__init__(f"{told}: {message} [errorId {self.error_id}]")


class NetworkError(VideocreditsError):
    """The API could not be reached, or its answer was lost: what was asked for may or may not have happened."""


class UnexpectedAnswerError(VideocreditsError):
    """Something answered that is not the API, such as a proxy, or an API that is newer than this client."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        """Take the status of the HTTP response, if that is what was not expected."""
        self.status = status
        super().__init__(message)
