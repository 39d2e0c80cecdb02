"""What the small coordinator does with upgraded connections: a WebSocket, or bytes as they are."""

from __future__ import annotations

import asyncio
import contextlib

import wsproto
import wsproto.events


async def serve_websocket(
    head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Echo binary messages; an empty one is the half-close (docs/protocol.md, Data plane)."""
    ws = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    ws.receive_data(head.encode("latin-1"))
    while True:
        for event in ws.events():
            if isinstance(event, wsproto.events.Request):
                writer.write(ws.send(wsproto.events.AcceptConnection()))
            elif isinstance(event, wsproto.events.BytesMessage):
                writer.write(ws.send(wsproto.events.BytesMessage(data=bytes(event.data))))
            elif isinstance(event, wsproto.events.CloseConnection):
                writer.write(ws.send(event.response()))
                return
        await writer.drain()
        data = await reader.read(65536)
        if not data:
            return
        ws.receive_data(data)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
