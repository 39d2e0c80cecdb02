"""Look for a direct path while the relay carries, and take a stream over to it. Under Trio.

`paths.py` decides when what is tried. The first address whose other end proves to be the agent gets
the stream: without a pause, because the relay carries until then, and without a loss, because the
greeting says from where to go on. When the path ends, `redial.py` is on the relay again at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, NamedTuple, Never

import trio

from kled_wire.errors import KledError
from kled_wire.resume.direct.offer import Candidate
from kled_wire.resume.direct.paths import ATTEMPT_S, STAGGER_S, TURN_S, PathReport, Paths, describe
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New
from kled_wire.resume.handshake import RandomBytes, ask
from kled_wire.resume.netwatch import NetworkWatch
from kled_wire.resume.proof import ProvenAgent
from kled_wire.resume.stream import ResumableStream
from kled_wire.transport.dial import tune
from kled_wire.transport.network import round_trip_s

_FAILURES: Final = (
    OSError,
    KledError,
    TransportLost,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)


class _Found(NamedTuple):
    """A transport whose other end is the agent."""

    candidate: Candidate
    transport: trio.abc.HalfCloseableStream
    plain: trio.socket.SocketType
    agent: ProvenAgent
    rtt_s: float


class DirectSeeker:
    """Takes one stream to direct paths. Of use to `keep_attached`, which runs it."""

    def __init__(self, paths: Paths, random_bytes: RandomBytes) -> None:
        self._paths = paths
        self._random_bytes = random_bytes
        self._news = trio.Event()
        self._greeting = False
        self._carrying = False
        self._relay: trio.CancelScope | None = None
        self._current: trio.socket.SocketType | None = None

    def report(self) -> PathReport:
        """The path that is in use, and why not another."""
        report = self._paths.report()
        if self._current is None or report.kind != "direct":
            return report
        # The greeting had to wait for whatever else we did.
        measured = round_trip_s(self._current)
        return report if measured is None else report._replace(rtt_s=measured)

    async def wait_settled(self) -> None:
        """Wait until what was offered has been tried, or there is nothing to try."""
        while not self._paths.settled:
            await self._news.wait()

    # The relay's side: at most one of the two speaks to the agent of a change at a time.

    @property
    def carrying(self) -> bool:
        """Whether a direct path has the stream, or is just about to."""
        return self._carrying

    async def wait_lost(self) -> None:
        """Wait until no direct path has the stream."""
        while self._carrying:
            await self._news.wait()

    @contextmanager
    def unless_taken(self) -> Iterator[None]:
        """A block that is left as soon as a direct path takes the stream."""
        with trio.CancelScope() as scope:
            self._relay = scope
            try:
                yield
            finally:
                self._relay = None

    def relay_greets(self) -> None:
        """A transport of the relay's is about to take the stream; its first offer says it has."""
        self._greeting = True

    def relay_lost(self) -> None:
        """The relay's transport has not taken the stream, or has lost it."""
        self._greeting = False
        self._tell()

    # Our own.

    async def run(self, stream: ResumableStream, new: New, network: NetworkWatch) -> None:
        """Look for paths until cancelled, or until the stream is over."""

        def on_offer(payload: bytes) -> None:
            self._greeting = False
            self._paths.offered(payload, trio.current_time())
            self._tell()

        stream.state.on_offer = on_offer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, network)
            while not stream.state.over:
                await self._wait_due()
                found = await self._race(stream, new)
                self._tell()
                if found is not None:
                    await self._carry(stream, found, network)
            nursery.cancel_scope.cancel()

    def _tell(self) -> None:
        """Wake whoever waits for what may have changed."""
        self._news.set()
        self._news = trio.Event()

    async def _follow(self, network: NetworkWatch) -> Never:
        while True:
            await network.wait_changed()
            self._paths.network_changed(trio.current_time())
            self._tell()

    async def _wait_due(self) -> None:
        while self._paths.try_at > trio.current_time():
            with trio.move_on_at(self._paths.try_at):
                await self._news.wait()

    @asynccontextmanager
    async def _unless_due(self) -> AsyncIterator[None]:
        """A block that is left as soon as there is something new to try."""
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                await self._wait_due()
                nursery.cancel_scope.cancel()

            nursery.start_soon(leave)
            yield
            nursery.cancel_scope.cancel()

    async def _race(self, stream: ResumableStream, new: New) -> _Found | None:
        """Dial all addresses; the first that proves to be the agent's.

        None where there is none, or something new to try.
        """
        candidates = self._paths.begin(trio.current_time())
        failures: dict[Candidate, str] = {}
        winner: _Found | None = None

        async def attempt(delay_s: float, candidate: Candidate) -> None:
            nonlocal winner
            await trio.sleep(delay_s)
            try:
                found = await self._dial(candidate, stream, new)
            except _FAILURES as exc:
                failures[candidate] = describe(exc)
                return
            if winner is None:
                winner = found
                nursery.cancel_scope.cancel()
            else:
                await trio.aclose_forcefully(found.transport)

        with trio.move_on_after(ATTEMPT_S):
            async with self._unless_due(), trio.open_nursery() as nursery:
                for number, candidate in enumerate(candidates):
                    nursery.start_soon(attempt, number * STAGGER_S, candidate)
        if winner is None and self._paths.try_at > trio.current_time():
            self._paths.failed(failures, trio.current_time())
        return winner

    async def _dial(self, candidate: Candidate, stream: ResumableStream, new: New) -> _Found:
        """Connect, and have the other end prove itself. Raises _FAILURES."""
        family = trio.socket.AF_INET6 if ":" in candidate.host else trio.socket.AF_INET
        plain = trio.socket.socket(family, trio.socket.SOCK_STREAM)
        try:
            await plain.connect((candidate.host, candidate.port))
            bare = trio.SocketStream(plain)
            tune(bare)
            asked_at = trio.current_time()
            agent, transport = await ask(
                bare,
                new,
                position=stream.state.inbox.position,
                random_bytes=self._random_bytes,
            )
        except BaseException:
            plain.close()
            raise
        return _Found(candidate, transport, plain, agent, trio.current_time() - asked_at)

    async def _carry(self, stream: ResumableStream, found: _Found, network: NetworkWatch) -> None:
        """Take the stream over and carry it to the path's end."""
        reason = "taken back"
        try:
            with trio.fail_after(TURN_S):
                while self._greeting:
                    await self._news.wait()
            self._take(found)
            await found.transport.send_all(found.agent.proof)
            with network.guard(found.transport):
                await stream.run_transport(found.transport, found.agent.position, direct=True)
        except _FAILURES as exc:
            reason = str(exc) or "no answer"
        finally:
            self._carrying = False
            self._current = None
            await trio.aclose_forcefully(found.transport)
        self._let_go(found, reason)

    def _take(self, found: _Found) -> None:
        self._carrying = True
        self._current = found.plain
        self._paths.moved(found.candidate, found.rtt_s, trio.current_time())
        if self._relay is not None:
            self._relay.cancel()
        self._tell()

    def _let_go(self, found: _Found, reason: str) -> None:
        now = trio.current_time()
        if self._paths.report().kind != "direct":
            self._paths.failed({found.candidate: reason}, now)
        self._paths.lost(reason, now)
        self._tell()
