from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from kled_agent.control.link import LinkSettings, serve_link
from kled_agent.identity import Identity
from kled_wire.backoff import Backoff, Pace, Redials
from kled_wire.control.link import LinkTimes
from kled_wire.eventlog import EventLog
from tests.agent.conftest import Records
from tests.agent.control.coordinator import (
    Answer,
    make_scripts,
    serving,
)
from tests.agent.control.linked import CAP_S, REFUSED_S, Agent, Running


@pytest.fixture
def running(records: Records, log: EventLog) -> Running:
    """A link whose minutes are fractions of a second."""
    backoff, pace = Backoff(first_s=0.001, cap_s=0.01), Pace(burst=100, every_s=0.01)

    @asynccontextmanager
    async def run(*answers: Answer) -> AsyncIterator[Agent]:
        async with serving(*answers) as coordinator, trio.open_nursery() as nursery:
            agent = Agent(coordinator, records)
            identity = Identity(
                coordinator_url=coordinator.url,
                token="kled_agent_x",
                host_key="",
                host_public_key="",
            )
            settings = LinkSettings(
                identity=identity,
                on_dial=lambda dial, _link: agent.dials.append(dial),
                on_welcome=agent.welcomes.append,
                count_streams=lambda: 3,
                keys=agent.keys,
                key_uses=agent.key_uses,
                grants=agent.grants,
                scripts=make_scripts(log),
                on_spec=lambda _: None,
                log=log,
                times=LinkTimes(reply_s=0.2, goodbye_s=0.1),
                refused_s=REFUSED_S,
                replaced_s=CAP_S,
            )
            redials = Redials(backoff, pace, random.random, spread_s=0.001)
            nursery.start_soon(partial(serve_link, settings, redials=redials))
            yield agent
            nursery.cancel_scope.cancel()

    return run
