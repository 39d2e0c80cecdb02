"""Chooses the part of the kept output from which a screen is drawn. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kled_wire.screenmodes import ScreenModes

# The output that is replayed for the main and the alternate screen: about half a second's work.
MAIN_BYTES: Final = 128 * 1024
ALTERNATE_BYTES: Final = 192 * 1024
Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """Which output to play: ranges of the main screen's, then of the alternate one's.

    `whole` says that the shown screen was cleared within them, so the picture is complete.
    """

    main: tuple[Range, ...]
    alternate: tuple[Range, ...]
    whole: bool


def plan_redraw(modes: ScreenModes, start: int, end: int) -> ReplayPlan:
    """Choose from what is kept, `start` to `end`."""
    main: list[Range] = []
    alternate: list[Range] = []
    main_left, alternate_left = MAIN_BYTES, ALTERNATE_BYTES if modes.alternate else 0
    upto = end
    # Before the oldest switch that is known the other screen was shown.
    oldest = (start, bool(modes.switches) and not modes.switches[0][1])
    for at, is_alternate in [*reversed(modes.switches), oldest]:
        begin = max(at, start)
        left = alternate_left if is_alternate else main_left
        if upto > begin and left > 0:
            (alternate if is_alternate else main).insert(0, (max(begin, upto - left), upto))
        if is_alternate:
            alternate_left = 0  # only the present one counts
        else:
            main_left -= upto - begin
        upto = begin
        if at <= start or main_left <= 0:
            break
    cleared = modes.cleared_at
    shown = alternate if modes.alternate else main
    begin = shown[0][0] if shown else 0
    whole = begin == 0 or (cleared is not None and cleared >= begin)
    if whole and cleared is not None and modes.alternate:
        alternate = [(max(alternate[0][0], min(cleared, alternate[0][1])), alternate[0][1])]
    return ReplayPlan(main=tuple(main), alternate=tuple(alternate), whole=whole)
