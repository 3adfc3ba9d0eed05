"""The ways in: HTTP, the fast path for common POSTs, WebSocket, event streams."""
