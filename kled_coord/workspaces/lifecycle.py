"""Derives a workspace's status from its builds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Transition(StrEnum):
    """What a build does to its workspace."""

    START = "start"
    STOP = "stop"
    DELETE = "delete"


_WHILE_RUNNING: Final[Mapping[Transition, str]] = {
    Transition.START: "starting",
    Transition.STOP: "stopping",
    Transition.DELETE: "deleting",
}
_ONCE_DONE: Final[Mapping[Transition, str]] = {
    Transition.START: "running",
    Transition.STOP: "stopped",
    Transition.DELETE: "deleted",
}
# All that a workspace may be; a failed or cancelled build gives its own.
STATUSES: Final = frozenset(
    {"pending", "failed", "canceled", *_WHILE_RUNNING.values(), *_ONCE_DONE.values()} - {"deleted"}
)


def workspace_status(transition: str, build_status: str) -> str:
    """A workspace's status, from the transition and status of its newest build."""
    if build_status in {"running", "canceling"}:
        return _WHILE_RUNNING[Transition(transition)]
    if build_status == "succeeded":
        return _ONCE_DONE[Transition(transition)]
    return build_status
