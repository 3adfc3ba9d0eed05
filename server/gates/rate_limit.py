"""Rate limits: how many requests one address and one user may send."""

import asyncio
import math
from collections import OrderedDict
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Any

import structlog
from throttled.asyncio import Quota, RedisStore, Throttled

from resolvers.identity import Identity, Role
from server.process.settings import PREFIX, Settings, StartError
from server.wire.request import Refused

log = structlog.get_logger()

# Bounds the memory that a flood of addresses can take, at about 300 bytes each. The least recently seen is forgotten
# first, and then has its whole quota again.
COUNTED_MAX = 50_000
STORAGE_SECONDS_MAX = 0.25
STORAGE_PAUSE_SECONDS = 10


class Redis(RedisStore):
    """A store that is to be closed."""

    async def close(self) -> None:
        client: Any = self._backend.get_client()
        await client.connection_pool.disconnect()


def open_redis(url: str | None) -> Redis | None:
    """Make the Redis where requests are counted, if there is one; it is connected to when first used."""
    if url is None:
        return None
    try:
        return Redis(server=url)
    except ImportError as error:
        raise StartError(
            f"{PREFIX}RATE_LIMIT_STORAGE needs the client for Redis: pip install 'throttled-py[redis]', or unset it."
        ) from error


class Counts:
    """Counts in this process: when each address or user that has used some of the quota will have the whole again.

    As throttled-py's "gcra" counts in memory, which takes twenty times as long: with two quotas, a fifth of what the
    server spends on a small query.
    """

    def __init__(self, quota: Quota) -> None:
        self._seconds_each = quota.emission_interval
        self._seconds_all_but_one = (quota.burst - 1) * quota.emission_interval
        self._whole_at: OrderedDict[object, float] = OrderedDict()

    def spend(self, owner: object, now: float) -> float:
        """Take one off the quota and return 0, or return in how many seconds there will be one again."""
        whole_at = max(now, self._whole_at.get(owner, now))
        seconds = whole_at - now - self._seconds_all_but_one
        self._whole_at[owner] = whole_at if seconds > 0 else whole_at + self._seconds_each
        self._whole_at.move_to_end(owner)
        if len(self._whole_at) > COUNTED_MAX:
            self._whole_at.popitem(last=False)
        return max(0.0, seconds)


class RateLimits:
    """The rate limits of every address and every USER, over all transports together.

    A quota can be used up in one go, and then fills up steadily. The roles WORKER and ADMIN have none: no stranger can
    have them. No request is refused because the storage fails: that is logged, and nothing is counted for a while.
    """

    def __init__(self, settings: Settings, redis: Redis | None) -> None:
        self.per_address = _counted(settings.rate_limit_per_address, redis)
        self.per_user = _counted(settings.rate_limit_per_identity, redis)
        self._paused_until = 0.0

    async def spend_of_address(self, client: tuple[str, int] | None) -> None:
        """Take one request off the quota of the address that it comes from; Refused where none is left."""
        if self.per_address is not None and client:
            await self._spend(self.per_address, "address", network(client[0]))

    async def spend_of_user(self, identity: Identity) -> None:
        """Take one request off the quota of the user who sends it, if it is one; Refused where none is left."""
        if self.per_user is not None and identity.role is Role.USER:
            await self._spend(self.per_user, "user", identity.user_id)

    async def _spend(self, counted: Counts | Throttled, kind: str, owner: object) -> None:
        now = monotonic()
        if isinstance(counted, Counts):
            seconds = counted.spend(owner, now)
        else:
            seconds = await self._spend_in_redis(counted, f"{kind}:{owner}", now)
        if seconds:
            seconds = max(1, math.ceil(seconds))
            message = f"You send too many requests: wait {seconds} s, then send this one again."
            raise Refused(429, message, code="LIMIT_EXCEEDED", retry_after=str(seconds))

    async def _spend_in_redis(self, throttled: Throttled, key: str, now: float) -> float:
        if now < self._paused_until:
            return 0
        try:
            async with asyncio.timeout(STORAGE_SECONDS_MAX):
                result = await throttled.limit(key)
        except Exception:
            if self._paused_until <= now:  # Else another request has reported it.
                log.exception("rate_limits_not_counted")
            self._paused_until = now + STORAGE_PAUSE_SECONDS
            return 0
        return result.state.retry_after if result.limited else 0


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


def _counted(quota: Quota | None, redis: Redis | None) -> Counts | Throttled | None:
    if quota is None:
        return None
    return Counts(quota) if redis is None else Throttled(using="gcra", quota=quota, store=redis)
