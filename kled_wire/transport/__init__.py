"""Transports of byte streams: upgrade heads, dialling, WebSocket framing, the copy pump."""
