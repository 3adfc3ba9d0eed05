"""The identity provider's public keys, fetched when first needed and kept current."""

import asyncio
import json
import ssl
from math import inf
from time import monotonic

import httpx2
import jwt
import structlog

ALGORITHMS = ("RS256", "ES256", "EdDSA")  # Never HS256: with a public key for its secret, anybody can sign.
FETCH_SECONDS_MAX = 5  # from the look-up of the host's address to the last byte
KEYS_BYTES_MAX = 262_144  # Providers publish a few kilobytes.
FETCH_INTERVAL_SECONDS = 5  # Forged key ids must not hammer the provider; a new key waits this long at most.
FRESH_SECONDS = 300  # Older keys are fetched again behind the requests that they still serve.
KEPT_SECONDS = 3600  # A provider's outage should not sign everybody out, but a withdrawn key must die.

_UNREADABLE = (ValueError, TypeError, RecursionError)  # TypeError: PyJWT looks an `alg` up, even if it is a list.

log = structlog.get_logger(__name__)


class PublicKeys:
    """The keys at one JWKS address, by key id."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ssl_context: ssl.SSLContext | None = None  # made once, when first needed
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
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                keys = _signing_keys(await self._content())
        except (httpx2.HTTPError, httpx2.InvalidURL, jwt.PyJWTError, OSError, *_UNREADABLE) as error:
            shown = f"{type(error).__name__}: {error}"
            log.warning("public_keys_not_fetched", error=shown, kept=len(self._keys))
            return
        self._keys = {
            key.key_id: key
            for key in keys
            if isinstance(key.key_id, str)
            and key.key_id
            and key.algorithm_name in ALGORITHMS
            and not key.Algorithm.check_key_length(key.key)
        }
        self._fetched_at = monotonic()
        log.info("public_keys_fetched", key_ids=sorted(self._keys))

    async def _content(self) -> bytes:
        """Read what the provider publishes, in this event loop: a thread would be waited for when the server stops."""
        # Some providers' firewalls turn the user agents of Python's libraries away. Compressed, it might be any size.
        headers = {"User-Agent": "videocredits", "Accept": "application/json", "Accept-Encoding": "identity"}
        self._ssl_context = self._ssl_context or ssl.create_default_context()
        content = bytearray()
        async with (
            httpx2.AsyncClient(headers=headers, verify=self._ssl_context, timeout=FETCH_SECONDS_MAX) as client,
            client.stream("GET", self._url) as response,
        ):
            if response.status_code != 200:  # The address may hold an API key, which a redirect would give away.
                raise ValueError(f"the status is {response.status_code}")
            async for part in response.aiter_raw(65_536):
                content += part
                if len(content) > KEYS_BYTES_MAX:
                    raise ValueError(f"there are more than {KEYS_BYTES_MAX} bytes")
        return bytes(content)


def _signing_keys(content: bytes) -> list[jwt.PyJWK]:
    published = json.loads(content)
    if not isinstance(published, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - what a provider sends is a value
    keys = [key for key in jwt.PyJWKSet.from_dict(published).keys if key.public_key_use in {"sig", None}]
    if not keys:
        raise ValueError("there are no keys for signatures")
    return keys
