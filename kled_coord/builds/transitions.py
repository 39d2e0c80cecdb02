"""The states of a build as a table. An illegal event raises and changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from kled_wire.errors import ConflictError


class BuildStatus(StrEnum):
    """The status of a build."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


class BuildEvent(StrEnum):
    """An event that changes the status of a build."""

    CLAIMED = "claimed"
    CANCEL_ASKED = "cancel_asked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    # The worker stops in good order before the build is over: somebody else may run it.
    RELEASED = "released"


ENDED: Final = frozenset({BuildStatus.SUCCEEDED, BuildStatus.FAILED, BuildStatus.CANCELED})

TABLE: Final[Mapping[tuple[BuildStatus, BuildEvent], BuildStatus]] = {
    (BuildStatus.PENDING, BuildEvent.CLAIMED): BuildStatus.RUNNING,
    (BuildStatus.PENDING, BuildEvent.CANCEL_ASKED): BuildStatus.CANCELED,
    (BuildStatus.RUNNING, BuildEvent.CANCEL_ASKED): BuildStatus.CANCELING,
    (BuildStatus.RUNNING, BuildEvent.SUCCEEDED): BuildStatus.SUCCEEDED,
    (BuildStatus.RUNNING, BuildEvent.FAILED): BuildStatus.FAILED,
    (BuildStatus.RUNNING, BuildEvent.CANCELED): BuildStatus.CANCELED,
    (BuildStatus.RUNNING, BuildEvent.RELEASED): BuildStatus.PENDING,
    (BuildStatus.CANCELING, BuildEvent.CANCEL_ASKED): BuildStatus.CANCELING,
    (BuildStatus.CANCELING, BuildEvent.SUCCEEDED): BuildStatus.SUCCEEDED,
    (BuildStatus.CANCELING, BuildEvent.FAILED): BuildStatus.FAILED,
    (BuildStatus.CANCELING, BuildEvent.CANCELED): BuildStatus.CANCELED,
    (BuildStatus.CANCELING, BuildEvent.RELEASED): BuildStatus.CANCELED,
}


def next_status(status: str, event: BuildEvent) -> BuildStatus:
    """The status after `event`. Raises ConflictError("build_not_active")."""
    after = TABLE.get((BuildStatus(status), event))
    if after is None:
        raise ConflictError(
            "build_not_active",
            f"the build is {status} already",
            hint="kled builds WORKSPACE lists all",
        )
    return after
