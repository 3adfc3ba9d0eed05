"""A typed client of the videocredits API, for callers that block (Client) and for those that await (AsyncClient)."""

from videocredits_client.client import AsyncClient, Client
from videocredits_client.errors import ApiError, NetworkError, UnexpectedAnswerError, VideocreditsError

__all__ = ["ApiError", "AsyncClient", "Client", "NetworkError", "UnexpectedAnswerError", "VideocreditsError"]
