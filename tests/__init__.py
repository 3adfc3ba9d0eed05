"""Every promise, held to on a real PostgreSQL with real concurrent connections."""
