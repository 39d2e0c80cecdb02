"""More events than the kernel keeps: everything is looked at, and the status says so."""

from __future__ import annotations

import os
from pathlib import Path

from kled_sync.decide.modes import SyncSide
from kled_sync.watching.choice import Choice
from kled_sync.watching.inotify import Inotify
from tests.kit.endpoints import content, kept_same


def burst(directory: Path) -> None:
    """Of events that are not those before once more, which the kernel counts as one."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    one, other = directory / "one", directory / "other"
    for _ in range(limit // 2 + 10):
        one.touch()
        other.touch()


def test_a_full_queue_is_counted_and_means_everything(tmp_path: Path) -> None:
    watches = Inotify()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    watches.add(b"", descriptor)
    os.close(descriptor)
    burst(tmp_path)
    assert watches.take()[1]
    assert watches.overflows == 1
    (tmp_path / "one").touch()
    assert watches.take() == ({b""}, False)
    watches.close()


class Overflowing(Inotify):
    """Loses what it should tell of once."""

    def __init__(self, lost: Path) -> None:
        super().__init__()
        self._lost = lost

    def take(self) -> tuple[set[bytes], bool]:
        dirty, everything = super().take()
        if dirty and self._lost.exists() and not self.overflows and self._lost.name:
            self._lost = Path()
            self.overflows = 1
            return set(), True
        return dirty, everything


async def test_what_was_lost_comes_over_and_the_status_names_the_remedy(
    tmp_path: Path,
) -> None:
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    alpha.mkdir()

    def choose(_root: bytes) -> Choice:
        return Overflowing(alpha / "lost"), "inotify", ""

    async with kept_same(tmp_path, alpha, beta, watchers={SyncSide.ALPHA: choose}) as sync:
        await sync.flush()
        (alpha / "lost").write_text("1")
        for _ in range(2):
            await sync.flush()
        assert content(beta) == content(alpha)
        watching = sync.sides[SyncSide.ALPHA].watching
        assert watching is not None
        assert (watching.how, watching.words) == ("inotify", "")
        assert "1 time; everything was looked at then. Remedy: sysctl" in watching.overflow
