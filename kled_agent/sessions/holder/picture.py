"""Draws the screen in a process that the holder forks (redraw.py)."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from collections.abc import Callable
from typing import Final

from kled_agent.sessions.holder.plan import plan_redraw
from kled_agent.sessions.holder.ring import Ring
from kled_wire.screenmodes import ScreenModes

# Longer than any picture takes; the kernel then ends it and the plain way is taken.
PICTURE_S: Final = 8
PLAIN_BYTES: Final = 16 * 1024
_DESCRIPTORS: Final = 1024


class Pictures:
    """Asks for pictures; answers come through the holder's selector."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        # Whether the last one asked for is complete by itself.
        self.whole = True

    def ask(
        self,
        ring: Ring,
        modes: ScreenModes,
        *,
        drawn: tuple[int, int],
        shown: tuple[int, int],
        answer: Callable[[bytes, int], None],
    ) -> None:
        """Call `answer` with the picture and the offset it shows, from the selector's loop."""
        plan = plan_redraw(modes, ring.start, ring.end)
        self.whole = plan.whole
        offset = ring.end
        plain = modes.restore() + _from_line(ring.slice(offset - PLAIN_BYTES, offset))
        parts = ([ring.slice(*r) for r in plan.main], [ring.slice(*r) for r in plan.alternate])
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            _child(parts, modes, drawn, shown, theirs)
        os.close(theirs)
        got = bytearray()

        def on_data(pipe: int, _mask: int) -> None:
            data = os.read(pipe, 64 * 1024)
            got.extend(data)
            if not data:
                self._selector.unregister(pipe)
                os.close(pipe)
                whole = got.endswith(b"\0")
                answer(bytes(got[:-1]) if whole else plain, offset)

        self._selector.register(ours, selectors.EVENT_READ, on_data)


def _child(
    parts: tuple[list[bytes], list[bytes]],
    modes: ScreenModes,
    drawn: tuple[int, int],
    shown: tuple[int, int],
    pipe: int,
) -> None:
    """In the fork: never returns. The NUL at the end says that it is all there."""
    with contextlib.suppress(BaseException):
        # A client that leaves meanwhile must see its connection end.
        os.closerange(3, pipe)
        os.closerange(pipe + 1, _DESCRIPTORS)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(PICTURE_S)
        from kled_agent.sessions.holder.redraw import draw  # noqa: PLC0415 - the emulator, only here

        with os.fdopen(pipe, "wb") as file:
            file.write(draw(parts, modes, drawn, shown) + b"\0")
    os._exit(0)


def _from_line(data: bytes) -> bytes:
    return data[data.find(b"\n") + 1 :]
