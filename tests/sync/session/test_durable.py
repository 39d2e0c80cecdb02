"""What is made durable, and when: before a name leads to a file, and before that is agreed on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kled_sync.endpoint import placing_job
from kled_sync.files.options import Options
from kled_sync.files.system import sync_filesystem
from tests.kit.endpoints import kept_same


@pytest.mark.parametrize("files", [3, 20])
@pytest.mark.parametrize("policy", ["batch", "file", "none"])
async def test_each_policy_makes_durable_what_it_says(
    tmp_path: Path,
    alpha: Path,
    beta: Path,
    policy: str,
    files: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of many by one call for the filesystem, a few by one for each."""
    # What was asked for, and how many of the new files had their names then.
    calls: list[tuple[str, int]] = []
    fsync, syncfs = os.fsync, sync_filesystem

    def there() -> int:
        return len(list(beta.glob("new*")))

    def note_file(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if ".kled-sync" in path.parts:
            calls.append(("file", there()))
        elif beta in (path, path.parent):
            calls.append(("directory", there()))
        fsync(descriptor)

    def note_filesystem(descriptor: int) -> None:
        calls.append(("filesystem", there()))
        syncfs(descriptor)

    options = Options(durable=policy)
    async with kept_same(tmp_path, alpha, beta, options=options) as sync:
        await sync.flush()
    for number in range(files):
        (alpha / f"new{number}").write_text(f"{number}")
    monkeypatch.setattr(os, "fsync", note_file)
    monkeypatch.setattr(placing_job, "sync_filesystem", note_filesystem)
    async with kept_same(tmp_path, alpha, beta, options=options) as sync:
        await sync.flush()
        assert there() == files
    wanted = {
        "none": [],
        "batch": [("filesystem", 0), ("filesystem", files)],
        "file": [("file", 0)] * files + [("directory", files)],
    }
    assert calls == wanted["file" if policy == "batch" and files < 8 else policy]
