"""The action for one path, from its state on both sides and the mode. No I/O.

Alpha is the side that a person starts from: of a push it is the laptop, of a pull the workspace.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Mode(Enum):
    """In which direction changes go, and which side wins a conflict."""

    TWO_WAY_SAFE = "two-way-safe"
    TWO_WAY_RESOLVED = "two-way-resolved"  # alpha wins
    ONE_WAY_SAFE = "one-way-safe"
    ONE_WAY_REPLICA = "one-way-replica"
    COPY = "copy"  # once: what alpha has is brought over, nothing is deleted


class SyncSide(Enum):
    """One end of a sync."""

    ALPHA = "alpha"
    BETA = "beta"

    @property
    def other(self) -> SyncSide:
        return SyncSide.BETA if self is SyncSide.ALPHA else SyncSide.ALPHA


class Verdict(Enum):
    """What becomes of one path. `TO_BETA`: beta gets what alpha has, be it nothing."""

    SAME = "same"
    TO_BETA = "to_beta"
    TO_ALPHA = "to_alpha"
    LEAVE = "leave"
    CONFLICT = "conflict"


TWO_WAY: Final = frozenset({Mode.TWO_WAY_SAFE, Mode.TWO_WAY_RESOLVED})


def decide(mode: Mode, alpha: bytes, beta: bytes, agreed: bytes) -> Verdict:
    """From the essence of each (`entry.essence`; empty where nothing is)."""
    if alpha == beta:
        return Verdict.SAME
    if mode is Mode.ONE_WAY_REPLICA:
        return Verdict.TO_BETA
    if mode is Mode.COPY:
        return Verdict.TO_BETA if alpha else Verdict.LEAVE
    if mode is Mode.ONE_WAY_SAFE:
        return _one_way_safe(alpha, beta, agreed)
    return _two_way(mode, alpha, beta, agreed)


def _one_way_safe(alpha: bytes, beta: bytes, agreed: bytes) -> Verdict:
    if not alpha:
        return Verdict.TO_BETA if beta == agreed else Verdict.LEAVE
    return Verdict.TO_BETA if not beta or beta == agreed else Verdict.CONFLICT


def _two_way(mode: Mode, alpha: bytes, beta: bytes, agreed: bytes) -> Verdict:
    """An edit beats a deletion, whichever side it is on."""
    if beta == agreed:
        return Verdict.TO_BETA
    if alpha == agreed or not alpha:
        return Verdict.TO_ALPHA
    if not beta or mode is Mode.TWO_WAY_RESOLVED:
        return Verdict.TO_BETA
    return Verdict.CONFLICT
