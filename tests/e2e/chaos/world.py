"""Where it happens: a topology (tests/kit/nat_topology.py) whose client goes out over a slow link.

            10.3.0.0/24, tests/kit/slowlink.py
client .2 ═══════════════ .1 router ── internet ── coordinator
                                           └────── router ── agent
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from tests.e2e.chaos.restarts import Restarts
from tests.kit.nat_topology import Host, NatTopology, open_nat_topology
from tests.kit.network import route
from tests.kit.slowlink import SlowLink, slow_link

# Few packets, so that the carrier's Python is not what limits it all.
_MTU = 60000
DELAY_MS = 2.0


@dataclass(kw_only=True)
class World:
    """Made by `open_world`."""

    topology: NatTopology
    link: SlowLink
    agent: Host
    # The last part of addresses that the client has not had yet: neighbours remember them.
    addresses: Iterator[int]
    restarts: Restarts


@contextlib.contextmanager
def open_world(*, tls: bool = False) -> Iterator[World]:
    """The workspace `dev` with its agent, which takes direct paths from private networks."""
    with (
        open_nat_topology(tls=tls) as topology,
        slow_link(
            topology.client,
            topology.client_router,
            ("10.3.0.2/24",),
            ("10.3.0.1/24",),
            mtu=_MTU,
            delay_ms=DELAY_MS,
        ) as link,
        topology.agent("private") as agent,
    ):
        route(topology.client, "10.3.0.1")
        try:
            yield World(
                topology=topology, link=link, agent=agent, addresses=count(20), restarts=Restarts()
            )
        finally:
            # The link goes before the topology does, which has clean-up to do over it.
            route(topology.client, "10.1.0.1")
