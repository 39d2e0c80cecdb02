"""The two sides of the pump beside ssh: ssh's end, and an agent under Trio in a thread."""

from __future__ import annotations

import os
import socket
import threading

import trio

from kled_client.stream.resume import Pump, Transport
from kled_wire.errors import KledError, ProtocolError
from kled_wire.resume.direct.offer import Candidate, Offer, encode_offer
from kled_wire.resume.direct.paths import Paths
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New
from kled_wire.resume.handshake import admit, read_hello, refuse
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream

PLACE = "test"


class Agent:
    """Serves transports on a loopback port and gives back what it gets, from a thread."""

    def __init__(self) -> None:
        self.port = 0
        self.direct_port = 0
        self.moves = 0
        self.resumes = 0
        self.dials = 0
        self.forgets = False
        # So many transports end before anything is read.
        self.deaf = 0
        self.received = 0
        self._up = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._live: list[trio.SocketStream] = []
        self._stream = ResumableStream(StreamState())
        self._new: New | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        self._up.wait(10)

    def dial(self) -> Transport:
        """What `kled stream` dials."""
        self.dials += 1
        return Transport(socket.create_connection(("127.0.0.1", self.port), timeout=5), b"")

    def cut(self) -> None:
        """Break the present transport."""
        assert self._token is not None
        trio.from_thread.run(self._cut, trio_token=self._token)

    def offer(self, *ports: int) -> None:
        """Tell the client where there are direct paths."""
        assert self._token is not None
        trio.from_thread.run_sync(self._offer, ports, trio_token=self._token)

    def _offer(self, ports: tuple[int, ...]) -> None:
        candidates = tuple(Candidate("127.0.0.1", port) for port in ports)
        self._stream.state.offer(encode_offer(Offer(candidates, PLACE, "none")))
        self._stream.flush_nowait()

    def stop(self) -> None:
        """End the thread."""
        assert self._token is not None
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(10)

    async def _cut(self) -> None:
        # What comes meanwhile is the next one, and stays.
        cut, self._live = self._live, []
        for stream in cut:
            await trio.aclose_forcefully(stream)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.port = listeners[0].socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, self._serve, listeners)
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.direct_port = listeners[0].socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, self._serve_direct, listeners)
                nursery.start_soon(self._echo)
                self._up.set()

    async def _echo(self) -> None:
        async for data in self._stream:
            self.received += len(data)
            await self._stream.send_all(data)
        await self._stream.send_eof()

    async def _serve_direct(self, transport: trio.SocketStream) -> None:
        await self._serve(transport, direct=True)

    async def _serve(self, transport: trio.SocketStream, *, direct: bool = False) -> None:
        if self.deaf:
            self.deaf -= 1
            await trio.aclose_forcefully(transport)
            return
        self._live.append(transport)
        try:
            hello, carried = await read_hello(transport)
            if isinstance(hello, New):
                self._new = hello
                await self._stream.run_transport(carried, 0)
            elif self.forgets or self._new is None:
                await refuse(transport, "unknown_stream", "the agent was restarted")
            else:
                carried = await admit(
                    carried,
                    hello,
                    secret=self._new.secret,
                    position=self._stream.state.inbox.position,
                    random_bytes=os.urandom,
                )
                self.moves += direct
                self.resumes += 1
                await self._stream.run_transport(carried, hello.received, direct=direct)
        except (TransportLost, ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            return


class Ssh:
    """ssh's end of the socket pair, and the pump on the other, in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        self.error: KledError | None = None
        # A die that always says: at once.
        self.paths = Paths(lambda: PLACE, lambda: -1.0)
        self._theirs = theirs
        self._thread = threading.Thread(target=self._run, args=(agent,))
        self._thread.start()

    def _run(self, agent: Agent) -> None:
        with self._theirs:
            try:
                Pump(self._theirs, agent.dial, self.paths).run(agent.dial())
            except KledError as error:
                self.error = error

    def close(self) -> None:
        """ssh ends; so must the pump."""
        self.sock.close()
        self._thread.join(15)
        assert not self._thread.is_alive()


def exchange_under_cuts(agent: Agent, ssh: Ssh, data: bytes) -> tuple[bytes, int]:
    """Send all of `data` and cut the transport at each twelfth that has come back.

    Returns what came back, and how many cuts there were.
    """

    def send() -> None:
        ssh.sock.sendall(data)
        ssh.sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got, cuts = bytearray(), 0
    while chunk := ssh.sock.recv(1 << 18):
        got += chunk
        if len(got) > len(data) * (cuts + 1) // 12:
            agent.cut()
            cuts += 1
    sender.join()
    return bytes(got), cuts
