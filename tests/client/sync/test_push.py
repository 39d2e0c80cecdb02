"""What `kled sync push` prints, between two places of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
