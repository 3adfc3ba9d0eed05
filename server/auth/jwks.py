"""The identity provider's public keys, fetched when first needed and kept current."""

import asyncio
from math import inf
from time import monotonic

import jwt
import structlog

ALGORITHMS = ("RS256", "ES256", "EdDSA")  # Never HS256: with a public key for its secret, anybody can sign.
FETCH_TIMEOUT_SECONDS = 5
FETCH_INTERVAL_SECONDS = 5  # Forged key ids must not hammer the provider; a new key waits this long at most.
FRESH_SECONDS = 300  # Older keys are fetched again behind the requests that they still serve.
KEPT_SECONDS = 3600  # A provider's outage should not sign everybody out, but a withdrawn key must die.

log = structlog.get_logger(__name__)


class PublicKeys:
    """The keys at one JWKS address, by key id."""

    def __init__(self, url: str) -> None:
        # Its cache asks a provider that is down again for every token, one after the other; ours is below.
        # Some providers' firewalls turn Python's own user agent away.
        headers = {"User-Agent": "videocredits", "Accept": "application/json"}
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_SECONDS, headers=headers)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -inf
        self._tried_at = -inf
        self._fetching: asyncio.Task[None] | None = None

    @property
    def unavailable(self) -> bool:
        """Whether there is no key at all, because the provider gave none or none in time."""
        return not self._keys

    def holds(self, key: object) -> bool:
        """Whether it is one of the keys, and they are fresh."""
        return monotonic() - self._fetched_at <= FRESH_SECONDS and any(key is each for each in self._keys.values())

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key of this id; one that is not known yet is looked for at the provider."""
        now = monotonic()
        if now - self._fetched_at > KEPT_SECONDS:
            self._keys = {}
        outdated = key_id not in self._keys or now - self._fetched_at > FRESH_SECONDS
        busy = self._fetching is not None and not self._fetching.done()
        if outdated and not busy and now - self._tried_at >= FETCH_INTERVAL_SECONDS:
            self._tried_at = now
            self._fetching = asyncio.create_task(self._fetch())
        if key_id not in self._keys and self._fetching is not None:
            # Shielded, because others wait for it too: one client that leaves must not take their keys along.
            await asyncio.shield(self._fetching)
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            keys = await asyncio.to_thread(self._client.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError, RecursionError) as error:
            log.warning("public_keys_not_fetched", error=str(error), kept=len(self._keys))
            return
        self._keys = {
            key.key_id: key
            for key in keys
            if key.key_id and key.algorithm_name in ALGORITHMS and not key.Algorithm.check_key_length(key.key)
        }
        self._fetched_at = monotonic()
        log.info("public_keys_fetched", key_ids=sorted(self._keys))
