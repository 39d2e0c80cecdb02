"""What is read holds up nothing: large files, those that grow, and those that go before."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.session.pacing import LARGE_BYTES
from tests.kit.endpoints import content, kept_same


def write(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def copy(path: Path) -> None:
    shutil.copyfile(path, path.with_name("large too"))


@pytest.mark.parametrize("change", [write, copy])
async def test_a_save_comes_over_while_a_large_file_is_read(
    tmp_path: Path,
    alpha: Path,
    beta: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    gate, begun = trio.Event(), trio.Event()
    (alpha / "large").write_bytes(bytes(LARGE_BYTES + 1))  # more than a scan reads
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        side = sync.sides[SyncSide.ALPHA]
        read = side.hash

        async def read_later(paths: list[bytes]) -> None:
            if any(b"large" in path for path in paths):
                begun.set()
                await gate.wait()
            await read(paths)

        monkeypatch.setattr(side, "hash", read_later)
        change(alpha / "large")
        with trio.fail_after(20):
            await begun.wait()
            (alpha / "a").write_text("saved")
            while (beta / "a").read_text() != "saved":
                await trio.sleep(0.005)
        gate.set()
        await sync.flush()
        assert content(beta) == content(alpha)


async def test_a_file_that_goes_before_it_is_read_holds_nothing_up(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    class Quick(HeldRoot):
        def hash(self, path: bytes) -> Generator[bool, None, bool]:
            if path == b"a":
                (alpha / "a").unlink(missing_ok=True)
            return super().hash(path)

    beta.mkdir()
    (beta / "a").write_text("2")
    with trio.fail_after(20):
        async with kept_same(tmp_path, alpha, beta, holds={SyncSide.ALPHA: Quick}) as sync:
            await sync.flush()
            assert (beta / "sub" / "b").exists()
            assert (beta / "a").read_text() == "2"
