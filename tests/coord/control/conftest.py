from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
import trio.testing

from kled_coord.control.link import ControlPlane
from kled_coord.control.registry import AgentRegistry
from kled_coord.front.admission import Admission
from kled_coord.front.head import Plane
from kled_coord.front.listener import open_listeners, serve_connections
from kled_coord.metrics import Metrics
from kled_wire.control.link import LINK_TIMES, LinkTimes
from tests.coord.conftest import Clock
from tests.coord.control.plant import (
    FakeAgents,
    FakeEndings,
    FakeIdentity,
    FakeKeys,
    FakeScripts,
    Plant,
)


@pytest.fixture
def times() -> LinkTimes:
    """What a test replaces by a parameter of that name."""
    return LINK_TIMES


@pytest.fixture
async def plant(clock: Clock, times: LinkTimes) -> AsyncIterator[Plant]:
    registry = AgentRegistry(Metrics())
    identity, agents, keys = FakeIdentity(clock), FakeAgents(), FakeKeys()
    endings = FakeEndings()
    failed: list[tuple[str, str, str]] = []
    plane = ControlPlane(
        identity=identity,  # type: ignore[arg-type]  # a fake
        agents=agents,  # type: ignore[arg-type]  # a fake
        keys=keys,  # type: ignore[arg-type]  # a fake
        registry=registry,
        endings=endings,  # type: ignore[arg-type]  # a fake
        scripts=FakeScripts(),  # type: ignore[arg-type]  # a fake
        clock=clock,
        on_dial_failed=lambda *args: failed.append(args),
        times=times,
    )
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
        planes = dict.fromkeys(Plane, plane.serve)
        serve = partial(serve_connections, admission=Admission())
        accepting.start_soon(serve, listeners, planes, connections)
        yield Plant(port, registry, identity, agents, keys, endings, clock, failed)
        accepting.cancel_scope.cancel()
        connections.cancel_scope.cancel()
