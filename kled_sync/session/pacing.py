"""How long a file that is written to all the time is left alone. No I/O.

A log or a database that a program writes to is another version a hundred times a second, and a
download of 5 GB is read as a whole for each version of it that is brought over. So a file is not
brought over again before as long has passed as is five times what that took, unless it has stayed
as it is for a second: no more than a sixth of the time goes on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from kled_sync.tree.entry import TreeEntry
from kled_sync.tree.paths import split

# What is read beside all else: reading a smaller one takes no longer than a few looks.
LARGE_BYTES: Final = 16 * 1024 * 1024
_STILL_S: Final = 1.0
_PAUSE_FACTOR: Final = 5.0
_PAUSE_MAX_S: Final = 60.0
_LOOK_PAUSE_S: Final = 0.03


@dataclass(slots=True)
class _Pass:
    """A file was read; it is left alone until `until`, or `_STILL_S` from `since` on.

    `found`: what it was then, with which something may be done; `seen`: what it was last.
    """

    until: float
    since: float
    found: TreeEntry | None
    seen: TreeEntry | None = None


class Pacing:
    """Files that were read, and those of them that wait; times are the clock's of the caller."""

    def __init__(self) -> None:
        self._passes: dict[bytes, _Pass] = {}
        self._waiting: dict[bytes, float] = {}
        self._forgot_at = -inf

    def passed(
        self, paths: Iterable[bytes], began: float, now: float, found: TreeEntry | None = None
    ) -> None:
        """They were copied, or one was only read: then it is `found`, which does not wait."""
        for old in [path for path, done in self._passes.items() if done.until <= now]:
            del self._passes[old]
        if began < self._forgot_at:
            return  # what was saved after it began is waited for
        until = now + min(_PAUSE_MAX_S, _PAUSE_FACTOR * (now - began))
        self._passes |= {path: _Pass(until, now, found) for path in paths}

    def waits(self, path: bytes, entry: TreeEntry | None, now: float) -> bool:
        """Whether `path`, which is `entry` now, is left alone."""
        done = self._passes.get(path)
        if done is None or entry is None or not entry.is_file or entry == done.found:
            return False
        if done.seen != entry:
            done.seen, done.since = entry, now
        at = min(done.until, done.since + _STILL_S)
        if now >= at:
            return False
        self._waiting[path] = at
        return True

    def next_s(self, now: float) -> float:
        """Seconds until one that waits need not any longer."""
        return max(0.0, min(self._waiting.values(), default=inf) - now)

    def pause_s(self, actions: int) -> float:
        """How long to wait before the next look, where the last one led to so many actions.

        Who writes to what waits causes one look after the other, for nothing.
        """
        return 0.0 if actions or not self._waiting else _LOOK_PAUSE_S

    def due(self, now: float) -> set[bytes]:
        """The directories of those that need not wait any longer; each is returned once."""
        paths = [path for path, at in self._waiting.items() if at <= now]
        for path in paths:
            del self._waiting[path]
        return {split(path)[0] for path in paths}

    def forget(self, now: float) -> set[bytes]:
        """Let nothing wait that is there now; the directories of what did wait."""
        self._forgot_at = now
        self._passes.clear()
        return self.due(inf)
