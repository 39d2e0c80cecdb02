"""The position and reason that are shown for a queued build. Pure."""

from __future__ import annotations


def tell_place(position: int, workers: int) -> str:
    """Why the build at `position` (from 1) waits, where so many builds run at once."""
    if workers == 0:
        return "this coordinator runs no builds: its setting workers is 0"
    at_once = "1 build runs" if workers == 1 else f"{workers} builds run"
    if position == 1:
        return f"it is next; {at_once} at once"
    before = "1 build is" if position == 2 else f"{position - 1} builds are"
    return f"{before} before it; {at_once} at once, of users with fewer first"
