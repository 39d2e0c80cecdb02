"""Watches for changes below the root, and tells the session that there are some."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.thread_queues import BlockSender
from kled_sync.watching.choice import Choice, Watcher
from kled_sync.watching.fanotify import open_fanotify
from kled_sync.watching.inotify import limit_words, overflow_words
from kled_sync.watching.probing import raises_events, silent_words
from kled_sync.wire import messages

# A save is several events; a longer series is reported while it goes on.
QUIET_S: Final = 0.008
_TELL_S: Final = 0.04
Choose = Callable[[bytes], Choice]


class ChangeReporter:
    """Has the watcher of a root, and sends `Dirty`. Only the working thread may use it."""

    def __init__(self, out: BlockSender, choose: Choose) -> None:
        self._out, self._choose = out, choose
        self._holding: HeldRoot | None = None
        self._watch: Watcher | None = None
        self._how, self._words = "sweeps", ""
        self._overflows = 0
        self._event_at: float | None = None
        self._told_at: float | None = None

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()

    @property
    def descriptor(self) -> int | None:
        """Readable when there are events; None where nothing is watched by events."""
        return None if self._watch is None else self._watch.descriptor

    @property
    def is_due(self) -> bool:
        """Whether `Dirty` is to be said `QUIET_S` from now at the latest."""
        return self._event_at is not None

    def start(self, holding: HeldRoot, request: int) -> None:
        """Watch from now on, and answer `Watch`."""
        self._holding = holding
        watch, self._how, self._words = self._choose(holding.root.path)
        if watch is not None:
            self._use_watcher(holding, watch)
        if self._how == "inotify" and not self._words and not self._raises_events(holding):
            self._words = silent_words(holding.root.path)
        self._say(request)

    def _raises_events(self, holding: HeldRoot) -> bool:
        directory = holding.probe_directory()
        probe, how, _ = self._choose(holding.root.path)
        if probe is None:
            return True
        try:
            return directory is None or how != self._how or raises_events(probe, directory)
        finally:
            probe.close()

    def _say(self, request: int) -> None:
        overflow = overflow_words(self._overflows) if self._overflows else ""
        self._out.send(
            messages.Watching(request=request, how=self._how, words=self._words, overflow=overflow)
        )

    def report_unwatched(self) -> None:
        """Say where inotify was at its limit, and watch without a limit where that can be."""
        holding, watch = self._holding, self._watch
        if holding is None or watch is None or not watch.unwatched:
            return
        self._words = limit_words(watch.unwatched)
        watch.unwatched = 0
        unlimited = open_fanotify(holding.root.path)
        if unlimited is not None:
            watch.close()
            self._use_watcher(holding, unlimited)
            self._event_at = self._told_at = time.monotonic()
            self._how, self._words = "fanotify", ""
        self._say(0)

    def _use_watcher(self, holding: HeldRoot, watch: Watcher) -> None:
        """Use `watch` from now on; every directory is scanned again, so that `watch` knows it."""
        self._watch = watch
        holding.scanner.watch = holding.context.placer.watch = watch.add
        holding.memory.all_dirty = True

    def settle(self) -> None:
        """Mark what events name before a scan, which makes a `Dirty` for it needless."""
        self._event_at = self._told_at = None
        self._collect()

    def report_dirty(self) -> None:
        """Send `Dirty` soon if the endpoint itself has marked something to scan again."""
        if self._watch is not None and self._holding is not None and self._holding.memory.dirty:
            self._event_at = self._told_at = time.monotonic()

    def look(self) -> None:
        """Mark what events name; say `Dirty` after a quiet moment, or while they go on."""
        if self._watch is None or self._holding is None:
            return
        now = time.monotonic()
        if self._collect():
            self._event_at = now
            if self._told_at is None:
                self._told_at = now
        if self._event_at is None or self._told_at is None:
            return
        if now - self._event_at >= QUIET_S or now - self._told_at >= _TELL_S:
            self._event_at = self._told_at = None
            self._out.send(messages.Dirty(everywhere=self._holding.memory.all_dirty))

    def _collect(self) -> bool:
        """Mark what events name; whether there were any."""
        if self._watch is None or self._holding is None:
            return False
        dirty, everything = self._watch.take()
        memory = self._holding.memory
        memory.dirty |= dirty
        memory.all_dirty = memory.all_dirty or everything
        if self._watch.overflows and self._holding.options.tells_overflow:
            self._overflows += self._watch.overflows
            self._watch.overflows = 0
            self._say(0)
        return bool(dirty) or everything
