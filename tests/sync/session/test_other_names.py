"""A continuous sync with a side whose filesystem has other rules for names, emulated."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from kled_sync.decide.folding import NameRules
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.session.continuous import ContinuousSync
from tests.kit.endpoints import content, copy_once, kept_same
from tests.kit.other_names import OtherNames

FOLDS = NameRules(folds_case=True, decomposes=False)
HFS = NameRules(folds_case=True, decomposes=True, folds_forms=True)
NFC = "caf\u00e9"
NFD = unicodedata.normalize("NFD", NFC)


@pytest.fixture
def far(beta: Path, monkeypatch: pytest.MonkeyPatch) -> OtherNames:
    return OtherNames(beta, FOLDS, monkeypatch)


@pytest.fixture
def hfs(beta: Path, monkeypatch: pytest.MonkeyPatch) -> OtherNames:
    return OtherNames(beta, HFS, monkeypatch)


async def settled(sync: ContinuousSync) -> None:
    for _ in range(4):
        await sync.flush()
    changes = sync.health.changes
    await sync.flush()
    assert sync.health.changes == changes


def told(sync: ContinuousSync) -> set[bytes]:
    return {*sync.health.all_problems(), *sync.health.all_conflicts()}


@pytest.mark.parametrize("mode", [Mode.TWO_WAY_SAFE, Mode.ONE_WAY_REPLICA])
@pytest.mark.parametrize("name", ["a", "sub"])
async def test_a_name_whose_case_alone_changes(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames, name: str, mode: Mode
) -> None:
    async with kept_same(tmp_path, alpha, beta, mode, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        (alpha / name).rename(alpha / name.upper())
        await settled(sync)
        assert content(alpha) == content(beta)
        assert told(sync) == set()
        if mode is Mode.TWO_WAY_SAFE:
            (beta / name.upper()).rename(beta / name.title())
            await settled(sync)
            assert name.title() in content(beta)
            assert content(alpha) == content(beta)
            assert told(sync) == set()


async def test_a_large_directory_whose_case_alone_changes(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames
) -> None:
    for number in range(150):
        (alpha / "sub" / str(number)).write_text(str(number))
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        (alpha / "sub").rename(alpha / "SUB")
        await settled(sync)
        assert content(alpha) == content(beta)
        (beta / "SUB").rename(beta / "Sub")
        await settled(sync)
        assert content(alpha) == content(beta)
        assert told(sync) == set()


async def test_names_that_clash_are_told_and_nothing_is_lost(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames
) -> None:
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        (alpha / "A").write_text("another")
        await settled(sync)
        assert told(sync) == {b"A"}
        assert ((beta / "a").read_text(), "A" in content(beta)) == ("1", False)
        # Both names are written to; the other side gets its own.
        (alpha / "A").write_text("another 2")
        (alpha / "a").write_text("2")
        await settled(sync)
        assert (beta / "a").read_text() == "2"
        (beta / "a").write_text("3")
        await settled(sync)
        assert ((alpha / "a").read_text(), (alpha / "A").read_text()) == ("3", "another 2")
        # It is renamed here, and both are there.
        (alpha / "A").rename(alpha / "other")
        await settled(sync)
        assert content(alpha) == content(beta)
        assert told(sync) == set()


async def test_names_that_both_sides_made_and_one_cannot_tell_apart(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames
) -> None:
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
    (alpha / "README").write_text("alpha's")
    (beta / "Readme").write_text("beta's")
    (alpha / "DIR").mkdir()
    (alpha / "DIR" / "x").write_text("alpha's x")
    (beta / "Dir").mkdir()
    (beta / "Dir" / "y").write_text("beta's y")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        assert told(sync) == {b"README", b"DIR"}
        assert (alpha / "README").read_text() == "alpha's"
        assert (beta / "Readme").read_text() == "beta's" == (alpha / "Readme").read_text()
        assert content(beta)["Dir/y"] == (b"beta's y", False) == content(alpha)["Dir/y"]
        assert content(alpha)["DIR/x"] == (b"alpha's x", False)
        assert "Dir/x" not in content(beta)


async def test_a_conflict_is_resolved_where_names_fold(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames
) -> None:
    (alpha / "A").write_text("another")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        there = "A" if (beta / "A").exists() else "a"
    (alpha / there).write_text("alpha's")
    (beta / there).write_text("beta's")
    other = (alpha / there.swapcase()).read_text()
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        assert set(sync.health.all_conflicts()) == {there.encode()}
        await sync.resolve(there.encode(), SyncSide.BETA)
        await settled(sync)
        assert (alpha / there).read_text() == "beta's"
        assert (alpha / there.swapcase()).read_text() == other
        assert set(sync.health.all_conflicts()) == set()


async def test_a_composed_name_is_one_on_a_side_that_decomposes(
    tmp_path: Path, alpha: Path, beta: Path, hfs: OtherNames
) -> None:
    for directory in (alpha, alpha / "sub"):
        (directory / NFC).mkdir()
        (directory / NFC / NFC).write_text("coffee")
    before = content(alpha)
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: hfs.hold()}) as sync:
        await settled(sync)
        assert content(alpha) == before
        assert content(beta).keys() == {unicodedata.normalize("NFD", name) for name in before}
        (alpha / NFC / NFC).write_text("changed")
        await settled(sync)
        assert (beta / NFD / NFD).read_text() == "changed"
        (beta / NFD / NFD).write_text("there")
        await settled(sync)
        assert (alpha / NFC / NFC).read_text() == "there"
        (alpha / NFC).rename(alpha / f"{NFC} 2")
        await settled(sync)
        assert (beta / f"{NFD} 2" / NFD).read_text() == "there"
        assert told(sync) == set()


async def test_a_decomposed_name_is_told_and_stays_as_it_is(
    tmp_path: Path, alpha: Path, beta: Path, hfs: OtherNames
) -> None:
    """It would come back composed, as if somebody had renamed it there."""
    (alpha / NFD).write_text("coffee")
    (alpha / "sub" / NFD).mkdir()
    (alpha / "sub" / NFD / "x").write_text("more")
    before = content(alpha)
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: hfs.hold()}) as sync:
        await settled(sync)
        assert content(alpha) == before
        assert told(sync) == {NFD.encode(), f"sub/{NFD}".encode()}
        assert set(content(beta)) == {"a", "sub", "sub/b"}
        # A directory that is renamed to such a name goes there, and stays here.
        (alpha / "sub").rename(alpha / f"{NFD} 3")
        await settled(sync)
        assert content(alpha)[f"{NFD} 3/b"] == (b"2", False)
        assert set(content(beta)) == {"a"}
        (alpha / f"{NFD} 3" / NFD).rename(alpha / f"{NFD} 3" / "x")
        (alpha / f"{NFD} 3").rename(alpha / "sub")
        (alpha / NFD).rename(alpha / NFC)
        await settled(sync)
        assert told(sync) == set()
        assert content(beta).keys() == {unicodedata.normalize("NFD", n) for n in content(alpha)}


async def test_of_a_name_in_both_forms_the_composed_one_is_copied(
    tmp_path: Path, alpha: Path, beta: Path, hfs: OtherNames
) -> None:
    (alpha / NFC).write_text("composed")
    (alpha / NFD).write_text("decomposed")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: hfs.hold()}) as sync:
        await settled(sync)
        assert told(sync) == {NFD.encode()}
        assert (beta / NFD).read_text() == "composed"
        (beta / NFD).write_text("there")
        await settled(sync)
        assert ((alpha / NFC).read_text(), (alpha / NFD).read_text()) == ("there", "decomposed")


async def test_forms_that_a_side_finds_alike_are_one_name(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on APFS with its case kept apart: names are listed as they were made."""
    rules = NameRules(folds_case=False, decomposes=False, folds_forms=True)
    far = OtherNames(beta, rules, monkeypatch)
    (alpha / NFD).write_text("decomposed")
    (alpha / "A").write_text("another")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        assert content(beta) == content(alpha)
        (alpha / NFC).write_text("composed")
        await settled(sync)
        assert told(sync) == {NFC.encode()}
        assert (beta / NFD).read_text() == "decomposed"
        (alpha / NFD).unlink()
        await settled(sync)
        assert told(sync) == set()
        assert content(beta) == content(alpha)


