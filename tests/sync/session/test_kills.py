"""Processes killed at no chosen moment: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.soak import soak

pytestmark = pytest.mark.slow


@pytest.mark.timeout(240)
def test_nothing_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    assert soak(tmp_path, seed=20, kills=20, edits=12) >= 20


DIRECTORIES, FILES = 100, 40


@pytest.mark.timeout(120)
def test_a_new_directory_is_there_with_all_that_is_in_it_or_not_at_all(tmp_path: Path) -> None:
    """All processes of a first copy are killed when some of it has come; then it is done again."""
    source, target = tmp_path / "source", tmp_path / "target"
    for number in range(DIRECTORIES):
        directory = source / f"d{number}" / "in"
        directory.mkdir(parents=True)
        for name in range(FILES):
            (directory / str(name)).write_text(f"{number} {name}\n" * 50)
    command = [sys.executable, "-m", "kled_client", "sync", "push", f"{source}/", str(target)]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    process = subprocess.Popen(command, env=env, start_new_session=True)
    while not list(target.glob("*")) and process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.001)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for directory in target.glob("*/in"):
        assert len(list(directory.iterdir())) == FILES
    subprocess.run(command, env=env, check=True, capture_output=True)
    assert _contents(target) == _contents(source)
    left = [path for path in tmp_path.rglob("*") if ".kled-sync" in path.parts and path.is_file()]
    assert [path.name for path in left] == [".gitignore"]


def _contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
