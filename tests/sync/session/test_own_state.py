"""A folder that has the state of syncs in it, as a home directory has."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.serving import Hold
from kled_sync.files.options import Options
from tests.kit.endpoints import content, copy_once, kept_same


def with_state_in(root: Path, name: str) -> Hold:
    def hold(path: bytes, options: Options, _env: object) -> HeldRoot:
        return HeldRoot(path, options, {"XDG_STATE_HOME": str(root / name)})

    return hold


@pytest.mark.parametrize("name", ["state", "#!a [b] *?\\ ", os.fsdecode(b"no-utf8-\xff"), "sub/in"])
async def test_what_a_sync_writes_down_is_no_change(
    tmp_path: Path, alpha: Path, beta: Path, name: str
) -> None:
    holds = {SyncSide.ALPHA: with_state_in(alpha, name)}
    async with kept_same(tmp_path, alpha, beta, holds=holds) as sync:
        await sync.flush()
        (beta / "a").write_text("another")  # of which alpha keeps what it had
        await sync.flush()
        assert (alpha / "a").read_text() == "another"
        assert not (beta / name / "kled" / "sync").exists()
        assert not sync.health.all_problems()


async def test_a_copy_with_delete_leaves_the_state_of_the_other_side(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    holds = {SyncSide.ALPHA: with_state_in(alpha, "state"), SyncSide.BETA: with_state_in(beta, "s")}
    copy = partial(copy_once, tmp_path, alpha, beta, delete=True, holds=holds)
    await copy()
    (alpha / "a").unlink()
    await copy()
    names = {name for name in content(beta) if not name.startswith("s/")}
    assert names - {"s", "state", "state/kled"} == {"sub", "sub/b"}
    assert any(path.read_text() == "1" for path in beta.glob("s/kled/sync/roots/*/kept/*[0-9]"))
