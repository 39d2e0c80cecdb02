"""When the agent dials its control link again, under a virtual clock."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import memory_stream_pair

from kled_agent.control.grants import Grants
from kled_agent.control.key_uses import KeyUses
from kled_agent.control.link import LinkSettings, serve_link
from kled_agent.identity import Identity
from kled_agent.ssh.keys import AcceptedKeys
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import ControlLink
from kled_wire.eventlog import EventLog
from kled_wire.transport.address import Address
from tests.agent.control.coordinator import Coordinator, Peer, converse, make_scripts


@dataclass
class Flapping:
    """A coordinator, in memory and under a virtual clock, whose every link has an end."""

    welcomes: bool
    lives_s: float
    log: EventLog
    dialled_at: list[float] = field(default_factory=list)
    lost_at: list[float] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Have an agent dial for so long."""
        async with trio.open_nursery() as nursery:

            async def connect(
                address: Address, *, ssl_context: ssl.SSLContext | None
            ) -> trio.abc.HalfCloseableStream:
                self.dialled_at.append(trio.current_time())
                near, far = memory_stream_pair()
                nursery.start_soon(Coordinator([converse(self._converse)]).handle, far)
                return near

            settings = LinkSettings(
                identity=Identity(
                    coordinator_url="http://c", token="t", host_key="", host_public_key=""
                ),
                on_dial=_nothing, on_welcome=lambda _: None, count_streams=lambda: 0,
                keys=AcceptedKeys(), key_uses=KeyUses(self.log),
                grants=Grants(), log=self.log, scripts=make_scripts(self.log),
                on_spec=lambda _: None, connect=connect,
            )  # fmt: skip
            with trio.move_on_after(seconds):
                await serve_link(settings)
            nursery.cancel_scope.cancel()

    async def _converse(self, peer: Peer) -> None:
        if self.welcomes:
            await peer.greet()
        with trio.move_on_after(self.lives_s):
            await peer.answer_pings()
        self.lost_at.append(trio.current_time())

    @property
    def waits(self) -> list[float]:
        """From each loss to the dial after it."""
        pairs = zip(self.lost_at, self.dialled_at[1:], strict=False)
        return [dialled - lost for lost, dialled in pairs]


@pytest.mark.parametrize("lives_s", [limits.REDIAL_EVERY_S, 60.0])
async def test_a_link_that_was_welcomed_is_back_at_once_however_often_it_ends(
    lives_s: float, log: EventLog, autojump_clock: trio.testing.MockClock
) -> None:
    coordinator = Flapping(welcomes=True, lives_s=lives_s, log=log)
    await coordinator.run(50 * lives_s)
    assert len(coordinator.waits) > 30
    assert max(coordinator.waits) <= limits.REDIAL_SPREAD_S


async def test_links_that_end_within_seconds_are_back_at_once_several_times(
    log: EventLog, autojump_clock: trio.testing.MockClock
) -> None:
    """As when an offload process dies again and again."""
    coordinator = Flapping(welcomes=True, lives_s=2.0, log=log)
    await coordinator.run(600.0)
    # The first dial of all is one of the burst.
    assert max(coordinator.waits[: limits.REDIAL_BURST - 1]) <= limits.REDIAL_SPREAD_S
    # And never after so long a time as where nobody says welcome.
    assert max(coordinator.waits) < 2 * (limits.REDIAL_EVERY_S - 2.0) + 0.1
    assert sum(coordinator.waits) / len(coordinator.waits) < limits.REDIAL_EVERY_S - 1.0


@pytest.mark.parametrize("lives_s", [0.0, 0.1, 2.0, 5.0])
async def test_a_coordinator_that_welcomes_and_crashes_is_dialled_so_often_in_a_minute(
    lives_s: float, log: EventLog, autojump_clock: trio.testing.MockClock
) -> None:
    coordinator = Flapping(welcomes=True, lives_s=lives_s, log=log)
    await coordinator.run(1200.0)
    at = coordinator.dialled_at
    assert len(at) > 100
    for first, began in enumerate(at):
        assert sum(1 for other in at[first:] if other - began <= 60.0) <= 12


async def test_a_coordinator_that_never_says_welcome_is_dialled_ever_more_slowly(
    log: EventLog, autojump_clock: trio.testing.MockClock
) -> None:
    coordinator = Flapping(welcomes=False, lives_s=0.0, log=log)
    await coordinator.run(3600.0)
    late = coordinator.waits[10:]
    assert max(late) > limits.REDIAL_SPREAD_S
    assert math.isclose(sum(late) / len(late), limits.REDIAL_CAP_S / 2, rel_tol=0.35)


def _nothing(_dial: messages.Dial, _link: ControlLink) -> None:
    return
