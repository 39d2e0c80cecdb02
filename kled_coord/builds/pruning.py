"""Deletes old logs and old versions of states. The audit log is never pruned."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from kled_coord.sources import Clock
from kled_coord.store.engine import Store
from kled_coord.store.pruning import prune_logs, prune_states

# Builds or workspaces in one transaction.
_BATCH: Final = 50

log = structlog.get_logger(__name__)


async def prune(store: Store, clock: Clock, *, logs_keep_days: float, states_keep: int) -> None:
    """Drop what is older than that; 0 keeps everything. Raises StoreError.

    The log of a build that goes on stays, and so does the newest version of every state.
    """
    logs = states = 0
    if logs_keep_days:
        before = clock() - timedelta(days=logs_keep_days)
        while done := await store.write(prune_logs, before, _BATCH):
            logs += done
    if states_keep:
        while done := await store.write(prune_states, states_keep, _BATCH):
            states += done
    if logs or states:
        log.info("pruned", logs=logs, states=states)
