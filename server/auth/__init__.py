"""Who is calling: bearer tokens, the keys that prove them, and development identities."""
