"""Run one SSH session on our standard streams: input, output, size, exit status."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from kled_client.escapes import Escape, EscapeFilter
from kled_client.terminal import follow_size, read_input, write_output
from kled_wire.screenmodes import ScreenModes

if TYPE_CHECKING:
    from kled_client.ssh_channel import Channel

LEFT = 255


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

    async def help(self) -> None:
        """Say which keys there are."""
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


async def run_session(
    channel: Channel, descriptor: int, *, interactive: bool, named: Attachment | None = None
) -> int:
    """Carry the session to its end; returns the exit code for our own shell.

    Raises what broke the connection, BrokenPipeError when nobody reads our output.
    """
    from kled_client.ssh import exit_code  # noqa: PLC0415  # asyncssh, only when it runs

    show = write_output if named is None else named.show
    code = LEFT
    try:
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(_send_input, channel, descriptor, interactive, scope, named)
            if interactive:
                nursery.start_soon(follow_size, descriptor, channel.resize)
            while (received := await channel.receive()) is not None:
                data, is_stderr = received
                await show(data, is_stderr=is_stderr)
            await channel.wait_closed()
            code = exit_code(channel)
            nursery.cancel_scope.cancel()
        channel.close()
    finally:
        if named is not None:
            with trio.CancelScope(shield=True):
                await named.leave()
    if named is not None:
        await named.farewell(code)
        return 0 if named.detached else code
    return code


async def _send_input(
    channel: Channel,
    descriptor: int,
    interactive: bool,
    scope: trio.CancelScope,
    named: Attachment | None,
) -> None:
    escapes = EscapeFilter() if named is None else EscapeFilter(tuple(Escape))
    while data := await read_input(descriptor):
        if not interactive:
            await channel.send(data)
            continue
        while data:
            out, escape, data = escapes.feed(data)
            if out:
                await channel.send(out)
            if escape is Escape.HELP and named is not None:
                await named.help()
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
