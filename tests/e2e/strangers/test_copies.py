"""git with 100 MB, and rsync with the flags that ask most of what carries it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.strangers.conftest import Entrance
from tests.kit.programs import need
from tests.kit.trees import describe, make_tree

GIT_BYTES = 100_000_000


def test_git_pushes_and_clones_100_megabytes(entrance: Entrance, tmp_path: Path) -> None:
    ours, cloned, bare = tmp_path / "ours", tmp_path / "cloned", entrance.folder / "bare"
    # What cannot be compressed; both ends need not try.
    config = ("-c", "core.compression=0", "-c", "user.name=me", "-c", "user.email=me@example.org")
    env = {"GIT_SSH_COMMAND": entrance.ssh, "GIT_CONFIG_GLOBAL": os.devnull}

    def git(*words: str | Path) -> str:
        return entrance.site.run(need("git"), *config, *words, env=env).stdout

    git("init", "-q", "--bare", "-b", "main", bare)
    git("init", "-q", "-b", "main", ours)
    with (ours / "large").open("wb") as file:
        for _ in range(10):
            file.write(os.urandom(GIT_BYTES // 10))
    git("-C", ours, "add", "large")
    git("-C", ours, "commit", "-q", "-m", "large")
    git("-C", ours, "push", "-q", f"ssh://dev.kled{bare}", "main")
    git("clone", "-q", f"ssh://dev.kled{bare}", cloned)
    assert git("-C", bare, "rev-parse", "main") == git("-C", cloned, "rev-parse", "HEAD")
    subprocess.run(["cmp", ours / "large", cloned / "large"], check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with everything that copies get wrong, and an extended attribute."""
    made = tmp_path / "tree"
    make_tree(made)
    os.setxattr(made / "script", "user.kled", b"kept")
    return made


def rsync(entrance: Entrance, *words: str | Path) -> None:
    entrance.site.run(need("rsync"), "-e", entrance.ssh, *words)


def test_rsync_keeps_everything_both_ways(entrance: Entrance, tree: Path) -> None:
    words, there = ("-aHAX", "--delete", "--inplace", "--partial"), entrance.folder / "tree"
    rsync(entrance, *words, f"{tree}/", f"dev.kled:{there}/")
    assert describe(there) == describe(tree)
    assert os.getxattr(there / "script", "user.kled") == b"kept"
    # The second time there is something to change in place, and something to delete.
    (tree / "plain").write_bytes(b"changed")
    (tree / "with space").unlink()
    (there / "stale").write_text("goes")
    rsync(entrance, *words, f"{tree}/", f"dev.kled:{there}/")
    back = tree.parent / "back"
    rsync(entrance, *words, f"dev.kled:{there}/", f"{back}/")
    assert describe(there) == describe(tree) == describe(back)


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
def test_rsync_appends_to_what_it_has_verified(entrance: Entrance, damaged: bool) -> None:
    there = entrance.folder / "blob"
    begun = bytearray(entrance.blob.read_bytes()[:2_000_000])
    if damaged:
        begun[1000] ^= 1
    there.write_bytes(begun)
    rsync(entrance, "-a", "--append-verify", entrance.blob, f"dev.kled:{there}")
    assert there.read_bytes() == entrance.blob.read_bytes()
