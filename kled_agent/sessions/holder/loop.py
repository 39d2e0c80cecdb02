"""The loop of a session's holder: calls what waits for descriptors, and what waits for a moment.

Standard library only, and no threads: a holder stays small.
"""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

Ready = Callable[[Any, int], None]


class HolderLoop:
    """A selector whose data is what to call with the descriptor and the mask, and timers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once, so much later."""
        self._timers.append((time.monotonic() + seconds, action))

    def on_signals(self, ready: Ready, *numbers: signal.Signals) -> None:
        """Call `ready` with a socket from which the numbers of these signals can be read."""
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.detach(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        self.selector.register(woken, selectors.EVENT_READ, ready)

    def watch(self, watched: socket.socket, events: int, ready: Ready) -> None:
        """Call `ready` for these events from now on, and for no others; for none with 0."""
        if watched not in self.selector.get_map():
            if events:
                self.selector.register(watched, events, ready)
        elif not events:
            self.selector.unregister(watched)
        elif self.selector.get_key(watched).events != events:
            self.selector.modify(watched, events, ready)

    def step(self, last: int) -> None:
        """Wait for the first of all that is waited for, and call it; the descriptor `last` last."""
        wait_s = max(0.0, min(at for at, _ in self._timers) - time.monotonic())
        ready = self.selector.select(wait_s)
        for key, mask in sorted(ready, key=lambda pair: pair[0].fd == last):
            # An earlier callback may have closed the descriptor, and its number may be in use
            # again.
            known = self.selector.get_map().get(key.fd)
            if known is not None and known.fileobj == key.fileobj:
                key.data(key.fileobj, mask)
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, action in due:
            action()
