"""A client's stream that is kept attached to an agent's, over transports that a test cuts."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
import trio.testing

from kled_wire.resume.direct.paths import Paths
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New
from kled_wire.resume.handshake import admit, read_hello, refuse
from kled_wire.resume.redial import keep_attached
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream

Transport = trio.abc.HalfCloseableStream


class Network:
    """Makes transports between a client and an agent; `cut` breaks the present one."""

    def __init__(self, nursery: trio.Nursery, *, sockets: bool) -> None:
        self._nursery = nursery
        self._sockets = sockets
        self._live: list[Transport] = []
        self.agent = ResumableStream(StreamState())
        self.new: New | None = None
        self.dials = 0
        self.seeker = DirectSeeker(Paths(str, random.random), os.urandom)
        self.forgets = False

    async def dial(self) -> Transport:
        """A transport whose other end the agent serves."""
        self.dials += 1
        near, far = await self._pair()
        self._live = [near, far]
        self._nursery.start_soon(self._serve, far)
        return near

    async def cut(self) -> None:
        """Break it in both directions, losing what is on its way."""
        for end in self._live:
            await trio.aclose_forcefully(end)

    async def _pair(self) -> tuple[Transport, Transport]:
        if not self._sockets:
            return trio.testing.lockstep_stream_pair()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listeners[0] as listener:
            near = await trio.testing.open_stream_to_socket_listener(listener)
            return near, await listener.accept()

    async def _serve(self, transport: Transport) -> None:
        try:
            hello, transport = await read_hello(transport)
            position = 0
            if isinstance(hello, New) and self.new is None:
                self.new = hello
            elif isinstance(hello, New) or self.forgets:
                await refuse(transport, "unknown_stream", "the agent was restarted")
                return
            else:
                assert self.new is not None
                transport = await admit(
                    transport,
                    hello,
                    secret=self.new.secret,
                    position=self.agent.state.inbox.position,
                    random_bytes=os.urandom,
                )
                position = hello.received
            await self.agent.run_transport(transport, position)
        except (TransportLost, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(transport)


@asynccontextmanager
async def linked(*, sockets: bool = True) -> AsyncIterator[tuple[ResumableStream, Network]]:
    """A client's stream kept attached to an agent's."""
    async with trio.open_nursery() as nursery:
        network, client = Network(nursery, sockets=sockets), ResumableStream(StreamState())
        nursery.start_soon(
            partial(
                keep_attached,
                client,
                New.draw(os.urandom),
                network.dial,
                random_bytes=os.urandom,
                direct=network.seeker,
            )
        )
        yield client, network
        nursery.cancel_scope.cancel()
