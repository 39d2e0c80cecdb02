"""Units that wait for each other, and the `coder` command that scripts say it by."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.scripts.units import Units

NAMES = st.sampled_from("abcde")


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=3)), max_size=12))
def test_whatever_is_wanted_all_can_start_in_some_order(wants: list[tuple[str, list[str]]]) -> None:
    units = Units()
    for name, others in wants:
        with contextlib.suppress(ValueError):  # a circle
            units.want(name, others)
    units = Units(json.loads(json.dumps(units.to_plain())))
    left = set("abcde")
    while left:
        ready = {name for name in left if not units.waits_for(name)}
        assert ready
        for name in ready:
            units.start(name)
            units.complete(name)
        left -= ready


def test_what_never_started_does_not_complete_and_what_has_wants_no_more() -> None:
    units = Units()
    with pytest.raises(ValueError, match="a has not started"):
        units.complete("a")
    units.start("a")
    with pytest.raises(ValueError, match="a has started already"):
        units.want("a", ["b"])


def coder(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "kled_agent", "coder", str(directory), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.slow
def test_the_command_says_it_to_other_scripts(tmp_path: Path) -> None:
    assert coder(tmp_path, "exp", "sync", "ping").stdout == "Success\n"
    assert coder(tmp_path, "exp", "sync", "want", "app", "clone").returncode == 0
    status = json.loads(coder(tmp_path, "exp", "sync", "status", "app").stdout)
    assert status == {"unit": "app", "status": "pending", "ready": False, "waits_for": ["clone"]}
    argv = [
        sys.executable,
        "-m",
        "kled_agent",
        "coder",
        str(tmp_path),
        "exp",
        "sync",
        "start",
        "app",
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "app waits for clone\n"
        assert coder(tmp_path, "exp", "sync", "start", "clone").returncode == 0
        assert coder(tmp_path, "exp", "sync", "complete", "clone").returncode == 0
        assert waiting.wait(20) == 0
    refused = coder(tmp_path, "exp", "sync", "want", "clone", "app")
    assert (refused.returncode, refused.stderr) == (1, "coder: clone has completed already\n")


def test_anything_else_is_one_sentence(tmp_path: Path) -> None:
    done = coder(tmp_path, "ssh", "dev")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "coder: in a Kled workspace it does stat, dotfiles and exp sync, not ssh dev\n"
    )


def test_dotfiles_are_linked_and_what_was_there_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, repository = tmp_path / "home", tmp_path / "repository"
    home.mkdir()
    repository.mkdir()
    (home / ".vimrc").write_text("old")
    (repository / ".vimrc").write_text("new")
    git: list[str | Path] = ["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("HOME", str(home))
    for _ in range(2):  # the second time it pulls
        done = coder(tmp_path, "dotfiles", "-y", str(repository))
        assert done.returncode == 0, done.stderr
    assert (home / ".vimrc").read_text() == "new"
    assert (home / ".vimrc.bak").read_text() == "old"
    assert coder(tmp_path, "dotfiles", "-y", str(tmp_path / "none")).returncode in {0, 1}
