"""UDP forwards: datagrams in an SSH channel of the subsystem `kled-udp`.

The local socket stays; each connection to the workspace has a channel of its own. Between two of
them, and where there is no room, datagrams are lost, as UDP may lose any.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from kled_client.forward.link import WorkspaceConnection
from kled_client.forward.serve import ForwardStatus, cannot_listen
from kled_client.forward.spec import Forward, TcpEnd
from kled_wire.errors import InputError
from kled_wire.ssh.datagrams import DATAGRAM_MAX_BYTES, DatagramReader, encode_datagram
from kled_wire.ssh.subsystems import UDP, encode_udp_request

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

# The agent keeps sockets for as many senders; the one that was silent longest is forgotten.
SENDERS_MAX: Final = 256
Address = tuple[object, ...]


class Senders:
    """Who sends to us, and the number of each: two numbers for one are fine, one for two not."""

    def __init__(self) -> None:
        self._numbers: dict[Address, int] = {}
        self._addresses: dict[int, Address] = {}
        self._last = 0

    def __len__(self) -> int:
        """How many are known."""
        return len(self._numbers)

    def number(self, address: Address) -> int:
        """The number of who sent just now."""
        number = self._numbers.pop(address, None)
        if number is None:
            while len(self._numbers) >= SENDERS_MAX:
                oldest = next(iter(self._numbers))
                del self._addresses[self._numbers.pop(oldest)]
            self._last = number = self._last + 1
            self._addresses[number] = address
        self._numbers[address] = number
        return number

    def address(self, number: int) -> Address | None:
        """Where an answer goes; None if that sender is forgotten."""
        return self._addresses.get(number)


@asynccontextmanager
async def listening_udp(
    forward: Forward,
) -> AsyncIterator[tuple[trio.socket.SocketType, ForwardStatus]]:
    """Open the local end. Raises ConflictError("port_in_use"), InputError("cannot_listen")."""
    end = forward.listen
    if not isinstance(end, TcpEnd) or not isinstance(forward.target, TcpEnd):
        raise InputError(
            "forward_invalid", f"{forward} is not a UDP forward", hint="use ports, not paths"
        )
    try:
        family, kind, protocol, _, address = (
            await trio.socket.getaddrinfo(end.host, end.port, type=trio.socket.SOCK_DGRAM)
        )[0]
        here = trio.socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as exc:
        raise cannot_listen(forward, exc) from exc
    with here:
        try:
            await here.bind(address)
        except OSError as exc:
            raise cannot_listen(forward, exc) from exc
        actual = TcpEnd(host=end.host, port=here.getsockname()[1])
        yield here, ForwardStatus(forward=forward, listen=actual)


async def serve_udp(
    connection: WorkspaceConnection, here: trio.socket.SocketType, status: ForwardStatus
) -> None:
    """Carry datagrams over `connection` until it is lost or the agent says no."""
    target = status.forward.target
    assert isinstance(target, TcpEnd)
    channel = await connection.subsystem(UDP)
    await channel.send(encode_udp_request(target.host, target.port))
    senders = Senders()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, channel, here, senders, status)
            await _receive(channel, here, senders, status)
            nursery.cancel_scope.cancel()
    finally:
        status.open = 0
        channel.close()


async def _send(
    channel: Channel, here: trio.socket.SocketType, senders: Senders, status: ForwardStatus
) -> None:
    while True:
        try:
            data, address = await here.recvfrom(DATAGRAM_MAX_BYTES)
        except OSError as exc:
            if exc.errno == errno.EBADF:
                return
            continue  # an earlier answer was refused
        number = senders.number(address)
        status.open = len(senders)
        await channel.send(encode_datagram(number, data))
        status.count_sent(len(data))
        status.total += 1


async def _receive(
    channel: Channel, here: trio.socket.SocketType, senders: Senders, status: ForwardStatus
) -> None:
    frames = DatagramReader()
    while (received := await channel.receive()) is not None:
        data, is_stderr = received
        if is_stderr:
            status.failed(data.decode("utf-8", "replace").strip())
            continue
        for number, datagram in frames.feed(data):
            address = senders.address(number)
            if address is None:
                continue
            try:
                await here.sendto(datagram, address)
            except OSError as exc:
                status.failed(str(exc))
            else:
                status.count_received(len(datagram))
