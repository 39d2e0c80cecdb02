"""The SSH subsystem `kled-udp`: datagrams to one address, with a socket for each sender.

The frames are those of kled_wire/ssh/datagrams.py. As with UDP itself, what there is no room for is
dropped; a flow that says nothing for a while, or that there are too many of, loses its socket.
"""

from __future__ import annotations

import socket
from typing import Final

import asyncssh
import trio

from kled_agent.ssh.subsystems.channel import SubsystemSession
from kled_wire.errors import InputError, KledError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.limits import REPLY_TIMEOUT_S
from kled_wire.ssh.datagrams import DATAGRAM_MAX_BYTES, DatagramReader, encode_datagram
from kled_wire.ssh.subsystems import REQUEST_BYTES, LineReader, decode_udp_request

FLOWS_MAX: Final = 256
IDLE_S: Final = 180.0


class UdpSession(SubsystemSession):
    """One channel of the subsystem."""

    crashed = "udp_failed"

    def __init__(self, nursery: trio.Nursery, log: EventLog) -> None:
        super().__init__(nursery, log)
        self._lines = LineReader(REQUEST_BYTES)
        self._request = b""
        self._frames = DatagramReader()
        # Datagrams that have arrived and are not sent on yet; more are dropped.
        self._send, self._receive = trio.open_memory_channel[tuple[int, bytes]](FLOWS_MAX)
        self._asked = trio.Event()
        self._over = trio.CancelScope()
        self._flows: dict[int, trio.socket.SocketType] = {}

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if not self._asked.is_set():
            self._lines.feed(data)
            line = self._lines.next_line()
            if line is None and not self._lines.overlong:
                return
            self._request, data = line or b"", self._lines.rest
            self._asked.set()
        for datagram in self._frames.feed(data):
            try:
                self._send.send_nowait(datagram)
            except (trio.WouldBlock, trio.BrokenResourceError):
                return

    def ended(self) -> None:
        self._over.cancel()

    async def serve(self) -> None:
        try:
            with self._over:
                await self._serve()
        except KledError as exc:
            if self._channel is not None:
                self._channel.write_stderr(f"{exc.line()}\n".encode())
                self._channel.exit(exc.exit_code)
        finally:
            for flow in self._flows.values():
                flow.close()

    async def _serve(self) -> None:
        with trio.move_on_after(REPLY_TIMEOUT_S) as slow:
            await self._asked.wait()
        if slow.cancelled_caught:
            raise InputError("udp_request_invalid", "no request was received")
        family, address = await _resolve(self._request)
        async with trio.open_nursery() as nursery:
            async for flow, data in self._receive:
                link = self._flows.pop(flow, None)
                if link is None:
                    link = await self._open(family, address)
                    if link is None:
                        continue
                    nursery.start_soon(self._answer, flow, link)
                self._flows[flow] = link  # the last is the latest
                try:
                    await link.send(data)
                except OSError:
                    continue  # refused by the peer before, or too long for the way: lost, as usual

    async def _open(self, family: int, address: tuple[str, int]) -> trio.socket.SocketType | None:
        while len(self._flows) >= FLOWS_MAX:
            self._flows.pop(next(iter(self._flows))).close()
        link = trio.socket.socket(family, socket.SOCK_DGRAM)
        try:
            await link.connect(address)
        except OSError:
            link.close()
            return None
        return link

    async def _answer(self, flow: int, link: trio.socket.SocketType) -> None:
        while True:
            try:
                with trio.fail_after(IDLE_S):
                    data = await link.recv(DATAGRAM_MAX_BYTES)
            except ConnectionRefusedError:
                continue  # nobody listens yet
            except (OSError, trio.ClosedResourceError, trio.TooSlowError):
                break
            if self._channel is not None and self._room.is_set():
                self._channel.write(encode_datagram(flow, data))
        if self._flows.get(flow) is link:
            del self._flows[flow]
        link.close()


async def _resolve(request: bytes) -> tuple[int, tuple[str, int]]:
    """Family and address of what the client asks for. Raises KledError."""
    host, port = decode_udp_request(request)
    try:
        with trio.fail_after(REPLY_TIMEOUT_S):
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError, OverflowError, trio.TooSlowError) as exc:
        raise UnavailableError("forward_refused", f"{host} cannot be resolved") from exc
    # Most programs that listen on "localhost" do so on IPv4.
    family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))
