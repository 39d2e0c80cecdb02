"""What strangers may do at an agent's direct port: real connections, many at once, a virtual clock.

The input says who connects from where, what each says in which pieces, whether it knows a stream's
secret, when it hangs up and how, and what becomes meanwhile of the stream that they are after.
Whatever they do: nobody gets a stream without its secret, and then only for as long as it is there;
who has proven nothing is told next to nothing and is gone in time; the limiter counts right; and
nothing happens that nobody expected; and the stream's own client notices nothing of strangers.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from kled_agent.control.direct import (
    GREETING_MAX,
    GREETING_PER_ADDRESS_MAX,
    DirectListener,
    DirectSettings,
)
from kled_agent.control.grants import Grants
from kled_agent.control.resumption import ResumeLimits, Resumption
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.errors import ProtocolError
from kled_wire.eventlog import EventLog
from kled_wire.resume import frames
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.proof import make_proof
from kled_wire.resume.state import DEAD_S, StreamState
from kled_wire.resume.stream import ResumableStream
from tests.kit.pieces import in_pieces, pieces

_NEW: Final = frames.New(bytes(16), bytes(range(32)))
_OTHER: Final = frames.New(bytes(range(16)), bytes(32))
_DIAL: Final = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_a")
_WORDS: Final = b"over the relay"
# Bits of the input's first byte: the stream may not leave the relay; what strangers say is not
# waited for; anybody may come.
_STAYS, _AT_ONCE, _ANY = 1, 2, 4
_ACTS_MAX: Final = 80
_STRANGERS_MAX: Final = 120
_ADDRESSES: Final = 12
_VOUCHED_S: Final = 60.0
# A challenge, or a refusal; nothing more is said to somebody who has proven nothing.
_TOLD_MAX: Final = 128
_RESET: Final = b"\1\0\0\0\0\0\0\0"
# Longer than all that an input can wait for.
_FOR_EVER_S: Final = 24 * 3600.0


class _Crashes(logging.Handler):
    """What nobody expected, as the supervisor of connections logs it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


@dataclass(slots=True, eq=False)
class _Stranger:
    """One connection, from outside."""

    sock: socket.socket
    resume: frames.Resume | None = None
    heard: bytearray = field(default_factory=bytearray)
    proven: bool = False

    def say(self, data: bytes) -> None:
        """As much as goes."""
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def hear(self) -> bool:
        """What has come; whether that was not the end."""
        try:
            while data := self.sock.recv(65536):
                self.heard += data
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def prove(self, secret: bytes) -> None:
        """Answer the challenge that was heard, if one was."""
        self.hear()
        challenge = self._challenge()
        if challenge is not None and self.resume is not None:
            self.say(frames.encode_greeting(make_proof(secret, self.resume, challenge)))
            self.proven |= self.resume.id == _NEW.id and secret == _NEW.secret

    def _challenge(self) -> frames.Challenge | None:
        found = frames.decode_greeting(self.heard)
        return found[0] if found and isinstance(found[0], frames.Challenge) else None


