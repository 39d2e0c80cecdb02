"""A continuous sync with a side that cannot tell every two names apart."""

from __future__ import annotations

import os
import unicodedata
from functools import partial
from pathlib import Path

from kled_sync.decide.folding import NameRules, composed
from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.files.options import Options
from kled_sync.files.reading.probing import probe_names
from kled_sync.session.sides.side import SideState
from kled_sync.tree.tree import Tree
from tests.kit.endpoints import content, kept_same, two_peers


async def test_names_that_a_side_cannot_tell_apart_are_named(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    """As on a laptop whose filesystem folds case; none can be mounted here."""
    folds = partial(HeldRoot, probe=lambda _: NameRules(folds_case=True, decomposes=False))
    (alpha / "A").write_text("another")
    async with kept_same(tmp_path, alpha, beta, holds={SyncSide.BETA: folds}) as sync:
        await sync.flush()
        assert sync.health.problems == {b"a": "one side cannot tell its name from A"}
        assert sorted(content(beta)) == ["A", "sub", "sub/b"]
        (alpha / "A").unlink()
        await sync.flush()
        await sync.flush()
        assert sync.health.problems == {}
        assert content(beta) == content(alpha)
        (alpha / "a").rename(alpha / "A")
        await sync.flush()
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_names_come_in_one_form_from_a_side_that_takes_them_apart(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    (beta / "x").mkdir(parents=True)
    (beta / "x" / unicodedata.normalize("NFD", "caf\u00e9")).write_text("1")
    apart = partial(HeldRoot, probe=lambda _: NameRules(folds_case=False, decomposes=True))
    async with two_peers(tmp_path, {SyncSide.BETA: apart}) as peers:
        side = SideState(peers[SyncSide.BETA], Tree())
        await side.open(os.fsencode(beta), Options())
        await side.scan(everywhere=True)
        # Here the form that was asked for is another file, there it is the same.
        assert side.tree.children(b"x") == {}
        assert set(side.tree.children(b"")) == {b"x"}
    assert composed("cafe\u0301".encode()) == "caf\u00e9".encode()
    assert composed(b"\xff") == b"\xff"


def test_this_filesystem_keeps_names_as_they_are(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    assert probe_names(directory) == NameRules(folds_case=False, decomposes=False)
    os.close(directory)
    assert not list(tmp_path.iterdir())
