"""Tells the session that the endpoint lives, and for how long its work has stood still.

A scan of a million files answers nothing for a minute, and so does a disk that hangs, or a process
that is stopped. A thread that gets on takes processor time, in system calls too; one whose disk
hangs takes none. So nothing that works has to count how far it is.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from kled_sync.endpoint.thread_queues import BlockSender
from kled_sync.wire.messages import Alive
from kled_wire.limits import CLEANUP_S

BEAT_S: Final = 5


class ThreadWork:
    """Whether a thread works, as it says itself, and whether it gets on."""

    def __init__(self, wanted: threading.Event) -> None:
        self._wanted = wanted
        self.is_busy = False
        self._clock: int | None = None
        self._spent_ns = 0

    def begin(self) -> None:
        """Called by the thread: it works from now on."""
        if self._clock is None:
            self._clock = _clock_of_this_thread()
        self.is_busy = True
        if not self._wanted.is_set():
            self._wanted.set()

    def rest(self) -> None:
        """Called by the thread before it waits for more to do."""
        self.is_busy = False

    def has_got_on(self) -> bool:
        """Whether it took processor time since this was asked last, or nobody can say."""
        if self._clock is None:
            return True
        spent_ns, self._spent_ns = self._spent_ns, time.clock_gettime_ns(self._clock)
        return self._spent_ns != spent_ns


class Liveness:
    """Sends `Alive` every `BEAT_S` while a thread works, or something is awaited of us."""

    def __init__(self, out: BlockSender, owes: Callable[[], bool]) -> None:
        """`owes` says whether the session awaits what no thread works on."""
        self._out, self._owes = out, owes
        self._wanted, self._closed = threading.Event(), threading.Event()
        self.reading, self.working = ThreadWork(self._wanted), ThreadWork(self._wanted)
        self._still = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Tell it from now on, at once for the first time."""
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell nothing more."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(CLEANUP_S)

    def still_s(self) -> int | None:
        """For how many seconds no thread that works has got on, asked each `BEAT_S`; None where
        nothing is to be done.
        """
        works = [work for work in (self.reading, self.working) if work.is_busy]
        if not works and not self._owes():
            self._still = 0
            return None
        moves = [work.has_got_on() for work in works]
        self._still = self._still + BEAT_S if works and not any(moves) else 0
        return self._still

    def _run(self) -> None:
        with suppress(OSError):  # the session has ended, which others notice
            self._out.send(Alive(still_s=0))
            while not self._closed.wait(BEAT_S):
                self._wanted.wait()
                self._wanted.clear()
                still_s = self.still_s()
                if still_s is not None and not self._closed.is_set():
                    self._wanted.set()
                    self._out.send(Alive(still_s=still_s))


def _clock_of_this_thread() -> int | None:
    if sys.platform == "darwin":  # it has none that another thread may read
        return None
    return time.pthread_getcpuclockid(threading.get_ident())
