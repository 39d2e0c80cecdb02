"""`kled sync` with the real programs: a workspace, and any host with `kled` and an SSH server."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.kit.endpoints import content
from tests.kit.site import BIN, Site
from tests.kit.waiting import wait_until


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


def end_background(state: dict[str, str]) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.environ().get("XDG_STATE_HOME") == state["XDG_STATE_HOME"]
            if ours and "background" in process.cmdline():
                process.terminate()
                process.wait(10)


def far_ends(site: Site) -> list[psutil.Process]:
    return [
        process
        for process in site.agent("dev").children(recursive=True)
        if "kled_agent.ssh.subsystems.sync_server" in process.cmdline()
    ]


def test_push_and_pull_bring_a_folder_to_a_workspace_and_back(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    far = tmp_path / "there" / "far"
    site.kled("sync", "push", folder, f"dev:{far}")
    assert site.kled("exec", "dev", "--", f"{far}/proj/run.sh").stdout == "ran\n"
    site.kled("sync", "pull", f"dev:{far}/proj/", tmp_path / "back")
    assert content(tmp_path / "back") == content(folder)
    (folder / "a.txt").unlink()
    (folder / "new").write_text("1")
    said = site.kled("sync", "push", "--delete", "-i", f"{folder}/", f"dev:{far}/proj")
    lines = ["*deleting   a.txt", ".d..t...... ./", ">f+++++++++ new"]
    assert said.stdout.splitlines() == lines
    assert "copied 1 file, 1 byte, 2 other changes in " in said.stderr
    again = site.kled("sync", "push", "--delete", f"{folder}/", f"dev:{far}/proj")
    assert again.stderr == "nothing was copied: there was nothing to do\n"
    events = site.kled("sync", "push", "-n", "-o", "json", folder / "run.sh", f"dev:{far}/")
    assert [json.loads(line)["path"] for line in events.stdout.splitlines()] == [""]
    assert "run.sh" not in site.kled("exec", "dev", "--", "ls", str(far)).stdout
    names = site.kled("exec", "dev", "--", "ls", "-a", str(far)).stdout.split()
    assert set(names) == {".", "..", ".kled-sync", "proj"}
    # What the copy has deleted is kept there, and had by the folder's place.
    listed = json.loads(site.kled("sync", "history", f"dev:{far}/proj", "-o", "json").stdout)
    assert {(row["path"], row["what"]) for row in listed} >= {("a.txt", "deleted"), ("new", "made")}
    undone = site.kled("sync", "undo", f"dev:{far}/proj", "a.txt")
    assert undone.stdout == f"dev:{far}/proj: a.txt\n"
    assert (far / "proj" / "a.txt").exists()
    for there, name, code in (
        ("nowhere/proj", "a.txt", 4), ("proj/new/er", "a.txt", 2), ("proj", "new/er", 4),
    ):  # fmt: skip
        missed = site.kled("sync", "undo", f"dev:{far}/{there}", name, check=False)
        assert missed.returncode == code, missed
    assert not (far / "nowhere").exists()
    site.kled("sync", "undo", f"dev:{far}/proj", "--purge")
    assert not json.loads(site.kled("sync", "history", f"dev:{far}/proj", "-o", "json").stdout)


def test_many_deletions_want_a_yes(site: Site, folder: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    for number in range(120):
        (folder / str(number)).touch()
    site.kled("sync", "push", f"{folder}/", f"dev:{far}")
    for number in range(120):
        (folder / str(number)).unlink()
    refused = site.kled("sync", "push", "--delete", f"{folder}/", f"dev:{far}", check=False)
    assert refused.returncode == 2
    assert "120 of 126 files in the destination would be deleted" in refused.stderr
    site.kled("sync", "push", "--delete", "--max-delete", "120", f"{folder}/", f"dev:{far}")
    assert "119" not in site.kled("exec", "dev", "--", "ls", str(far)).stdout.split()


def test_a_folder_is_kept_the_same_with_a_workspace(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    site.kled("sync", "start", folder, f"dev:{far}", "--name", "kept", env=state)
    try:
        (folder / "question").write_text("6 7\n")
        line = f"read a b < {far}/question; echo $((a * b)) > {far}/answer"
        site.kled("exec", "--synced", "dev", "--", "sh", "-c", line, env=state)
        assert (folder / "answer").read_text() == "42\n"
        # The far end dies: it is begun again, and what was missed is found.
        (far_end,) = far_ends(site)
        far_end.kill()
        (folder / "question").unlink()
        site.kled("sync", "flush", "kept", env=state)
        assert "question" not in site.kled("exec", "dev", "--", "ls", str(far)).stdout
        status = json.loads(site.kled("sync", "status", "kept", "-o", "json", env=state).stdout)
        assert (status["state"], status["conflicts"]) == ("running", [])
        stopped = site.kled("sync", "stop", "kept", "-o", "json", env=state)
        assert json.loads(stopped.stdout) == {"name": "kept", "state": "stopped"}
        # It holds the folder as long as it lives.
        wait_until("the far end has ended", lambda: not far_ends(site))
        site.kled("sync", "start", folder, f"dev:{far}", "--name", "again", env=state)
        site.kled("sync", "flush", "again", env=state)
        assert far_ends(site)
    finally:
        end_background(state)
    wait_until("it ends with the background process", lambda: not far_ends(site))


def test_a_project_s_folder_is_kept_once_somebody_agreed(
    site: Site, folder: Path, tmp_path: Path
) -> None:
    far, state = tmp_path / "far", {"XDG_STATE_HOME": str(tmp_path / "state")}
    file = folder / ".kled.toml"
    file.write_text(f'workspace = "dev"\n[[sync]]\nremote = "{far}"\n')
    refused = site.kled("up", cwd=folder, env=state, check=False)
    assert (refused.returncode, far.exists()) == (2, False)
    assert f'remote = "{far}"' in refused.stderr
    assert "kled up --trust" in refused.stderr
    with site.running(BIN / "kled", "up", "--trust", cwd=folder, env=state) as up:
        try:
            wait_until("the folder is there", (far / "run.sh").exists)
            site.kled("sync", "flush", "proj", env=state)
            assert content(far) == content(folder)
            # One that changed is asked about again.
            file.write_text(file.read_text() + 'mode = "one-way-replica"\n')
            again = site.kled("up", cwd=folder, env=state, check=False)
            assert "has changed" in again.stderr
        finally:
            up.terminate()
            site.kled("sync", "stop", "proj", env=state)
            end_background(state)
