"""JSON as it is sent to PostgreSQL."""

import json
from typing import Any

import orjson


def json_text(value: Any) -> str:
    """Write a value as JSON."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # It takes no whole number of more than 64 bits, and no deep nesting.
        return json.dumps(value)


def json_argument(value: Any) -> str | None:
    """Write a value as the JSON argument of a mutation, whose parameters are text; None if there is none."""
    return None if value is None else json_text(value)
