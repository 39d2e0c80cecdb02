"""What strangers may do to a whole resumable stream under Trio, at either end of it.

The clock is a virtual one. The input says of what kind the transports are, how honest the peer is
in its greetings, what it says on two transports one after the other, in which pieces and when.
Whatever it says: the end gives the transport up with a documented error, what had arrived whole is
with the application, nothing waits for ever.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from kled_agent.control.grants import Grants
from kled_agent.control.resumption import ResumeLimits, Resumption
from kled_wire.control import messages
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.resume import frames
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.handshake import admit, ask_to_resume, read_hello
from kled_wire.resume.inbox import HELD_MAX
from kled_wire.resume.redial import DIAL_TIMEOUT_S
from kled_wire.resume.state import DEAD_S, StreamState
from kled_wire.resume.stream import ResumableStream
from tests.kit.pieces import in_pieces, pieces

_Pair = tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]
_NEW: Final = frames.New(bytes(16), bytes(range(32)))
_WRITTEN: Final = 3000
# Longer than anything that has an end takes, in the virtual clock's seconds.
_FOR_EVER_S: Final = 10 * 24 * 3600.0
_DETACHED_S: Final = 3600.0
_LATER_S: Final = 1.0
# Bits of the input's first byte.
_LOCKSTEP, _SOCKETS, _DEAF, _STAYS, _GREETS, _RESUMES, _AT_ONCE, _READS_LATE = (
    1 << bit for bit in range(8)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """What the peer does."""

    how: int
    position: int
    said: tuple[Sequence[bytes], Sequence[bytes]]

    def transports(self) -> _Pair:
        """Ours and the peer's."""
        if self.how & _SOCKETS:
            one, other = (trio.socket.from_stdlib_socket(end) for end in socket.socketpair())
            return trio.SocketStream(one), trio.SocketStream(other)
        ours, theirs = lockstep_stream_pair() if self.how & _LOCKSTEP else memory_stream_pair()
        return ours, theirs


_Peer = Callable[[_Script, int, trio.abc.HalfCloseableStream, Sequence[bytes]], Awaitable[None]]


def _script(data: bytes) -> _Script:
    how, cut, position = (*data[:3], 0, 0, 0)[:3]
    said = list(pieces(data[3:]))
    cut %= len(said) + 1
    return _Script(how=how, position=position * 32, said=(said[:cut], said[cut:]))


async def _talk(far: trio.abc.HalfCloseableStream, said: Sequence[bytes], how: int) -> None:
    """Say it, and return at once or later."""
    async with trio.open_nursery() as nursery:
        if not how & _DEAF:
            nursery.start_soon(_hear, far)
        with contextlib.suppress(trio.BrokenResourceError):
            for piece in said:
                await trio.sleep(piece[0] / 16 if piece else 0.0)
                if piece:
                    await far.send_all(piece)
        await trio.sleep(2 * DEAD_S if how & _STAYS else 0.0)
        nursery.cancel_scope.cancel()


async def _over_transports(
    script: _Script,
    be: _Peer,
    work: Callable[[trio.abc.HalfCloseableStream, int], Awaitable[None]],
) -> None:
    """`work` on one transport and then on the other, or on the second while it is on the first."""

    async def carry(number: int) -> None:
        ours, theirs = script.transports()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_peer, be, script, number, theirs, script.said[number])
            async with ours:
                await work(ours, number)

    async with trio.open_nursery() as nursery:
        if script.how & _AT_ONCE:
            nursery.start_soon(carry, 0)
            await trio.sleep(_LATER_S)
        else:
            await carry(0)
        await carry(1)


async def _peer(
    be: _Peer,
    script: _Script,
    number: int,
    far: trio.abc.HalfCloseableStream,
    said: Sequence[bytes],
) -> None:
    """What we told it, or that we hung up, is no matter of its."""
    async with far:
        with contextlib.suppress(trio.BrokenResourceError, UnavailableError):
            await be(script, number, far, said)


