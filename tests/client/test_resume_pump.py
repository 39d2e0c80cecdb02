"""The loop beside ssh, against an agent's end under Trio in another thread, over cut sockets."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest
import trio

from kled_client.resume_pump import Pump, Transport
from kled_wire.errors import KledError, UnavailableError
from kled_wire.resume.frames import New
from kled_wire.resume.handshake import admit, read_hello, refuse
from kled_wire.resume.machine import Machine
from kled_wire.resume.stream import ResumableStream, TransportLost


class Agent:
    """Serves transports on a loopback port and gives back what it gets, from a thread."""

    def __init__(self) -> None:
        self.port = 0
        self.forgets = False
        self.received = 0
        self._up = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope = trio.CancelScope()
        self._live: list[trio.SocketStream] = []
        self._stream = ResumableStream(Machine())
        self._new: New | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        self._up.wait(10)

    def dial(self) -> Transport:
        """What `kled stream` dials."""
        return Transport(socket.create_connection(("127.0.0.1", self.port), timeout=5), b"")

    def cut(self) -> None:
        """Break the present transport."""
        assert self._token is not None
        trio.from_thread.run(self._cut, trio_token=self._token)

    def stop(self) -> None:
        """End the thread."""
        assert self._token is not None
        trio.from_thread.run_sync(self._scope.cancel, trio_token=self._token)
        self._thread.join(10)

    async def _cut(self) -> None:
        for stream in self._live:
            await trio.aclose_forcefully(stream)
        self._live.clear()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
                self.port = listeners[0].socket.getsockname()[1]
                nursery.start_soon(trio.serve_listeners, self._serve, listeners)
                nursery.start_soon(self._echo)
                self._up.set()

    async def _echo(self) -> None:
        async for data in self._stream:
            self.received += len(data)
            await self._stream.send_all(data)
        await self._stream.send_eof()

    async def _serve(self, transport: trio.SocketStream) -> None:
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
                    position=self._stream.machine.inbox.position,
                    random_bytes=os.urandom,
                )
                await self._stream.run_transport(carried, hello.received)
        except (TransportLost, trio.BrokenResourceError, trio.ClosedResourceError):
            return


@pytest.fixture
def agent() -> Iterator[Agent]:
    found = Agent()
    yield found
    found.stop()


class Ssh:
    """ssh's end of the socket pair, and the pump on the other, in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        self.error: KledError | None = None
        self._theirs = theirs
        self._thread = threading.Thread(target=self._run, args=(agent,))
        self._thread.start()

    def _run(self, agent: Agent) -> None:
        with self._theirs:
            try:
                Pump(self._theirs, agent.dial).run(agent.dial())
            except KledError as error:
                self.error = error

    def close(self) -> None:
        """ssh ends; so must the pump."""
        self.sock.close()
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture
def ssh(agent: Agent) -> Iterator[Ssh]:
    made = Ssh(agent)
    yield made
    made.close()


def test_bytes_survive_cuts(agent: Agent, ssh: Ssh) -> None:
    data = random.Random(3).randbytes(12_000_000)

    def send() -> None:
        ssh.sock.sendall(data)
        ssh.sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    digest, got, cuts = hashlib.sha256(), 0, 0
    while chunk := ssh.sock.recv(1 << 18):
        digest.update(chunk)
        got += len(chunk)
        if got > len(data) * (cuts + 1) // 12:
            agent.cut()
            cuts += 1
    sender.join()
    assert got == len(data)
    assert cuts >= 10
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_keystroke_goes_there_and_back(agent: Agent, ssh: Ssh) -> None:
    for key in b"hello":
        ssh.sock.sendall(bytes([key]))
        assert ssh.sock.recv(10) == bytes([key])


def test_a_stream_that_the_agent_forgot_ends_with_its_words(agent: Agent, ssh: Ssh) -> None:
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    agent.forgets = True
    agent.cut()
    assert ssh.sock.recv(1) == b""
    ssh.close()
    assert isinstance(ssh.error, UnavailableError)
    assert ssh.error.code == "unknown_stream"


def test_an_ssh_that_goes_away_while_there_is_no_transport_ends_the_pump(
    agent: Agent, ssh: Ssh
) -> None:
    ssh.sock.sendall(b"x")
    assert ssh.sock.recv(1) == b"x"
    agent.dial = _no_way  # type: ignore[method-assign]
    agent.cut()
    ssh.close()


def _no_way() -> Transport:
    raise UnavailableError("coordinator_unreachable", "no way")
