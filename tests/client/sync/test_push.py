"""What `kled sync push` prints, between two places of this machine."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client.conftest import Kled


def test_a_single_source_has_its_name_in_what_is_printed(kled: Kled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    (tmp_path / "to" / "file" / "inner").mkdir(parents=True)
    done = kled("sync", "push", str(tmp_path / "file"), str(tmp_path / "to"))
    reason = "a directory that is not empty is in its place"
    lines = [f"{tmp_path}/file: {reason}", "error: 1 path could not be copied"]
    assert (done.returncode, done.stderr.decode().splitlines()) == (1, lines)
    done = kled("sync", "push", "-n", "-i", str(tmp_path / "file"), str(tmp_path / "new"))
    assert done.stdout == b">f+++++++++ file\n"


def test_a_program_reads_what_was_left_out_and_what_failed(kled: Kled, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (target / "a" / "inner").mkdir(parents=True)
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text("12")
    os.mkfifo(source / "fifo")
    done = kled("sync", "push", "-o", "json", f"{source}/", str(target))
    *events, total = map(json.loads, done.stdout.splitlines())
    assert events == [
        {"event": "left_out", "path": "fifo", "reason": "a FIFO is not copied"},
        {
            "event": "problem", "path": "a",
            "reason": "a directory that is not empty is in its place",
        },
    ]  # fmt: skip
    counted = {name: total[name] for name in ("event", "files", "changes", "bytes")}
    assert counted == {"event": "done", "files": 1, "changes": 2, "bytes": 2}
    assert json.loads(done.stderr)["error"]["code"] == "sync_incomplete"


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("options", [("-a",), ("-aH", "--delete")])
@pytest.mark.parametrize("slash", ["", "/", "/."])
def test_changes_are_listed_by_the_names_that_rsync_has(
    kled: Kled, tmp_path: Path, slash: str, options: tuple[str, ...]
) -> None:
    source, target = tmp_path / "dir", tmp_path / "to"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("1")
    os.link(source / "a", source / "sub" / "b")
    (source / "sub" / "link").symlink_to("b")
    there = target if slash else target / "dir"
    there.mkdir(parents=True)
    (there / "old").mkdir()
    (there / "a").write_text("2")
    for path in (there / "a", there):
        os.utime(path, (1, 1))
    words = (f"{source}{slash}", str(target))
    ours = [word for word in options if word.startswith("--")]
    ours += ["-H"] if "H" in options[0] else []
    done = kled("sync", "push", "-n", "-i", *ours, *words)
    listed = subprocess.run(
        ["rsync", "-n", "-i", *options, *words], capture_output=True, check=True, text=True
    ).stdout
    assert sorted(done.stdout.decode().splitlines()) == sorted(listed.splitlines())


def asked(answer: bytes, *words: str, env: dict[str, str]) -> tuple[int, str]:
    """The exit code and all that a terminal shows of `kled sync`, which asks one question."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "kled_client", "sync", *words]
    with subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said, has_answered = b"", False
        with suppress(OSError):  # EIO when nobody has the terminal any more
            while data := os.read(ours, 4096):
                said += data
                if b"[y/N]: " in said and not has_answered:
                    has_answered = True
                    os.write(ours, answer)
        process.wait()
    os.close(ours)
    return process.returncode, said.decode()


def test_a_person_is_asked_before_much_is_deleted(tmp_path: Path) -> None:
    """And no bar is drawn over the question."""
    source, target = tmp_path / "source", tmp_path / "target"
    for root, count in ((source, 1), (target, 150)):
        root.mkdir()
        for number in range(count):
            (root / str(number)).touch()
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm"}
    push = ("push", "--delete", f"{source}/", str(target))
    code, said = asked(b"n\n", *push, env=env)
    assert (code, len(list(target.iterdir()))) == (1, 150)
    assert "files in the destination would be deleted. Go on? [y/N]: n" in said
    assert "nothing was copied or deleted" in said
    code, _ = asked(b"y\n", *push, env=env)
    assert (code, len(list(target.iterdir()))) == (0, 1)
