"""What an idempotency key belongs to."""

import hashlib
import json
from typing import Any

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def request_hash(mutation: str, **arguments: Any) -> bytes:
    """Return the SHA-256 of a mutation's canonical arguments: the order of JSON keys does not count."""
    return hashlib.sha256(_canonical([mutation, arguments]).encode()).digest()
