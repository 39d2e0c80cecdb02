"""Wakes tasks that wait for a change, such as followers of a log and idle workers."""

from __future__ import annotations

from typing import Final

import trio

# The key that is notified when a build is queued.
QUEUE: Final = "queue"


def cancel_key(build_id: str) -> str:
    """The key that is notified when somebody asks a build to stop."""
    return f"{build_id} cancel"


def state_key(workspace_id: str) -> str:
    """The key that is notified when Terraform has written a workspace's state."""
    return f"{workspace_id} state"


class Changes:
    """One-shot events by key. Take `next_change` before looking, so that nothing is missed."""

    def __init__(self) -> None:
        self._events: dict[str, trio.Event] = {}

    def notify(self, key: str) -> None:
        """Wake everybody who waits for `key`."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()

    def next_change(self, key: str) -> trio.Event:
        """An event that is set at the next `notify` of `key`."""
        return self._events.setdefault(key, trio.Event())
