"""Every promise, tested on a real PostgreSQL with real concurrent connections."""