class _Site:
    """An agent that listens, a stream over the relay with its client, and who else comes."""

    def __init__(self, how: int, nursery: trio.Nursery) -> None:
        self.how = how
        self.nursery = nursery
        logger = logging.Logger("fuzz")  # noqa: LOG001 - one of each input's own
        self.crashes = _Crashes()
        logger.addHandler(self.crashes)
        self.log = EventLog(logger)
        bounds = ResumeLimits(vouched_s=_VOUCHED_S)
        self.resumption = Resumption(nursery, bounds, Grants())
        settings = DirectSettings(listen="any" if how & _ANY else "private")
        self.direct = DirectListener(settings, self.resumption, self.log)
        self.client = ResumableStream(StreamState())
        self.application = trio.CancelScope()
        self.relay: trio.abc.Stream | None = None
        self.strangers: list[_Stranger] = []
        self.address: tuple[str, int] = ("", 0)
        self.proofs = 0
        self.touched = False

    async def begin(self) -> None:
        """Listen, and have a stream."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = listeners[0].socket.getsockname()
        self.nursery.start_soon(trio.serve_listeners, self.direct._serve, listeners)
        near, far = memory_stream_pair()
        self.relay = near
        kind = "tcp" if self.how & _STAYS else "ssh"
        dial = messages.Dial(ticket="", kind=kind, resume=True, user="usr_a")
        self.nursery.start_soon(self.resumption.serve, far, dial, self.log, self._echo)
        await near.send_all(frames.encode_greeting(_NEW))
        self.nursery.start_soon(self._carry, near)
        await self.talk()

    async def talk(self) -> None:
        """The stream's client says something and hears it again."""
        await self.client.send_all(_WORDS)
        got = b""
        while len(got) < len(_WORDS):
            got += await self.client.receive_some()
        assert got == _WORDS

    async def _carry(self, near: trio.abc.HalfCloseableStream) -> None:
        with contextlib.suppress(TransportLost, ProtocolError):
            await self.client.run_transport(near, 0)

    async def _echo(
        self, stream: trio.abc.HalfCloseableStream, _dial: messages.Dial, _log: EventLog
    ) -> None:
        with self.application:
            async for data in stream:
                await stream.send_all(data)

    # --- what happens

    def connect(self, host: int, count: int) -> None:
        """Some come, from one address."""
        for _ in range(count):
            if len(self.strangers) >= _STRANGERS_MAX:
                return
            sock = socket.socket()
            sock.bind((f"127.0.0.{1 + host % _ADDRESSES}", 0))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(self.address)
            self.strangers.append(_Stranger(sock))

    async def act(self, what: int, data: bytes) -> None:
        """A piece of the input."""
        size = int.from_bytes(data[:2], "little")
        match what // 2 % 12:
            case 0:
                self.connect(size, 1 + size // 256 % 16)
            case 9:
                await trio.sleep(size % 256 / 4)
            case 10:
                self.touched = True
                self.application.cancel()
            case 11:
                self.touched = True
                if self.relay is not None:
                    await trio.aclose_forcefully(self.relay)
            case of_one if self.strangers:
                stranger = self.strangers[size % 256 % len(self.strangers)]
                self._act_of(stranger, of_one, data[1:])

    def _act_of(self, stranger: _Stranger, what: int, data: bytes) -> None:
        match what:
            case 1 | 2:
                stranger.say(data)
            case 3:
                new = _NEW if len(data) % 2 == 0 else _OTHER
                nonce = data[:32].ljust(32, b"\0")
                stranger.resume = frames.Resume(new.id, nonce, sum(data[:2]))
                stranger.say(frames.encode_greeting(stranger.resume))
            case 4:
                stranger.say(frames.encode_greeting(_NEW if data else _OTHER))
            case 5:
                before = stranger.proven
                stranger.prove(_OTHER.secret if data else _NEW.secret)
                self.proofs += stranger.proven > before and not self.how & _STAYS
            case 6:
                stranger.hear()
            case 7:
                with contextlib.suppress(OSError):
                    stranger.sock.shutdown(socket.SHUT_WR)
            case _:
                if data:
                    with contextlib.suppress(OSError):
                        stranger.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                stranger.sock.close()

    # --- what must be so

    def check(self) -> None:
        """At any time."""
        inside = self.direct._admission._inside
        assert inside.total() <= GREETING_MAX
        assert all(0 < count <= GREETING_PER_ADDRESS_MAX for count in inside.values())
        assert self.direct.open_streams <= self.proofs
        assert not self.crashes.seen, self.crashes.seen
        for stranger in self.strangers:
            assert stranger.proven or len(stranger.heard) <= _TOLD_MAX
        state = self.client.state
        assert state.outbox.start <= state.outbox.end

    async def settle(self) -> None:
        """Until all is done about what has happened."""
        await wait_all_tasks_blocked()
        assert self.direct.open_streams <= (trio.current_time() < _VOUCHED_S)

    async def end(self) -> None:
        """Nobody who has proven nothing is still there; nobody took what was not theirs."""
        await trio.sleep(limits.HELLO_TIMEOUT_S + 1)
        await self.settle()
        assert not self.direct._admission._inside
        for stranger in self.strangers:
            if not stranger.proven and stranger.sock.fileno() >= 0:
                assert not stranger.hear(), "it is still connected"
        self.check()
        if not self.proofs and not self.touched:
            await self.talk()
        for stranger in self.strangers:
            stranger.sock.close()
        await trio.sleep(2 * DEAD_S)
        await self.settle()
        assert self.direct.open_streams == 0
        self.check()


def direct_admission(data: bytes) -> None:
    """The target."""

    async def main() -> None:
        with trio.move_on_after(_FOR_EVER_S) as scope:
            async with trio.open_nursery() as nursery:
                await _play(_Site(data[0] if data else 0, nursery), data[1:])
                nursery.cancel_scope.cancel()
        assert not scope.cancelled_caught, "it would wait for ever"

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def _play(site: _Site, script: bytes) -> None:
    try:
        await site.begin()
        for number, piece in enumerate(filter(None, pieces(script))):
            if number == _ACTS_MAX:
                break
            await site.act(piece[0], piece[1:])
            # Odd ones come before anything is done about them.
            if not site.how & _AT_ONCE and not piece[0] & 1:
                await site.settle()
            site.check()
        await site.end()
    finally:
        for stranger in site.strangers:
            stranger.sock.close()


def seeds() -> Iterator[bytes]:
    """A client that moves, some that do not, and a crowd."""
    one, wait, end, cut = b"\0\0\0", b"\x12\x30", b"\x14", b"\x16"
    resume, again = (b"\x06%c%c\0" % (who, len(_WORDS)) for who in (0, 1))
    other, early, proof, wrong = b"\x06\0a", b"\x06\0zz", b"\x0a\0", b"\x0a\0x"
    frame = b"\x02\0" + frames.encode_header(frames.DATA, len(_WORDS), 5) + b"hello"
    alive = b"\x02\0" + frames.encode_header(frames.PING, 1)
    hear, half, close, reset = b"\x0c\0", b"\x0e\0", b"\x10\0", b"\x10\0x"
    new = b"\x08\0x"
    scripts = [
        in_pieces(one, resume, proof, frame, hear, half),
        in_pieces(one, resume, proof, frame, one, again, b"\x0a\1", reset),
        in_pieces(one, resume, proof, *[wait] * 6, one, again, b"\x0a\1"),
        in_pieces(one, resume, proof, *[alive, b"\x12\x10"] * 17, frame),
        in_pieces(one, resume, end, proof, frame),
        in_pieces(one, resume, cut, proof, end, frame),
        in_pieces(one, resume, wrong, hear),
        in_pieces(one, early, proof, hear),
        in_pieces(one, other, proof, hear, close),
        in_pieces(one, new, hear),
        in_pieces(one, b"\x02\0KLR1", wait, hear),
        in_pieces(one, b"\x02\0GET / HTTP/1.1\r\n\r\n", half),
        in_pieces(one, b"\x02\0KLR1X\3\xe8", reset),
        in_pieces(
            *[bytes([0, host, 15]) for host in range(10)], b"\x06\x40\0\0", b"\x0a\x40", wait
        ),
    ]
    for how in (0, _AT_ONCE, _STAYS, _ANY):
        yield from (bytes([how]) + script for script in scripts)
