"""What an idempotency key belongs to."""

import hashlib
import json
from typing import Any


def request_hash(mutation: str, **arguments: Any) -> bytes:
    """Return the SHA-256 of a mutation's canonical arguments: the order of JSON keys does not count."""
    canonical = json.dumps([mutation, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()
