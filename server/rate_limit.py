"""How many requests somebody may send: by the address they come from, and by who sends them."""

import asyncio
import math
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from throttled.asyncio import MemoryStore, Quota, RedisStore, Throttled

from resolvers.identity import Identity, Role
from server.answer import refusal
from server.identity import InvalidToken, TokenVerifier
from server.request import Refused
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


class Quotas:
    """What the settings allow to be sent: by every address, and by every USER, whatever the transport.

    A quota can be used up in one go, and then fills up steadily. What WORKER and ADMIN may send is no stranger's to
    decide. Nobody is refused because the storage fails: that is logged, and nothing counted for a while.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._per_address = _throttled(settings.rate_limit_per_address, store)
        self._per_identity = _throttled(settings.rate_limit_per_identity, store)
        self._paused_until = 0.0

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return self._per_address is not None or self._per_identity is not None

    async def spend_of_address(self, scope: Scope) -> None:
        """Take one request off the quota of the address that it comes from, or raise Refused."""
        if self._per_address is not None and (client := scope.get("client")):
            await self._spend(self._per_address, f"address:{network(client[0])}")

    async def spend_of_user(self, identity: Identity | None) -> None:
        """Take one request off the quota of the user who sends it, if it is one, or raise Refused."""
        if self._per_identity is not None and identity is not None and identity.role is Role.USER:
            await self._spend(self._per_identity, f"user:{identity.user_id}")

    async def _spend(self, throttled: Throttled, key: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return
        try:
            async with asyncio.timeout(STORAGE_SECONDS_MAX):
                result = await throttled.limit(key)
        except Exception:
            self._paused_until = now + STORAGE_PAUSE_SECONDS
            log.exception("rate_limits_not_counted")
            return
        if result.limited:
            seconds = max(1, math.ceil(result.state.retry_after))
            message = f"You send too many requests: wait {seconds} s, then send this one again."
            raise Refused(429, message, code="LIMIT_EXCEEDED", retry_after=str(seconds))


class RateLimit:
    """Answers 429 to whoever sends more over HTTP than there is a quota for, before anything is done for it."""

    def __init__(self, app: ASGIApp, *, quotas: Quotas, verifier: TokenVerifier) -> None:
        self._app = app
        self._quotas = quotas
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._quotas.spend_of_address(scope)
            await self._quotas.spend_of_user(await self._identity(scope))
        except Refused as error:
            answer = refusal(error, scope["state"]["request_id"], error.status, headers=error.headers)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _identity(self, scope: Scope) -> Identity | None:
        """Tell who sends the request; nobody, as long as that is not proven."""
        for name, value in scope["headers"]:
            if name == b"authorization":
                try:
                    return await self._verifier.identify(value.decode("latin-1"))
                except InvalidToken:
                    return None  # Refused further in, with the reason.
        return None


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
