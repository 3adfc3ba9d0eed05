"""Limits that a request passes before it costs anything: rate limits, admission, open streams."""
