"""Renews the lease of a running build, and cancels the run on a cancellation or a lost lease."""

from __future__ import annotations

import structlog
import trio

from kled_coord.builds.queue import RENEW_S, Queue
from kled_coord.builds.transitions import BuildStatus
from kled_coord.changes import Changes, cancel_key
from kled_coord.store.errors import StoreError
from kled_wire.names import BuildId

log = structlog.get_logger(__name__)


class Lease:
    """`run_scope` holds the run: it is cancelled when somebody asks, or the lease is lost.

    `forced` is set when somebody does not want to wait for the clean stop.
    """

    def __init__(self, *, queue: Queue, changes: Changes, build_id: BuildId, worker: str) -> None:
        self.run_scope = trio.CancelScope()
        self.lost = False
        self.forced = trio.Event()
        self._queue = queue
        self._changes = changes
        self._build_id = build_id
        self._worker = worker
        self._hold_scope = trio.CancelScope()

    def release(self) -> None:
        """The run is over: `hold` ends."""
        self._hold_scope.cancel()

    async def hold(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Renew until released, also while a cancelled run winds down."""
        task_status.started()
        try:
            with self._hold_scope:
                await self._renew_on()
        finally:
            # Nothing else notifies this key once the build is over, and its event would stay.
            self._changes.notify(cancel_key(self._build_id))

    async def _renew_on(self) -> None:
        while not self.lost:
            canceled = self._changes.next_change(cancel_key(self._build_id))
            await self._renew()
            with trio.move_on_after(RENEW_S):
                await canceled.wait()

    async def _renew(self) -> None:
        try:
            kept = await self._queue.renew(self._build_id, self._worker)
        except StoreError as error:
            # The lease outlives two failures; after that the expiry decides.
            log.warning("build_lease_not_renewed", build=self._build_id, reason=error.message)
            return
        if kept is None:
            log.warning("build_lease_lost", build=self._build_id)
            self.lost = True
            self.run_scope.cancel()
        elif kept.status == BuildStatus.CANCELING:
            if kept.forced:
                self.forced.set()
            self.run_scope.cancel()
