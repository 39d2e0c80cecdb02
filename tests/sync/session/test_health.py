"""What a continuous sync cannot do is said, and tried again."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kled_sync.files.writing.placing import Placer
from kled_wire.errors import ConflictError
from tests.kit.endpoints import kept_same


@pytest.fixture
def alpha(tmp_path: Path) -> Path:
    root = tmp_path / "alpha"
    (root / "sub").mkdir(parents=True)
    (root / "a").write_text("1")
    return root


@pytest.fixture
def beta(tmp_path: Path) -> Path:
    return tmp_path / "beta"


async def test_what_failed_says_why_and_is_tried_again_when_somebody_waits(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        (alpha / "a").write_text("new")
        with monkeypatch.context() as patched:
            patched.setattr(Placer, "_do", refuse)  # as the kernel does for an immutable file
            for _ in range(2):
                await sync.flush()
                assert sync.health.problems == {b"a": "Operation not permitted"}
                assert sync.health.lacking == {b"a"}
        # What was in the way is gone; no event tells of it.
        await sync.flush()
        assert (beta / "a").read_text() == "new"
        assert (sync.health.problems, sync.health.lacking) == ({}, set())


@pytest.mark.parametrize(("one", "other"), [("link", "alpha/sub"), ("link/sub", "alpha")])
async def test_a_folder_is_not_kept_the_same_as_one_inside_it(
    tmp_path: Path, alpha: Path, one: str, other: str
) -> None:
    (tmp_path / "link").symlink_to(alpha)
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConflictError, match="inside the other"), flatten_subgroups=True
    ):
        async with kept_same(tmp_path, tmp_path / one, tmp_path / other) as sync:
            await sync.flush()
    assert not (alpha / "sub" / "sub").exists()
