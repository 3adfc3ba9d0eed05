"""The arguments that an idempotency key belongs to."""

import hashlib
import json
from typing import Any

import orjson


def request_hash(mutation: str, **arguments: Any) -> bytes:
    """Return the SHA-256 of a mutation's canonical arguments; the order of JSON keys does not matter."""
    try:
        canonical = orjson.dumps([mutation, arguments], option=orjson.OPT_SORT_KEYS)
    except TypeError:  # It takes no whole number of more than 64 bits.
        canonical = json.dumps([mutation, arguments], sort_keys=True).encode()
    return hashlib.sha256(canonical).digest()
