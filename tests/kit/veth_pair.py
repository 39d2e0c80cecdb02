"""Two machines with a veth pair between them, and a TCP connection over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from tests.kit.network import Link, Namespace, open_network


@dataclass(frozen=True)
class VethPair:
    """`near` is the connection's end at `here`; nobody has accepted it at `there`."""

    here: Namespace
    there: Namespace
    ends: Link
    near: trio.SocketStream


@asynccontextmanager
async def open_veth_pair() -> AsyncIterator[VethPair]:
    """10.0.0.1 and 10.0.0.2, gone at the end. Needs what `tests.kit.network.why_not` says."""
    with open_network() as network:
        here, there = network.add("here"), network.add("there")
        ends = network.link(here, there, ("10.0.0.1/24",), ("10.0.0.2/24",))
        with there.entered():
            (listener,) = await trio.open_tcp_listeners(0, host="10.0.0.2")
        with here.entered():
            near = await trio.testing.open_stream_to_socket_listener(listener)
        async with listener, near:
            yield VethPair(here, there, ends, near)
