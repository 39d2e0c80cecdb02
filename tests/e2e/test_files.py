"""Real scp, sftp, rsync and git to a workspace and back."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.kit.site import Site
from tests.kit.trees import NAMES, describe, make_tree

LARGE = os.environ.get("KLED_TEST_LARGE") == "1"
LARGE_BYTES = 5_000_000_000 if LARGE else 300_000_000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path / "tree")
    return tmp_path / "tree"


def options(site: Site) -> list[str]:
    return ["-q", "-F", str(site.ssh_config), "-o", "ControlPath=none"]


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "rcp"])
def test_scp_copies_a_tree_both_ways(site: Site, tree: Path, protocol: list[str]) -> None:
    there, back = tree.parent / "there", tree.parent / "back"
    # scp follows links, and the rcp protocol has no way to say a name with a line break.
    for path in tree.rglob("*"):
        if path.is_symlink():
            path.unlink()
    for path in tree.glob("*\n*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    site.run("scp", *options(site), *protocol, "-rp", tree, f"dev.kled:{there}")
    site.run("scp", *options(site), *protocol, "-rp", f"dev.kled:{there}", back)
    assert describe(there, links=False) == describe(tree, links=False)
    assert describe(back, links=False) == describe(tree, links=False)


def test_sftp_runs_a_batch(site: Site, host: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("content")
    lines = [
        f"mkdir {tmp_path}/made",
        f"cd {tmp_path}/made",
        f'put {tmp_path}/in "a b"',
        'chmod 640 "a b"',
        'rename "a b" c',
        "ln -s c d",
        "ls -l",
        f"get c {tmp_path}/out",
        "-rm missing",
        "pwd",
    ]
    (tmp_path / "batch").write_text("\n".join(lines) + "\n")
    done = site.run("sftp", *options(site), "-b", tmp_path / "batch", host)
    assert (tmp_path / "out").read_text() == "content"
    assert (tmp_path / "made/c").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "made/d").readlink() == Path("c")
    assert f"Remote working directory: {tmp_path}/made" in done.stdout
    (tmp_path / "batch").write_text("get /no/such/file x\nput /etc/hostname /tmp/never\n")
    failed = site.run("sftp", *options(site), "-b", tmp_path / "batch", host, check=False)
    assert failed.returncode == 1


def test_rsync_keeps_a_tree_both_ways(site: Site, tree: Path) -> None:
    there, back = tree.parent / "there", tree.parent / "back"
    words = ["rsync", "-aH", "--delete", "-e", " ".join(site.ssh_words())]
    site.run(*words, f"{tree}/", f"dev.kled:{there}/")
    assert describe(there) == describe(tree)
    (there / "plain").write_text("changed there")
    (there / "new\nline").unlink()
    site.run(*words, f"dev.kled:{there}/", f"{back}/")
    assert describe(back) == describe(there)
    unchanged = site.run(*words, "--itemize-changes", f"{there}/", f"dev.kled:{back}/")
    assert unchanged.stdout == ""


def test_git_clones_and_pushes_over_ssh(site: Site, tmp_path: Path) -> None:
    env = {"GIT_SSH_COMMAND": " ".join(site.ssh_words()), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    bare, clone = tmp_path / "repo.git", tmp_path / "clone"
    # Inside, the repository belongs to the agent's user, whose git knows of no exception.
    site.ssh("dev.kled", f"git init -q --bare -b main {bare}")
    site.run("git", "clone", "-q", f"dev.kled:{bare}", clone, env=env)
    (clone / "file").write_text("x" * 100_000)
    site.run("git", "-C", clone, "add", ".")
    site.run("git", "-C", clone, *who, "commit", "-qm", "one")
    site.run("git", "-C", clone, "push", "-q", "origin", "HEAD:main", env=env)
    site.run("git", "clone", "-q", f"ssh://dev.kled{bare}", tmp_path / "second", env=env)
    assert (tmp_path / "second/file").read_text() == "x" * 100_000


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.timeout(900)
def test_a_large_file_arrives_whole(site: Site, host: str, tmp_path: Path) -> None:
    """300 MB, or 5 GB with KLED_TEST_LARGE=1."""
    original, there, back = (tmp_path / name for name in ("original", "there", "back"))
    try:
        with original.open("wb") as file:
            block = os.urandom(1 << 20)
            for number in range(LARGE_BYTES >> 20):
                file.write(number.to_bytes(8, "big") + block[8:])
        (tmp_path / "batch").write_text(f"put {original} {there}\nget {there} {back}\n")
        site.run("sftp", *options(site), "-b", tmp_path / "batch", host, timeout=800)
        assert digest(original) == digest(there) == digest(back)
    finally:
        for path in (original, there, back):
            path.unlink(missing_ok=True)


def test_kled_cp_copies_both_ways(site: Site, tmp_path: Path) -> None:
    """All but a backslash in a name, which asyncssh refuses in a directory's copy (2.24)."""
    tree, there, back = (tmp_path / name for name in ("tree", "there", "back"))
    make_tree(tree, names=tuple(name for name in NAMES if "\\" not in name))
    for path in tree.rglob("*"):
        if path.is_symlink():
            path.unlink()
    site.kled("cp", "-r", tree, f"dev:{there}")
    site.kled("cp", "-r", f"dev:{there}", back)
    assert describe(there, links=False) == describe(tree, links=False)
    assert describe(back, links=False) == describe(tree, links=False)


def test_kled_cp_says_which_file_is_missing(site: Site, tmp_path: Path) -> None:
    done = site.kled("cp", "dev:/no/such/file", tmp_path / "x", check=False)
    assert done.returncode == 4
    assert "/no/such/file" in done.stderr
