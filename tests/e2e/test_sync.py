"""`kled sync` with the real programs: a workspace, and any host with `kled` and an SSH server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.kit.endpoints import content
from tests.kit.site import Site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "proj"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("hello")
    (root / "sub" / "b").write_bytes(os.urandom(2_000_000))
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    return root


def test_push_and_pull_bring_a_folder_to_a_workspace_and_back(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    site.kled("sync", "push", folder, "dev:sync-test")
    assert site.kled("exec", "dev", "--", "sync-test/proj/run.sh").stdout == "ran\n"
    site.kled("sync", "pull", "dev:sync-test/proj/", tmp_path / "back")
    assert content(tmp_path / "back") == content(folder)
    (folder / "a.txt").unlink()
    (folder / "new").write_text("1")
    said = site.kled("sync", "push", "--delete", "-i", f"{folder}/", "dev:sync-test/proj")
    assert said.stdout.splitlines() == ["*deleting   a.txt", ">f+++++++++ new"]
    events = site.kled("sync", "push", "-n", "-o", "json", folder / "run.sh", "dev:sync-test/")
    assert [json.loads(line)["path"] for line in events.stdout.splitlines()] == [""]
    assert "run.sh" not in site.kled("exec", "dev", "--", "ls", "sync-test").stdout
    names = site.kled("exec", "dev", "--", "ls", "-a", "sync-test").stdout.split()
    assert set(names) == {".", "..", ".kled-sync", "proj"}


def test_many_deletions_want_a_yes(site: Site, folder: Path) -> None:
    for number in range(120):
        (folder / str(number)).touch()
    site.kled("sync", "push", f"{folder}/", "dev:many")
    for number in range(120):
        (folder / str(number)).unlink()
    refused = site.kled("sync", "push", "--delete", f"{folder}/", "dev:many", check=False)
    assert refused.returncode == 2
    assert "120 of 126 files in the destination would be deleted" in refused.stderr
    site.kled("sync", "push", "--delete", "--max-delete", "120", f"{folder}/", "dev:many")
    assert "119" not in site.kled("exec", "dev", "--", "ls", "many").stdout.split()
