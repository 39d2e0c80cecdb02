"""Whether an endpoint gets on, as it tells the session."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from kled_sync.endpoint.liveness import BEAT_S, Liveness, ThreadWork
from kled_sync.endpoint.thread_queues import BlockSender

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="it has no clock of a thread")


class Worker:
    """A thread that does one thing at a time, and says that it works."""

    def __init__(self, work: ThreadWork) -> None:
        self._asked, self._began = threading.Semaphore(0), threading.Event()
        self._do: Callable[[], object] = lambda: None
        self._work = work
        threading.Thread(target=self._run, daemon=True).start()

    def do(self, do: Callable[[], object]) -> None:
        """Begin with it."""
        self._do = do
        self._began.clear()
        self._asked.release()
        assert self._began.wait(10)

    def _run(self) -> None:
        while self._asked.acquire():
            self._work.begin()
            self._began.set()
            self._do()
            self._work.rest()


def test_who_works_gets_on_and_who_waits_for_a_disk_does_not() -> None:
    owes = [True]
    liveness = Liveness(BlockSender(-1), lambda: owes[0])
    assert liveness.still_s() == 0  # contents are to come
    owes[0] = False
    assert liveness.still_s() is None
    worker = Worker(liveness.working)
    reads, writes = os.pipe()
    worker.do(lambda: os.read(reads, 1))  # as from a filesystem that hangs
    while (liveness.still_s() or 0) < 1000 * BEAT_S:
        pass
    os.write(writes, b"x")
    goes_on = threading.Event()
    worker.do(lambda: [None for _ in iter(goes_on.is_set, True)])
    while liveness.still_s() != 0:
        pass
    goes_on.set()
    for end in (reads, writes):
        os.close(end)
