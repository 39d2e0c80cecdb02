"""Owners, special bits and extended attributes that a continuous sync keeps the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_sync.decide.attributes import FACT_TOLD, AttributeMark, AttributeWish
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.serving import Hold
from kled_sync.files.options import Options
from kled_sync.files.reading.memory import seen
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.attributes.standing import StandingAttributes
from kled_sync.tree.entry import make_directory, make_file
from kled_wire.errors import UnavailableError
from tests.kit.acls import ACL
from tests.kit.endpoints import content, kept_same

XATTRS = AttributeWish(xattrs=True)
EVERYTHING = AttributeWish(owner=True, group=True, special=True, xattrs=True)
ALL = Options(mode_mask=0o777, durable="none")
NAMES = (b"", b"f", b"d", b"d/e", b"d/e/f")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, which root may")


def xattrs(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@pytest.mark.parametrize("name", ["a", "sub", "sub/b", ""])
async def test_an_attribute_that_changes_alone_comes_over_from_either_side(
    tmp_path: Path, alpha: Path, beta: Path, name: str
) -> None:
    os.setxattr(alpha / name, "user.first", b"1")
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        assert xattrs(beta / name) == {"user.first": b"1"}
        os.setxattr(alpha / name, "user.colour", b"blue")
        await sync.flush()
        assert xattrs(beta / name) == {"user.first": b"1", "user.colour": b"blue"}
        os.removexattr(beta / name, "user.first")
        await sync.flush()
        assert xattrs(alpha / name) == {"user.colour": b"blue"} == xattrs(beta / name)
        assert (sync.health.conflicts, sync.health.problems, sync.health.attributes) == ({}, {}, {})


async def test_an_attribute_comes_over_by_itself(tmp_path: Path, alpha: Path, beta: Path) -> None:
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        os.setxattr(beta / "sub" / "b", "user.colour", b"blue")
        with trio.fail_after(20):
            while not xattrs(alpha / "sub" / "b"):
                await trio.sleep(0.005)


async def test_what_changed_while_neither_side_was_up_comes_over(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    os.setxattr(alpha / "a", "user.colour", b"blue")
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
    os.removexattr(beta / "a", "user.colour")
    os.setxattr(alpha / "sub", "user.kind", b"2")
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        assert (xattrs(alpha / "a"), xattrs(beta / "sub")) == ({}, {"user.kind": b"2"})
        assert sync.health.attributes == {}


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        (Mode.TWO_WAY_SAFE, None),
        (Mode.TWO_WAY_RESOLVED, b"alpha's"),
        (Mode.ONE_WAY_SAFE, None),
        (Mode.ONE_WAY_REPLICA, b"alpha's"),
    ],
)
async def test_an_attribute_that_changed_on_both_sides_is_decided_on_by_the_mode(
    tmp_path: Path, alpha: Path, beta: Path, mode: Mode, wanted: bytes | None
) -> None:
    async with kept_same(tmp_path, alpha, beta, mode=mode, attributes=XATTRS) as sync:
        await sync.flush()
    os.setxattr(alpha / "a", "user.colour", b"alpha's")
    os.setxattr(beta / "a", "user.colour", b"beta's")
    async with kept_same(tmp_path, alpha, beta, mode=mode, attributes=XATTRS) as sync:
        await sync.flush()
        assert os.getxattr(beta / "a", "user.colour") == (wanted or b"beta's")
        assert os.getxattr(alpha / "a", "user.colour") == b"alpha's"
        assert set(sync.health.all_conflicts()) == (set() if wanted else {b"a"})
        if wanted is None:
            assert await sync.resolve(b"a", SyncSide.BETA) == 1
            await sync.flush()
            assert os.getxattr(alpha / "a", "user.colour") == b"beta's"
            assert sync.health.all_conflicts() == {}


async def test_of_two_folders_that_were_there_nothing_is_overwritten(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    beta.mkdir()
    (beta / "a").write_text("1")
    os.setxattr(alpha / "a", "user.colour", b"alpha's")
    os.setxattr(beta / "a", "user.colour", b"beta's")
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        assert set(sync.health.all_conflicts()) == {b"a"}
        assert os.getxattr(beta / "a", "user.colour") == b"beta's"
        assert os.getxattr(alpha / "a", "user.colour") == b"alpha's"


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
async def test_attributes_come_where_the_run_that_brought_the_content_was_cut_off(
    tmp_path: Path,
    alpha: Path,
    beta: Path,
    make: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        # It ends before it comes to the attributes.
        monkeypatch.setattr(StandingAttributes, "brought", lambda *_: None)
        monkeypatch.setattr(StandingAttributes, "settle", nothing)
        make(alpha / "made")
        os.setxattr(alpha / "made", "user.colour", b"alpha's")
        await sync.flush()
        assert xattrs(beta / "made") == {}
    monkeypatch.undo()
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        assert xattrs(beta / "made") == {"user.colour": b"alpha's"}
        assert sync.health.all_conflicts() == {}


async def nothing(*_: object) -> int:
    return 0


async def test_nothing_comes_over_that_was_not_asked_for(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    os.setxattr(alpha / "a", "user.colour", b"blue")
    (alpha / "sub" / "b").chmod(0o4755)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert content(beta) == content(alpha)
    assert (xattrs(beta / "a"), (beta / "sub" / "b").stat().st_mode & 0o7000) == ({}, 0)


async def test_attributes_come_with_each_version_of_a_content(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        for side, number in ((alpha, b"1"), (beta, b"2"), (alpha, b"3")):
            (side / "a").write_bytes(number)
            os.setxattr(side / "a", "user.number", number)
            await sync.flush()
            assert xattrs(alpha / "a") == {"user.number": number} == xattrs(beta / "a")
        (alpha / "sub").rename(alpha / "moved")
        os.setxattr(alpha / "moved" / "b", "user.number", b"4")
        await sync.flush()
        assert xattrs(beta / "moved" / "b") == {"user.number": b"4"}


async def test_permissions_and_an_attribute_of_one_path_change_on_different_sides(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
    (alpha / "a").chmod(0o755)
    os.setxattr(beta / "a", "user.colour", b"blue")
    async with kept_same(tmp_path, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
        assert xattrs(alpha / "a") == {"user.colour": b"blue"} == xattrs(beta / "a")
        assert content(alpha) == content(beta)


def own(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_mode, found.st_uid, found.st_gid


def give_as_program(path: Path) -> None:
    os.chown(path, 1234, -1)
    path.chmod(0o4711)


@as_root
@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.chown(path, 1234, 2345),
        lambda path: path.chmod(0o6755),
        give_as_program,
    ],
)
async def test_owners_and_special_bits_come_over_alone(
    tmp_path: Path, alpha: Path, beta: Path, change: Callable[[Path], object]
) -> None:
    (alpha / "link").symlink_to("a")
    async with kept_same(tmp_path, alpha, beta, options=ALL, attributes=EVERYTHING) as sync:
        await sync.flush()
        change(alpha / "a")
        change(beta / "sub")
        os.chown(beta / "link", 77, 88, follow_symlinks=False)
        await sync.flush()
        for name in ("a", "sub", "link"):
            assert own(alpha / name) == own(beta / name)
        assert own(alpha / "link")[1:] == (77, 88)
        # An editor's new file is its own; the attributes go with it.
        (beta / "a").unlink()
        (beta / "a").write_text("new")
        await sync.flush()
        assert own(alpha / "a") == own(beta / "a")
        assert sync.health.attributes == {}


@as_root
@pytest.mark.parametrize("options", [ALL, Options(durable="none")], ids=["all", "portable"])
async def test_an_acl_comes_over_with_the_mode_that_it_gives(
    tmp_path: Path, alpha: Path, beta: Path, options: Options
) -> None:
    async with kept_same(tmp_path, alpha, beta, options=options, attributes=XATTRS) as sync:
        await sync.flush()
        os.setxattr(beta / "a", "system.posix_acl_access", ACL)
        await sync.flush()
        for name in ("a", "sub/b"):
            assert xattrs(alpha / name) == xattrs(beta / name)
            assert own(alpha / name) == own(beta / name)
        assert xattrs(alpha / "a") == {"system.posix_acl_access": ACL}
        assert sync.health.attributes == {}


@as_root
async def test_what_a_side_cannot_have_is_named_and_stays_so(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    async with kept_same(tmp_path, alpha, beta, attributes=EVERYTHING) as sync:
        await sync.flush()
        monkeypatch.setattr(os, "fchown", refuse)
        os.chown(alpha / "a", 1234, -1)
        await sync.flush()
        words = "it cannot have the owner 1234: Operation not permitted"
        assert sync.health.all_problems() == {b"a": words}
        assert sync.health.all_lacking() == {b"a"}
    async with kept_same(tmp_path, alpha, beta, attributes=EVERYTHING) as sync:
        await sync.flush()
        assert (set(sync.health.all_problems()), sync.health.all_conflicts()) == ({b"a"}, {})
        monkeypatch.undo()
        os.chown(alpha / "a", 1235, -1)
        await sync.flush()
        assert own(beta / "a") == own(alpha / "a")
        assert sync.health.attributes == {}


async def test_an_older_other_side_is_named(tmp_path: Path, alpha: Path, beta: Path) -> None:
    class Older(HeldRoot):
        def facts(self) -> dict[str, Any]:
            return {name: value for name, value in super().facts().items() if name != FACT_TOLD}

    with pytest.RaisesGroup(
        pytest.RaisesExc(UnavailableError, match="the kled of the beta side cannot"),
        flatten_subgroups=True,
    ):
        holds: dict[SyncSide, Hold] = {SyncSide.BETA: Older}
        async with kept_same(tmp_path, alpha, beta, holds=holds, attributes=XATTRS):
            pass
    async with kept_same(tmp_path, alpha, beta, holds=holds) as sync:
        await sync.flush()
        assert content(beta) == content(alpha)


def test_marks_are_kept_and_follow_what_moves_and_goes(tmp_path: Path) -> None:
    marks = {name: AttributeMark(bytes([number]) * 32) for number, name in enumerate(NAMES)}
    agreement = Agreement(tmp_path)
    agreement.note(b"", make_directory(0o755))
    for name in NAMES:
        is_file = name.endswith(b"f")
        agreement.note(name, make_file(0o644, 1, 0, b"0" * 32) if is_file else make_directory(0))
        agreement.mark(name, marks[name])
    agreement.note_move(b"d", b"m")
    agreement.note(b"f", None)
    agreement.flush()
    for again in (
        Agreement(tmp_path),
        agreement,
    ):  # from the log, then from the file it is folded to
        found = {name: again.marks.get(name) for name in (*NAMES, b"m", b"m/e", b"m/e/f")}
        assert {name: mark for name, mark in found.items() if mark is not None} == {
            b"": marks[b""], b"m": marks[b"d"], b"m/e": marks[b"d/e"], b"m/e/f": marks[b"d/e/f"],
        }  # fmt: skip
        again.close()
    (tmp_path / "attributes").write_bytes(b"damaged")
    with closing(Agreement(tmp_path)) as broken:
        assert broken.marks.get(b"m") is None


def test_what_changed_a_moment_ago_may_have_changed_again(alpha: Path) -> None:
    found = (alpha / "a").stat()
    known = seen(make_directory(0o755), found)
    assert known.may_differ(known, found.st_ctime_ns + 1)
    assert not known.may_differ(known, found.st_ctime_ns + 10 * 10**9)
    assert seen(make_directory(0o755), None).may_differ(known, found.st_ctime_ns + 10 * 10**9)


Edits = list[tuple[bool, str, bytes]]


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.booleans(), st.sampled_from(["", "a", "d"]), st.sampled_from([b"1", b"2"])
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_change_of_one_side_is_lost(batches: list[Edits]) -> None:
    """Against what was promised: a change of one side comes over, two of one path stay."""
    with TemporaryDirectory() as place:
        trio.run(_follow, Path(place), batches)


async def _follow(place: Path, batches: list[Edits]) -> None:
    alpha, beta = place / "alpha", place / "beta"
    (alpha / "d").mkdir(parents=True)
    (alpha / "a").touch()
    agreed = dict.fromkeys(("", "a", "d"), b"")
    async with kept_same(place, alpha, beta, attributes=XATTRS) as sync:
        await sync.flush()
    ours, theirs = agreed.copy(), agreed.copy()
    for edits in batches:
        for is_alpha, name, value in edits:
            os.setxattr((alpha if is_alpha else beta) / name, "user.v", value)
            (ours if is_alpha else theirs)[name] = value
        conflicts = set()
        for name, before in agreed.items():
            if ours[name] != theirs[name] and before not in {ours[name], theirs[name]}:
                conflicts.add(name.encode())
                continue
            agreed[name] = theirs[name] if ours[name] == before else ours[name]
            ours[name] = theirs[name] = agreed[name]
        async with kept_same(place, alpha, beta, attributes=XATTRS) as sync:
            await sync.flush()
            assert set(sync.health.all_conflicts()) == conflicts
        for root, wanted in ((alpha, ours), (beta, theirs)):
            assert {n: xattrs(root / n).get("user.v", b"") for n in wanted} == wanted
