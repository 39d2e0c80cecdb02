"""A filesystem that takes watches and tells of nothing: it is found, and the status says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.session.sides.sweeping import is_watched, sweep_s
from kled_sync.watching.choice import Choice, open_watcher
from kled_sync.watching.inotify import Inotify
from kled_sync.watching.probing import raises_events
from tests.kit.endpoints import content, kept_same


class Deaf(Inotify):
    """As on a filesystem that raises no events."""

    def add(self, path: bytes, directory: int) -> None:
        pass


@pytest.mark.parametrize(("kind", "raises"), [(Inotify, True), (Deaf, False)])
def test_whether_events_come_is_found_out(
    tmp_path: Path, kind: type[Inotify], raises: bool
) -> None:
    watcher, descriptor = kind(), os.open(tmp_path, os.O_RDONLY)
    assert raises_events(watcher, descriptor) is raises
    os.close(descriptor)
    watcher.close()
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_made_nothing_is_said(tmp_path: Path) -> None:
    watcher, descriptor = Deaf(), os.open(tmp_path, os.O_RDONLY)
    tmp_path.rmdir()
    assert raises_events(watcher, descriptor)
    os.close(descriptor)
    watcher.close()


async def test_a_side_without_events_is_swept_and_its_status_names_the_remedy(
    tmp_path: Path,
) -> None:
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    alpha.mkdir()

    def choose(root: bytes) -> Choice:
        return open_watcher(root, inotify=Deaf)

    async with kept_same(tmp_path, alpha, beta, watchers={SyncSide.ALPHA: choose}) as sync:
        deaf, other = sync.sides[SyncSide.ALPHA], sync.sides[SyncSide.BETA]
        assert deaf.watching is not None
        assert (
            "raise no events here, and are seen at the next sweep. Remedy:" in deaf.watching.words
        )
        assert not is_watched(deaf)
        assert sweep_s(deaf) < sweep_s(other)
        assert is_watched(other)
        (alpha / "saved").write_text("1")
        await sync.flush()
        assert content(beta) == content(alpha)
