"""Owners, special bits, extended attributes and hard links; rsync is the oracle."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kled_client.sync.copy import AS_RSYNC
from kled_client.sync.itemize import itemize
from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.session.once import OneSync, Plan, Result, Wish
from kled_sync.session.transfers.transfer import SyncMeter
from kled_wire.errors import UnavailableError
from tests.kit.acls import ACL
from tests.kit.endpoints import copy_once, two_peers

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="gives files to others, which root may")
WITH_RSYNC = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
EVERYTHING = AttributeWish(owner=True, group=True, special=True, xattrs=True, hard_links=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "deep").mkdir(parents=True)
    for name in ("a", "sub/b", "sub/run", "sub/deep/c"):
        (root / name).write_text(f"content of {name}")
    (root / "link").symlink_to("a")
    (root / "sub" / "run").chmod(0o755)
    os.setxattr(root / "a", "user.colour", b"blue")
    os.setxattr(root / "sub", "user.kind", b"\0binary\xff")
    (root / "twin").write_text("content of sub/b")
    os.link(root / "a", root / "sub" / "also-a")
    os.link(root / "a", root / "third-a")
    return settle(root, 10**9)


def settle(root: Path, second: int) -> Path:
    """Give what was changed just now another time: within one second rsync sees no difference."""
    for path in (root, *root.rglob("*")):
        if path.lstat().st_mtime > 1.1e9 or not path.is_file():
            os.utime(path, (second, second), follow_symlinks=False)
    return root


def give_away(root: Path) -> None:
    """What root alone may do."""
    os.chown(root / "sub" / "b", 1234, 2345)
    os.chown(root / "sub", 1234, 0)
    os.chown(root / "link", 4321, 1, follow_symlinks=False)
    os.chown(root / "sub" / "run", 1234, 50)
    (root / "sub" / "run").chmod(0o6755)
    (root / "sub" / "deep").chmod(0o3775)
    (root / "sub" / "deep" / "c").chmod(0o640)
    os.setxattr(root / "sub" / "deep" / "c", "system.posix_acl_access", ACL)
    os.setxattr(root / "sub" / "run", "security.kled", b"1")
    settle(root, 10**9)


def shape(root: Path, *parts: str) -> dict[str, tuple[Any, ...]]:
    """Of each path: kind and permissions, owner, time, extended attributes, its other names."""
    found = {}
    by_inode: dict[int, list[str]] = {}
    paths = sorted(p for p in (root, *root.rglob("*")) if ".kled-sync" not in p.parts)
    for path in paths:
        by_inode.setdefault(path.lstat().st_ino, []).append(str(path.relative_to(root)))
    for path in paths:
        stat = path.lstat()
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in sorted(os.listxattr(path, follow_symlinks=False))
        }
        whole = {
            "mode": stat.st_mode, "owner": (stat.st_uid, stat.st_gid), "mtime": stat.st_mtime_ns,
            "xattrs": xattrs, "links": by_inode[stat.st_ino],
            "content": path.read_bytes() if path.is_file() else b"",
        }  # fmt: skip
        found[str(path.relative_to(root))] = tuple(whole[part] for part in parts or whole)
    return found


def rsync(options: str, source: Path, target: Path) -> None:
    subprocess.run(["rsync", *options.split(), f"{source}/", f"{target}/"], check=True)


async def copy(tmp_path: Path, source: Path, target: Path, wish: AttributeWish) -> Result:
    result, _ = await copy_once(tmp_path, source, target, attributes=wish)
    return result


@as_root
@WITH_RSYNC
async def test_all_of_it_is_as_rsync_brings_it_over(tmp_path: Path, source: Path) -> None:
    give_away(source)
    result = await copy(tmp_path, source, tmp_path / "target", EVERYTHING)
    assert result.done.failures == []
    rsync("-aHAX", source, tmp_path / "oracle")
    assert shape(tmp_path / "target") == shape(tmp_path / "oracle") == shape(source)


def write_anew(path: Path) -> None:
    path.unlink()
    path.write_text("its own")


def link_again(path: Path, twin: Path) -> None:
    twin.unlink()
    os.link(path, twin)


CHANGES: tuple[Callable[[Path], object], ...] = (
    lambda root: os.chown(root / "sub" / "b", 77, 88),
    lambda root: (root / "sub" / "run").chmod(0o4711),
    lambda root: (root / "sub").chmod(0o700),
    lambda root: os.removexattr(root / "a", "user.colour"),
    lambda root: os.setxattr(root / "sub" / "b", "user.new", b"2"),
    lambda root: os.removexattr(root / "sub" / "deep" / "c", "system.posix_acl_access"),
    lambda root: os.link(root / "sub" / "b", root / "b2"),
    lambda root: (root / "a").write_text("all three names have this"),
    lambda root: write_anew(root / "third-a"),
    lambda root: link_again(root / "sub" / "b", root / "twin"),
)


@as_root
@WITH_RSYNC
async def test_a_change_of_it_alone_is_brought_over_by_the_next_copy(
    tmp_path: Path, source: Path
) -> None:
    give_away(source)
    target, oracle = tmp_path / "target", tmp_path / "oracle"
    await copy(tmp_path, source, target, EVERYTHING)
    rsync("-aHAX", source, oracle)
    for number, change in enumerate(CHANGES):
        change(source)
        settle(source, 10**9 + 10 * number)
        result = await copy(tmp_path, source, target, EVERYTHING)
        rsync("-aHAX", source, oracle)
        assert result.done.failures == []
        assert shape(target) == shape(oracle) == shape(source)


@as_root
@WITH_RSYNC
@pytest.mark.parametrize("change", CHANGES)
async def test_a_dry_run_lists_it_as_rsync_does(
    tmp_path: Path, source: Path, change: Callable[[Path], object]
) -> None:
    give_away(source)
    target = tmp_path / "target"
    await copy(tmp_path, source, target, EVERYTHING)
    before = shape(target)
    change(source)
    settle(source, 10**9 + 10)
    plans: list[Plan] = []
    await copy_once(tmp_path, source, target, attributes=EVERYTHING, plans=plans, yes=False)
    plan = plans[0]
    lines = {
        itemize(action, plan.attributes.get(action.path, ""), plan.links.get(action.path))
        for action in [*plan.actions, *plan.others()]
    }
    words = ["rsync", "-aHAXni", f"{source}/", f"{target}/"]
    oracle = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert lines == set(oracle.splitlines())
    assert shape(target) == before


@as_root
@WITH_RSYNC
async def test_nothing_of_it_is_brought_over_unasked(tmp_path: Path, source: Path) -> None:
    give_away(source)
    target = tmp_path / "target"
    await copy(tmp_path, source, target, NOTHING)
    rsync("-rlt --perms --chmod=u-s,g-s,o-t", source, tmp_path / "oracle")
    assert shape(target, "owner", "xattrs", "links", "content") == shape(
        tmp_path / "oracle", "owner", "xattrs", "links", "content"
    )
    assert not any(row[0] & 0o7000 for row in shape(target, "mode").values())


async def test_a_file_with_three_names_is_sent_once(tmp_path: Path, source: Path) -> None:
    data = os.urandom(300_000)
    (source / "a").write_bytes(data)
    wish = AttributeWish(hard_links=True)
    result, peers = await copy_once(tmp_path, source, tmp_path / "target", attributes=wish)
    assert result.done.failures == []
    assert shape(tmp_path / "target", "links", "content") == shape(source, "links", "content")
    assert peers[SyncSide.BETA].sent_bytes < 400_000
    result, _ = await copy_once(tmp_path, source, tmp_path / "target", attributes=wish)
    assert result.changes == 0


async def test_what_a_user_may_keep_needs_no_root(tmp_path: Path, source: Path) -> None:
    result = await copy(tmp_path, source, tmp_path / "target", AttributeWish(xattrs=True))
    assert result.done.failures == []
    parts = "mode", "mtime", "xattrs", "content"
    assert shape(tmp_path / "target", *parts) == shape(source, *parts)


@as_root
async def test_owners_that_are_refused_are_told_by_name_and_run_as_nobody_else(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_away(source)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    result = await copy(tmp_path, source, tmp_path / "target", EVERYTHING)
    failed = {f.action.path: f.words for f in result.done.failures}
    assert {b"sub", b"sub/b", b"sub/run"} <= failed.keys()
    assert failed[b"sub/b"].startswith("it cannot have the owner 1234: Operation not permitted")
    assert (tmp_path / "target" / "sub" / "run").stat().st_mode & 0o7777 == 0o755
    assert shape(tmp_path / "target", "content") == shape(source, "content")


async def test_git_s_programs_here_get_nothing_of_it(tmp_path: Path, source: Path) -> None:
    hook = source / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    os.link(hook, source / "harmless")
    target = tmp_path / "target"
    mine = target / ".git" / "hooks" / "pre-commit"
    mine.parent.mkdir(parents=True)
    shutil.copy2(hook, mine)
    mine.chmod(0o644)
    result, _ = await copy_once(tmp_path, source, target, attributes=EVERYTHING, here=SyncSide.BETA)
    assert result.done.failures == []
    assert mine.stat().st_mode & 0o777 == 0o644
    assert mine.stat().st_nlink == 1
    assert (target / "harmless").read_text() == "#!/bin/sh\n"


async def test_an_older_other_side_is_said_before_anything_is_copied(
    tmp_path: Path, source: Path
) -> None:
    class Older(HeldRoot):
        def facts(self) -> dict[str, Any]:
            return {name: value for name, value in super().facts().items() if name != "attributes"}

    wish = Wish(
        source=os.fsencode(source) + b"/",
        destination=os.fsencode(tmp_path / "target"),
        options=AS_RSYNC,
        attributes=AttributeWish(hard_links=True),
    )

    async def yes(_: object) -> bool:
        return True

    with pytest.RaisesGroup(
        pytest.RaisesExc(UnavailableError, match="the kled of the beta side cannot"),
        flatten_subgroups=True,
    ):
        async with two_peers(tmp_path, {SyncSide.BETA: Older}) as both:
            peers = both[SyncSide.ALPHA], both[SyncSide.BETA]
            await OneSync(*peers, wish, SyncMeter()).run(yes)
    assert not (tmp_path / "target").exists()


async def test_a_portable_copy_leaves_directories_their_own_permissions(
    tmp_path: Path, source: Path
) -> None:
    (source / "sub" / "deep").chmod(0o500)
    await copy_once(
        tmp_path, source, tmp_path / "target", options=replace(AS_RSYNC, mode_mask=0o100)
    )
    assert (tmp_path / "target" / "sub" / "deep").stat().st_mode & 0o700 == 0o700


@WITH_RSYNC
async def test_permissions_of_a_directory_that_alone_changed_are_copied(
    tmp_path: Path, source: Path
) -> None:
    target = tmp_path / "target"
    await copy_once(tmp_path, source, target)
    (source / "sub").chmod(0o711)
    plans: list[Plan] = []
    await copy_once(tmp_path, source, target, plans=plans)
    assert [action.path for action in plans[0].actions] == [b"sub"]
    assert (target / "sub").stat().st_mode & 0o777 == 0o711
