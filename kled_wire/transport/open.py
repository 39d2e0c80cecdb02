"""Open a kled-stream at the coordinator: raw, or carried where the upgrade does not get through."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from kled_wire import limits
from kled_wire.errors import UnavailableError
from kled_wire.http.headio import read_response
from kled_wire.http.heads import UPGRADE, decode_refusal, encode_request
from kled_wire.transport.address import Address
from kled_wire.transport.dial import open_connection
from kled_wire.transport.prefixed import PrefixedStream

if TYPE_CHECKING:
    from kled_wire.transport.wscarrier import CarriedStream


async def open_upgraded(
    address: Address,
    path: str,
    *,
    headers: Mapping[str, str],
    nursery: trio.Nursery,
    ssl_context: ssl.SSLContext | None = None,
) -> trio.abc.HalfCloseableStream:
    """Ask `path` below the coordinator's base to become a kled-stream, and return that.

    Where a proxy on the path blocks the upgrade, the same stream is carried in
    WebSocket messages, which a task in `nursery` reads. The caller owns the
    deadline. Raises the KledError the coordinator answered with, or UnavailableError.
    """
    try:
        return await upgrade_raw(address, path, headers=headers, ssl_context=ssl_context)
    except UnavailableError as exc:
        if exc.code != "upgrade_refused":
            raise
    return await open_carried(
        address, path, headers=headers, nursery=nursery, ssl_context=ssl_context
    )


async def upgrade_raw(
    address: Address,
    path: str,
    *,
    headers: Mapping[str, str],
    ssl_context: ssl.SSLContext | None = None,
) -> trio.abc.HalfCloseableStream:
    """As `open_upgraded`, without the WebSocket: raises "upgrade_refused" instead."""
    stream = await open_connection(address, ssl_context=ssl_context)
    request = encode_request(f"GET {address.base}{path}", address.authority, {**UPGRADE, **headers})
    try:
        await stream.send_all(request)
        first = await _read_acceptance(stream)
    except (trio.BrokenResourceError, OSError) as exc:
        await trio.aclose_forcefully(stream)
        raise UnavailableError(
            "coordinator_unreachable", f"the connection to {address.authority} broke"
        ) from exc
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return PrefixedStream(first, stream) if first else stream


async def _read_acceptance(stream: trio.abc.ReceiveStream) -> bytes:
    """What was read past the 101. Raises as `upgrade_raw`."""
    buffer = bytearray()
    head, body = await read_response(stream, buffer)
    if not head.accepts():
        raise decode_refusal(head.status, bytes(body.content))
    return bytes(buffer)


async def open_carried(
    address: Address,
    path: str,
    *,
    headers: Mapping[str, str],
    nursery: trio.Nursery,
    ssl_context: ssl.SSLContext | None = None,
) -> CarriedStream:
    """As `open_upgraded`, in WebSocket messages only.

    Raises UnavailableError("upgrade_refused") or the error the coordinator answered with.
    """
    # A slow import that few need.
    from kled_wire.transport.websocket import open_websocket  # noqa: PLC0415
    from kled_wire.transport.wscarrier import CarriedStream  # noqa: PLC0415

    transport = await open_connection(address, ssl_context=ssl_context)
    connection = await open_websocket(
        nursery,
        transport,
        address,
        f"{address.base}{path}",
        headers=headers,
        max_message_size=limits.CONTROL_MESSAGE_MAX_BYTES,
    )
    return CarriedStream(connection, transport)
