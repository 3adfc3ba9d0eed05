"""How many requests somebody may send: by the address they come from, and by who sends them."""

import asyncio
import math
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from throttled.asyncio import MemoryStore, Quota, RedisStore, Throttled

from resolvers.identity import Role
from schema.error import RequestError
from server.answer import refusal
from server.identity import InvalidToken, TokenVerifier
from server.settings import PREFIX, Settings, StartError

log = structlog.get_logger()

# What a flood of addresses can take of this process's memory, at about 300 bytes each. The one that was not heard of
# for the longest time is forgotten first, and has its whole quota again.
COUNTED_MAX = 50_000
STORAGE_SECONDS_MAX = 0.25
STORAGE_PAUSE_SECONDS = 10


class Redis(RedisStore):
    """A store that is to be closed."""

    async def close(self) -> None:
        client: Any = self._backend.get_client()
        await client.connection_pool.disconnect()


Store: TypeAlias = MemoryStore | Redis


def open_store(redis_url: str | None) -> Store:
    """Make the place where requests are counted: this process's memory, or a Redis, connected to when first used."""
    if redis_url is None:
        return MemoryStore(options={"MAX_SIZE": COUNTED_MAX})
    try:
        return Redis(server=redis_url)
    except ImportError as error:
        raise StartError(
            f"{PREFIX}RATE_LIMIT_STORAGE needs the client for Redis: pip install 'throttled-py[redis]', or unset it."
        ) from error


class RateLimit:
    """Answers 429 to whoever sends more than the settings allow, before anything is done for it.

    A quota can be used up in one go, and then fills up steadily. Every address has one, and every USER; what WORKER and
    ADMIN may send is no stranger's to decide. Nobody is refused because the storage fails: that is logged, and nothing
    counted for a while.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, store: Store, verifier: TokenVerifier) -> None:
        self._app = app
        self._verifier = verifier
        self._per_address = _throttled(settings.rate_limit_per_address, store)
        self._per_identity = _throttled(settings.rate_limit_per_identity, store)
        self._paused_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        retry_seconds = 0
        if self._per_address is not None and (client := scope.get("client")):
            retry_seconds = await self._spend(self._per_address, f"address:{network(client[0])}")
        if self._per_identity is not None and not retry_seconds and (subject := await self._user(scope)):
            retry_seconds = await self._spend(self._per_identity, f"user:{subject}")
        if retry_seconds:
            message = f"You send too many requests: wait {retry_seconds} s, then send this one again."
            error = RequestError("LIMIT_EXCEEDED", message)
            headers = {"Retry-After": str(retry_seconds)}
            await refusal(error, scope["state"]["request_id"], 429, headers=headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _user(self, scope: Scope) -> str | None:
        """Name the user who sends the request; nobody, if it is somebody else or has yet to prove who it is."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                try:
                    identity = await self._verifier.identify(value.decode("latin-1"))
                except InvalidToken:
                    return None  # Refused further in, with the reason.
                return str(identity.user_id) if identity and identity.role is Role.USER else None
        return None

    async def _spend(self, throttled: Throttled, key: str) -> int:
        """Take one request off a quota; return 0, or after how many seconds there is one again."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return 0
        try:
            async with asyncio.timeout(STORAGE_SECONDS_MAX):
                result = await throttled.limit(key)
        except Exception:
            self._paused_until = now + STORAGE_PAUSE_SECONDS
            log.exception("rate_limits_not_counted")
            return 0
        return max(1, math.ceil(result.state.retry_after)) if result.limited else 0


@lru_cache(4096)
def network(host: str) -> str:
    """Name what counts as one address: an IPv6 subscriber has 2^64 of them."""
    try:
        address = ip_address(host)
    except ValueError:
        return host[:255]
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((int(address), 64), strict=False))
    return str(address)


def _throttled(quota: Quota | None, store: Store) -> Throttled | None:
    return None if quota is None else Throttled(using="gcra", quota=quota, store=store)
