"""What is done to the programs and to the network; each is undone at its block's end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import psutil

from tests.e2e.chaos.plan import Trouble
from tests.e2e.chaos.world import DELAY_MS, World

if TYPE_CHECKING:
    from tests.e2e.chaos.load import Load
    from tests.kit.network import Namespace

_COORDINATOR = "203.0.113.1"
# So often all of several processes have the trouble, otherwise one of them.
_ALL = 0.5


class Troublemaker:
    """Does to a world what a plan says."""

    def __init__(self, world: World, loads: Sequence[Load]) -> None:
        self._world = world
        self._topology = world.topology
        self._loads = loads

    @contextlib.contextmanager
    def inflict(self, trouble: Trouble) -> Iterator[None]:
        """The trouble lasts as long as the block; what ends at once is done when it begins."""
        with getattr(self, f"_{trouble.kind.replace('-', '_')}")(trouble.pick):
            yield

    # --- connections

    @contextlib.contextmanager
    def _cut_client(self, pick: float) -> Iterator[None]:
        _cut(self._topology.client)
        yield

    @contextlib.contextmanager
    def _cut_agent(self, pick: float) -> Iterator[None]:
        """All of its streams, and its control link too."""
        _cut(self._topology.host)
        yield

    # --- processes

    @contextlib.contextmanager
    def _kill_relay(self, pick: float) -> Iterator[None]:
        _kill(self._topology.relays())
        yield

    @contextlib.contextmanager
    def _freeze_relay(self, pick: float) -> Iterator[None]:
        with _frozen([process.pid for process in self._topology.relays()]):
            yield

    @contextlib.contextmanager
    def _kill_offload(self, pick: float) -> Iterator[None]:
        """One, or all of them."""
        running = self._topology.offloads()
        if pick >= _ALL:
            running = running[int((pick - _ALL) / (1 - _ALL) * len(running)) :][:1]
        _kill(running)
        yield

    @contextlib.contextmanager
    def _freeze_offload(self, pick: float) -> Iterator[None]:
        with _frozen([process.pid for process in self._topology.offloads()]):
            yield

    @contextlib.contextmanager
    def _freeze_coordinator(self, pick: float) -> Iterator[None]:
        assert self._topology.site.coordinator is not None
        with _frozen([self._topology.site.coordinator.pid]):
            yield

    @contextlib.contextmanager
    def _kill_coordinator(self, pick: float) -> Iterator[None]:
        """With all of its other processes, as when the machine loses its power."""
        others = [*self._topology.relays(), *self._topology.offloads()]
        with self._stopped(signal.SIGKILL):
            _kill(others)
            yield

    @contextlib.contextmanager
    def _restart_coordinator(self, pick: float) -> Iterator[None]:
        with self._stopped(signal.SIGTERM):
            yield

    @contextlib.contextmanager
    def _stopped(self, how: signal.Signals) -> Iterator[None]:
        with self._topology.coordinator.entered():
            self._topology.site.stop_serving(how)
            try:
                yield
            finally:
                self._topology.site.serve()

    @contextlib.contextmanager
    def _freeze_agent(self, pick: float) -> Iterator[None]:
        with _frozen([self._world.agent.process.pid]):
            yield

    @contextlib.contextmanager
    def _restart_agent(self, pick: float) -> Iterator[None]:
        with self._world.restarts.happening():
            self._world.agent.kill()
            try:
                yield
            finally:
                self._world.agent.start()

    @contextlib.contextmanager
    def _freeze_client(self, pick: float) -> Iterator[None]:
        """One of the programs of the person's."""
        load = self._loads[int(pick * len(self._loads))]
        with _frozen(load.groups(), groups=True):
            yield

    @contextlib.contextmanager
    def _asleep(self, pick: float) -> Iterator[None]:
        """The lid is closed: all of them."""
        with _frozen([group for load in self._loads for group in load.groups()], groups=True):
            yield

    # --- the network

    @contextlib.contextmanager
    def _loss(self, pick: float) -> Iterator[None]:
        with self._link(loss=0.01 + 0.09 * pick):
            yield

    @contextlib.contextmanager
    def _slow(self, pick: float) -> Iterator[None]:
        with self._link(delay_ms=20 + 130 * pick, jitter_ms=20 * pick):
            yield

    @contextlib.contextmanager
    def _link_down(self, pick: float) -> Iterator[None]:
        with self._link(down=True):
            yield

    @contextlib.contextmanager
    def _link(self, **conditions: float) -> Iterator[None]:
        self._world.link.set(**conditions)
        try:
            yield
        finally:
            self._world.link.set(delay_ms=DELAY_MS, jitter_ms=0, loss=0, down=False)

    @contextlib.contextmanager
    def _agent_away(self, pick: float) -> Iterator[None]:
        """Its home is off the net; nobody is told."""
        router = self._topology.host_router
        router.nft("""
            table inet away {
                chain forward { type filter hook forward priority -10; policy drop; }
            }
        """)
        try:
            yield
        finally:
            router.nft("delete table inet away\n")

    @contextlib.contextmanager
    def _address(self, pick: float) -> Iterator[None]:
        """The client is in another network, and then back."""
        topology = self._topology
        address = f"203.0.113.{next(self._world.addresses)}/24"
        interface = topology.network.plug(topology.internet, topology.client, address)
        try:
            yield
        finally:
            topology.client.ip("link", "del", interface)

    @contextlib.contextmanager
    def _direct(self, pick: float) -> Iterator[None]:
        """Client and agent are on one network for a while."""
        with self._topology.joined(("10.9.0.1/24",), ("10.9.0.2/24",)):
            yield


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _cut(namespace: Namespace) -> None:
    with namespace.entered():
        # Reset, on both sides of it (tcp_abort in the kernel).
        subprocess.run(["ss", "-t", "-K", "dst", _COORDINATOR], check=True, capture_output=True)


@contextlib.contextmanager
def _frozen(pids: list[int], *, groups: bool = False) -> Iterator[None]:
    """Stopped, as by Ctrl-Z."""
    send = os.killpg if groups else os.kill

    def tell(number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                send(pid, number)

    tell(signal.SIGSTOP)
    try:
        yield
    finally:
        tell(signal.SIGCONT)
