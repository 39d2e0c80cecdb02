"""Run one SSH session on our standard streams: input, output, size, exit status."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from kled_client.terminal.escapes import Escape, EscapeFilter
from kled_client.terminal.predict import START, Predictor
from kled_client.terminal.tty import follow_size, read_input, write_now, write_output
from kled_wire.screenmodes import ScreenModes

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

LEFT = 255
# Round trips above and below which keys are shown before their echo; mosh's figures.
SHOW_ABOVE_S = 0.03
HIDE_BELOW_S = 0.02
# How much one echo counts against those before.
_SMOOTHING = 1 / 8

_HELP = (
    "~d   detach; the session goes on",
    "~.   the same, also when nothing answers",
    "~~   send one ~",
    "~?   this list",
)


@dataclass(slots=True, kw_only=True)
class Attachment:
    """A named session as the person at this terminal sees it."""

    name: str
    read_only: bool = False
    detached: bool = False
    seen: bool = False
    _modes: ScreenModes = field(default_factory=ScreenModes)
    _shown: bool = False
    _told: bool = False

    @property
    def lost(self) -> bool:
        """Whether it was there to be seen, and nobody has said that it is over."""
        return self._shown and not self._told and not self.detached

    @property
    def mode(self) -> str:
        """How to ask for it; a second time it must be the same one."""
        if self.read_only:
            return "ro"
        return "join" if self.seen else "rw"

    def again(self) -> None:
        """It is to be attached once more."""
        self._shown = self._told = False
        self._modes = ScreenModes()

    async def show(self, data: bytes, *, is_stderr: bool) -> None:
        """Write what came, and before the first of it that we are attached."""
        if is_stderr:
            self._told = True
        else:
            if not self._shown:
                self._shown = self.seen = True
                how = " to watch" if self.read_only else ""
                await _tell(f"attached to {self.name}{how}; ~d detaches, ~? lists keys")
            self._modes.feed(data)
        await write_output(data, is_stderr=is_stderr)

    async def help(self, ahead: TypedAhead | None) -> None:
        """Say which keys there are."""
        if ahead is not None:
            ahead.disturb()
        for line in _HELP:
            await _tell(line)

    async def leave(self) -> None:
        """Put the terminal back as it was, whatever the programs inside made of it."""
        if sys.stdout.isatty():
            await write_output(self._modes.leave(), is_stderr=False)

    async def farewell(self, code: int) -> None:
        """One line on how it ended, when that did not go without saying."""
        if self.detached:
            await _tell(f"\r\ndetached from {self.name}; the session goes on")
        elif self._shown and not self._told and code != LEFT:
            await _tell(f"\r\nsession {self.name} has ended" + (f" ({code})" if code else ""))


async def _tell(text: str) -> None:
    # The terminal is raw: it does not go back to the margin by itself.
    await write_output(f"{text}\r\n".encode(), is_stderr=True)


class TypedAhead:
    """Shows keys before their echo where that takes long; always with `always`."""

    def __init__(self, columns: int, *, always: bool = False) -> None:
        self._predictor = Predictor(columns)
        self._always = always
        self._slow = False
        self._smoothed_s: float | None = None
        self._sent_at: float | None = None
        self._start = START
        # Held while something is on its way to the terminal.
        self._lock = trio.Lock()
        # The step that was put off until then.
        self._due: Callable[[], bytes] | None = None

    async def typed(self, keys: bytes) -> None:
        """Keys have been sent."""
        if self._sent_at is None:
            self._sent_at = trio.current_time()
        self._predictor.typed(keys)
        # Else who is writing shows them afterwards: a stuck terminal must not hold up keys.
        if not self._lock.locked():
            async with self._lock:
                await self._write_rest()

    async def show(self, data: bytes, write: Callable[..., Awaitable[None]]) -> None:
        """Write what came from the workspace, and behind it what is not echoed yet."""
        async with self._lock:
            start, self._start = self._start, b""
            output = self._predictor.output(data)
            self._measure()
            await write(start + output + self._show(), is_stderr=False)
            await self._write_rest()

    def disturb(self) -> None:
        """Somebody else is about to write on the terminal."""
        self._do(self._predictor.disturbed)

    def resize(self, columns: int) -> None:
        """The terminal has another size."""
        self._do(partial(self._predictor.resized, columns))

    def _do(self, work: Callable[[], bytes]) -> None:
        if self._lock.locked():
            self._due = work
        else:
            write_now(work())

    async def _write_rest(self) -> None:
        """Write until nothing new was typed while it was written."""
        while True:
            due, self._due = self._due, None
            data = (due() if due is not None else b"") + self._show()
            if not data:
                return
            await write_output(data, is_stderr=False)

    def _show(self) -> bytes:
        return self._predictor.show() if self._always or self._slow else b""

    def _measure(self) -> None:
        sent_at, self._sent_at = self._sent_at, None
        if sent_at is None or not self._predictor.sure:
            return
        sample = trio.current_time() - sent_at
        before = sample if self._smoothed_s is None else self._smoothed_s
        self._smoothed_s = before + (sample - before) * _SMOOTHING
        self._slow = self._smoothed_s > (HIDE_BELOW_S if self._slow else SHOW_ABOVE_S)


async def run_session(
    channel: Channel,
    descriptor: int,
    *,
    interactive: bool,
    named: Attachment | None = None,
    ahead: TypedAhead | None = None,
) -> int:
    """Carry the session to its end; returns the exit code for our own shell.

    Raises what broke the connection, BrokenPipeError when nobody reads our output.
    """
    from kled_client.ssh.connection import exit_code  # noqa: PLC0415  # asyncssh, only when it runs

    show = write_output if named is None else named.show
    code = LEFT
    try:
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(_send_input, channel, descriptor, interactive, scope, named, ahead)
            if interactive:
                nursery.start_soon(follow_size, descriptor, partial(_resize, channel, ahead))
            while (received := await channel.receive()) is not None:
                data, is_stderr = received
                if ahead is not None and not is_stderr:
                    await ahead.show(data, show)
                else:
                    await show(data, is_stderr=is_stderr)
            await channel.wait_closed()
            code = exit_code(channel)
            nursery.cancel_scope.cancel()
        channel.close()
    finally:
        if ahead is not None:
            ahead.disturb()
        if named is not None:
            with trio.CancelScope(shield=True):
                await named.leave()
    if named is not None:
        await named.farewell(code)
        return 0 if named.detached else code
    return code


def _resize(channel: Channel, ahead: TypedAhead | None, columns: int, rows: int) -> None:
    if ahead is not None:
        ahead.resize(columns)
    channel.resize(columns, rows)


async def _send_keys(channel: Channel, ahead: TypedAhead | None, keys: bytes) -> None:
    await channel.send(keys)
    if ahead is not None:
        await ahead.typed(keys)


async def _send_input(
    channel: Channel,
    descriptor: int,
    interactive: bool,
    scope: trio.CancelScope,
    named: Attachment | None,
    ahead: TypedAhead | None,
) -> None:
    escapes = EscapeFilter() if named is None else EscapeFilter(tuple(Escape))
    while data := await read_input(descriptor):
        if not interactive:
            await channel.send(data)
            continue
        while data:
            out, escape, data = escapes.feed(data)
            if out:
                await _send_keys(channel, ahead, out)
            if escape is Escape.HELP and named is not None:
                await named.help(ahead)
            elif escape is not None:
                if named is not None:
                    named.detached = True
                scope.cancel()
                return
    if named is not None:
        named.detached = True
        scope.cancel()
    else:
        channel.send_eof()
