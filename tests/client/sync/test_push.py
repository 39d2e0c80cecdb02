"""What `kled sync push` prints, between two places of this machine."""

from __future__ import annotations

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