async def test_a_name_that_is_illegal_there_is_told(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = OtherNames(beta, FOLDS, monkeypatch, is_text=True)
    bad = os.fsdecode(b"bad\xff")
    (alpha / bad).write_text("bytes")
    (alpha / f"{bad} directory").mkdir()
    (alpha / f"{bad} directory" / "in").write_text("bytes")
    (alpha / f"{bad} link").symlink_to("a")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        names = {b"bad\xff", b"bad\xff directory", b"bad\xff link"}
        assert names <= told(sync) <= names | {b"bad\xff directory/in"}
        assert set(content(beta)) == {"a", "sub", "sub/b"}
        (alpha / "a").write_text("2")
        await settled(sync)
        assert (beta / "a").read_text() == "2"
        (alpha / bad).rename(alpha / "good")
        (alpha / f"{bad} directory").rename(alpha / "good directory")
        (alpha / f"{bad} link").unlink()
        await settled(sync)
        assert told(sync) == set()
        assert content(beta) == content(alpha)


@pytest.mark.parametrize("edits_there", [True, False])
async def test_an_edit_beside_a_change_of_case_is_not_lost(
    tmp_path: Path, alpha: Path, beta: Path, far: OtherNames, edits_there: bool
) -> None:
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
    (alpha / "a").rename(alpha / "A")
    (beta / "a" if edits_there else alpha / "A").write_text("edited")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: far.hold()}) as sync:
        await settled(sync)
        if edits_there:
            assert ((alpha / "a").read_text(), (alpha / "A").read_text()) == ("edited", "1")
            assert (beta / "a").read_text() == "edited"
            assert told(sync) == {b"A"}
        else:
            assert content(beta) == content(alpha)
            assert content(beta)["A"] == (b"edited", False)


async def test_a_copy_names_what_it_did_not_copy(
    tmp_path: Path, alpha: Path, beta: Path, hfs: OtherNames
) -> None:
    (alpha / "A").write_text("another")
    (alpha / NFD).write_text("decomposed")
    result, _ = await copy_once(tmp_path, alpha, beta, holds={SyncSide.BETA: hfs.hold()})
    assert {found.path for found in result.skipped if found.is_problem} == {b"a", NFD.encode()}
    assert set(content(beta)) == {"A", "sub", "sub/b"}