async def _hear(far: trio.abc.HalfCloseableStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while await far.receive_some():
            pass


@dataclass(slots=True)
class _Application:
    """Writes and reads to the end, or until it is told that there is none."""

    stream: ResumableStream
    reads_late: bool
    taken: int = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            if self.reads_late:
                await trio.sleep(DEAD_S)
            with contextlib.suppress(trio.BrokenResourceError):
                while received := await self.stream.receive_some(1000):
                    self.taken += len(received)

    async def _write(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(bytes(_WRITTEN))
            await self.stream.send_eof()

    def check(self, most: int) -> None:
        """Once it is over: it has all that has arrived, and the peer claims no more than it got."""
        state = self.stream.state
        assert self.taken == state.inbox.received <= most
        assert state.outbox.start <= state.outbox.end <= _WRITTEN


def _check_bounds(stream: ResumableStream) -> None:
    state = stream.state
    assert state.inbox.received - state.inbox.consumed <= HELD_MAX
    assert len(state._answers) <= 70


def client(data: bytes) -> None:
    """A client whose agent lies, or somebody between them."""
    _run(_be_client, data)


async def _be_client(script: _Script, most: int) -> None:
    stream = ResumableStream(StreamState())
    application = _Application(stream, bool(script.how & _READS_LATE))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(application.run)
        # Only a direct one is greeted while another carries.
        direct = bool(script.how & _AT_ONCE)
        await _over_transports(script, _be_agent_of, partial(_carry, stream, direct))
        _check_bounds(stream)
        stream.fail("connection_lost", "there is no third transport")
    application.check(most)


async def _carry(
    stream: ResumableStream, direct: bool, transport: trio.abc.HalfCloseableStream, number: int
) -> None:
    with contextlib.suppress(
        TransportLost, ProtocolError, UnavailableError, trio.BrokenResourceError, trio.TooSlowError
    ):
        position = 0
        with trio.fail_after(DIAL_TIMEOUT_S):
            if number == 0:
                await transport.send_all(frames.encode_greeting(_NEW))
            else:
                position, transport = await ask_to_resume(
                    transport, _NEW, position=stream.state.inbox.position, random_bytes=bytes
                )
        await stream.run_transport(transport, position, direct=direct and number > 0)


async def _be_agent_of(
    script: _Script, number: int, far: trio.abc.HalfCloseableStream, said: Sequence[bytes]
) -> None:
    if number and script.how & _RESUMES:
        hello, far = await read_hello(far)
        assert isinstance(hello, frames.Resume)
        far = await admit(
            far, hello, secret=_NEW.secret, position=script.position, random_bytes=bytes
        )
    await _talk(far, said, script.how)


def agent(data: bytes) -> None:
    """An agent whose client lies, or somebody between them."""
    _run(_be_agent, data)


async def _be_agent(script: _Script, most: int) -> None:
    log = EventLog(logging.getLogger("fuzz"))
    served: list[_Application] = []

    async def handle(
        stream: trio.abc.HalfCloseableStream, dial: messages.Dial, log: EventLog
    ) -> None:
        assert isinstance(stream, ResumableStream)
        served.append(_Application(stream, bool(script.how & _READS_LATE)))
        await served[-1].run()

    dial = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_a")
    async with trio.open_nursery() as nursery:
        streams = Resumption(nursery, ResumeLimits(detached_s=_DETACHED_S), Grants())
        streams.offer(b"off no")
        await _over_transports(
            script, _be_client_of, lambda ours, _: streams.serve(ours, dial, log, handle)
        )
        for application in served:
            _check_bounds(application.stream)
        streams.enforce_limits(trio.current_time() + _DETACHED_S)
    assert not len(streams)
    for application in served:
        application.check(most)


async def _be_client_of(
    script: _Script, number: int, far: trio.abc.HalfCloseableStream, said: Sequence[bytes]
) -> None:
    if number == 0 and script.how & _GREETS:
        await far.send_all(frames.encode_greeting(_NEW))
    elif number and script.how & _RESUMES:
        _, far = await ask_to_resume(far, _NEW, position=script.position, random_bytes=bytes)
    await _talk(far, said, script.how)


def _run(work: Callable[[_Script, int], Awaitable[None]], data: bytes) -> None:
    async def main() -> None:
        with trio.move_on_after(_FOR_EVER_S) as scope:
            await work(_script(data), len(data))
        assert not scope.cancelled_caught, "it would wait for ever"

    trio.run(main, clock=MockClock(autojump_threshold=0))


def seeds(talk: Sequence[bytes]) -> list[bytes]:
    """Good inputs for both, with each bit set once: `talk` on one transport or on two."""
    kinds = [0, _LOCKSTEP, _SOCKETS, _DEAF | _LOCKSTEP, _STAYS, _AT_ONCE, _READS_LATE]
    return [
        bytes([_GREETS | _RESUMES | kind, cut, 0]) + in_pieces(*talk)
        for kind in kinds
        for cut in (3, len(talk))
    ]
