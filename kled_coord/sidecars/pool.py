"""A pool of child processes of one kind: which one gets work, and when another is started.

The first is started with the pool, or at its first use; each further one as soon as all have work.
So one always stands by: nothing waits for a start, and a coordinator that has little to do keeps
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
import trio

from kled_coord.sidecars.process import Sidecar

# Work waits this long for a process while there is none.
WAIT_S: Final = 5.0

log = structlog.get_logger(__name__)


M = TypeVar("M", bound=Sidecar)


class Pool(Generic[M]):
    """Up to `most` processes. `make` makes one of a name, which calls back when it changes.

    `count` is told how many there are.
    """

    def __init__(
        self,
        most: int,
        make: Callable[[str, Callable[[], None]], M],
        count: Callable[[int], None],
        *,
        at_first_use: bool = False,
    ) -> None:
        self._most = most
        self._make = make
        self._count = count
        self._wanted = not at_first_use
        self._members: list[M] = []
        self._leaving = False
        self._changed = trio.Event()

    @property
    def loads(self) -> list[int]:
        """How much each has to do, in the order in which they were started."""
        return [member.load for member in self._members]

    @property
    def running(self) -> list[M]:
        """The running processes, the least loaded first."""
        return sorted((m for m in self._members if m.running), key=lambda m: m.load)

    def leave(self) -> None:
        """When `run` is cancelled, leave the processes with what they have."""
        self._leaving = True
        for member in self._members:
            member.leave()

    def cut(self) -> None:
        """When `run` is cancelled, stop the processes after all."""
        self._leaving = False
        for member in self._members:
            member.cut()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the processes until cancelled. Raises OSError when the first cannot be started."""
        async with trio.open_nursery() as nursery:
            if self._wanted:
                await self._add(nursery)
            task_status.started()
            while len(self._members) < self._most:
                changed = self._changed
                if self._wanted and all(self.loads):
                    try:
                        await self._add(nursery)
                        continue
                    except OSError as exc:
                        # The next stream makes another attempt; until then the other processes
                        # serve.
                        log.error("process_not_started", reason=exc.strerror)
                await changed.wait()

    async def wait_running(self) -> list[M]:
        """As `running`, after a little while where there is none; may be empty even then."""
        if not self._wanted:
            self._wanted = True
            self._change()
        with trio.move_on_after(WAIT_S):
            while not self.running:
                await self._changed.wait()
        return self.running

    async def _add(self, nursery: trio.Nursery) -> None:
        member = self._make(str(len(self._members)), self._change)
        if self._leaving:
            member.leave()
        await nursery.start(member.run)
        self._members.append(member)
        self._change()

    def _change(self) -> None:
        self._count(len(self.running))
        changed, self._changed = self._changed, trio.Event()
        changed.set()
