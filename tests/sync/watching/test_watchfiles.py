"""A sync of two folders that watchfiles tells of, as on systems other than Linux.

It is no part of an installation here, so it is installed for this test alone, where that can be.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.reporting import Choose
from kled_sync.watching.choice import open_watcher
from tests.kit.endpoints import content, kept_same

pytestmark = pytest.mark.slow


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    if subprocess.run([*pip, "watchfiles>=1,<2"], capture_output=True, check=False).returncode:
        pytest.skip("watchfiles cannot be installed")
    monkeypatch.syspath_prepend(target)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "watchfiles"]:
        del sys.modules[name]


def no_inotify() -> Any:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.mark.usefixtures("installed")
async def test_what_watchfiles_tells_comes_over_and_a_burst_is_whole(tmp_path: Path) -> None:
    alpha, beta = tmp_path / "alpha", tmp_path / "beta"
    (alpha / "sub").mkdir(parents=True)
    (alpha / "sub" / "there").write_text("1")
    by_hints = partial(open_watcher, inotify=no_inotify)
    watchers: dict[SyncSide, Choose] = dict.fromkeys(SyncSide, by_hints)

    async def wait_there(path: Path, text: str) -> None:
        with trio.fail_after(25):  # before a sweep, which would find it too
            while not (path.exists() and path.read_text() == text):
                await trio.sleep(0.01)

    async with kept_same(tmp_path, alpha, beta, watchers=watchers) as sync:
        await sync.flush()
        for state in sync.sides.values():
            assert state.watching is not None
            assert state.watching.how == "hints"
        (alpha / "sub" / "there").write_text("saved")
        await wait_there(beta / "sub" / "there", "saved")
        (beta / "sub" / "there").write_text("saved again")
        await wait_there(alpha / "sub" / "there", "saved again")
        for folder in range(20):
            (alpha / "burst" / str(folder)).mkdir(parents=True)
            for number in range(50):
                (alpha / "burst" / str(folder) / str(number)).write_text(f"{folder} {number}")
        await sync.flush()
        assert content(beta) == content(alpha)
        (alpha / "burst").rename(alpha / "moved")
        await sync.flush()
        assert content(beta) == content(alpha)
