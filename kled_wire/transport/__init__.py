"""How byte streams travel: upgrade heads, dialling, the WebSocket carrier, the copy pump."""
