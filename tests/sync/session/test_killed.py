"""A session that is killed when a change is made and not yet written down: no false conflict."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.supplying import Supplier
from kled_sync.session.agreed.agreement import Agreement
from kled_sync.session.transfers.transfer import SyncTransfer
from kled_sync.tree.entry import DIGEST_BYTES, make_file
from kled_sync.wire.blocks import OutgoingBlock
from kled_sync.wire.messages import NOTES
from tests.kit.endpoints import content, kept_same

LARGE = 3 * 1024 * 1024
Kill = Callable[[Callable[[], None] | None], None]
# With so many in each of two new directories they do not come one by one.
FILES = 510


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Arms the next transfer: what is given happens before its contents are read, and a copy of
    the session's state is taken when all is placed, before the answer is.
    """
    run, take = Supplier.run, SyncTransfer._take

    def arm(meanwhile: Callable[[], None] | None) -> None:
        def read(self: Supplier) -> Iterator[OutgoingBlock | None]:
            monkeypatch.setattr(Supplier, "run", run)
            assert meanwhile is not None
            meanwhile()
            return run(self)

        def taken(self: SyncTransfer, *arguments: Any) -> None:
            if Supplier.run is run and not (tmp_path / "killed").exists():
                shutil.copytree(tmp_path / "session", tmp_path / "killed")
            take(self, *arguments)

        if meanwhile is not None:
            monkeypatch.setattr(Supplier, "run", read)
        monkeypatch.setattr(SyncTransfer, "_take", taken)

    return arm


def revive(state: Path) -> None:
    """Let the session's state be what it was when it was killed."""
    shutil.rmtree(state / "session")
    (state / "killed").rename(state / "session")


def save(path: Path, data: bytes) -> Callable[[], None]:
    return lambda: write(path, data)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("mode", "side"),
    [
        (Mode.TWO_WAY_SAFE, SyncSide.ALPHA),
        (Mode.TWO_WAY_SAFE, SyncSide.BETA),
        (Mode.ONE_WAY_SAFE, SyncSide.ALPHA),
    ],
)
@pytest.mark.parametrize("name", ["a", "new", "large", "in/new"])
async def test_what_was_saved_again_before_it_was_read_is_no_conflict(
    tmp_path: Path,
    alpha: Path,
    beta: Path,
    killed: Kill,
    mode: Mode,
    side: SyncSide,
    name: str,
) -> None:
    source, target = (alpha, beta) if side is SyncSide.ALPHA else (beta, alpha)
    planned = os.urandom(LARGE) if name == "large" else b"planned"
    async with kept_same(tmp_path, alpha, beta, mode) as sync:
        await sync.flush()
        killed(save(source / name, planned + b" and sent"))
        write(source / name, planned)
        await sync.flush()
        assert (target / name).read_bytes() == planned + b" and sent"
    revive(tmp_path)
    write(source / name, b"saved since")
    async with kept_same(tmp_path, alpha, beta, mode) as sync:
        await sync.flush()
        assert (sync.health.conflicts, sync.health.problems) == ({}, {})
        assert not sync.agreement.unconfirmed()
    assert content(alpha) == content(beta)
    assert (target / name).read_bytes() == b"saved since"


async def test_what_grew_while_it_was_sent_is_no_conflict(
    tmp_path: Path, alpha: Path, beta: Path, killed: Kill
) -> None:
    log = beta / "log"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        killed(lambda: grow(log))
        write(log, os.urandom(LARGE))
        await sync.flush()
    revive(tmp_path)
    grow(log)
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.conflicts == {}
    assert content(alpha) == content(beta)


async def test_a_directory_built_as_a_whole_is_no_conflict(
    tmp_path: Path, alpha: Path, beta: Path, killed: Kill
) -> None:
    """Its files come with it, in one operation: each of two fits into a job."""
    new = beta / "many"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        killed(save(new / "0" / "7", b"sent"))
        made = tmp_path / "made"
        for number in range(2 * FILES):
            name = made / str(number // FILES) / str(number % FILES)
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(b"%d" % number)
        made.rename(new)
        await sync.flush()
        assert (alpha / "many" / "0" / "7").read_bytes() == b"sent"
    noted = {path.stat().st_size for path in (tmp_path / "state").rglob("placed/*")}
    assert min(noted) > FILES * DIGEST_BYTES
    revive(tmp_path)
    (new / "0" / "7").write_bytes(b"saved since")
    (new / "0" / "8").unlink()
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.conflicts == {}
    assert content(alpha) == content(beta)
    assert (alpha / "many" / "0" / "7").read_bytes() == b"saved since"
    assert not (alpha / "many" / "0" / "8").exists()


async def test_a_program_that_was_saved_since_is_no_conflict(
    tmp_path: Path, alpha: Path, beta: Path, killed: Kill
) -> None:
    """Its permission alone was brought over before."""
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        killed(None)
        (beta / "a").chmod(0o755)
        await sync.flush()
        assert (alpha / "a").stat().st_mode & 0o100
    revive(tmp_path)
    (beta / "a").write_text("saved since")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert sync.health.conflicts == {}
    assert content(alpha) == content(beta)
    assert content(alpha)["a"] == (b"saved since", True)


async def test_what_became_of_it_where_it_came_to_stays_a_conflict(
    tmp_path: Path, alpha: Path, beta: Path, killed: Kill
) -> None:
    """Neither version is lost."""
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        killed(save(beta / "a", b"sent"))
        write(beta / "a", b"planned")
        await sync.flush()
    revive(tmp_path)
    write(beta / "a", b"theirs")
    write(alpha / "a", b"ours")
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert list(sync.health.conflicts) == [b"a"]
    assert (alpha / "a").read_bytes() == b"ours"
    assert (beta / "a").read_bytes() == b"theirs"


async def test_what_came_as_it_was_planned_is_not_noted(
    tmp_path: Path, alpha: Path, beta: Path
) -> None:
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        write(alpha / "a", b"saved")
        write(beta / "large", os.urandom(LARGE))
        await sync.flush()
    assert content(alpha) == content(beta)
    assert list((tmp_path / "state").rglob("placed/*")) == []


async def test_an_older_endpoint_is_asked_for_no_note(
    tmp_path: Path, alpha: Path, beta: Path, killed: Kill
) -> None:
    class Older(HeldRoot):
        def facts(self) -> dict[str, Any]:
            return {fact: value for fact, value in super().facts().items() if fact != NOTES}

    async with kept_same(tmp_path, alpha, beta, holds=dict.fromkeys(SyncSide, Older)) as sync:
        await sync.flush()
        killed(save(beta / "a", b"sent"))
        write(beta / "a", b"planned")
        await sync.flush()
        assert (alpha / "a").read_bytes() == b"sent"
    assert list((tmp_path / "state").rglob("placed/*")) == []
    revive(tmp_path)
    (beta / "a").unlink()
    async with kept_same(tmp_path, alpha, beta, holds=dict.fromkeys(SyncSide, Older)) as sync:
        await sync.flush()
        assert (beta / "a").read_bytes() == b"sent"  # it is not known that beta had it


def test_an_intention_outlives_a_look_and_the_folding_of_the_log(tmp_path: Path) -> None:
    agreed, coming = (make_file(0o644, 1, 1, digest * 32) for digest in (b"a", b"b"))
    note = "0123456789abcdef"
    with closing(Agreement(tmp_path / "session")) as agreement:
        agreement.intend(SyncSide.BETA, {b"path": coming, b"refused": coming}, note)
        agreement.forget([b"refused"])
        agreement.note_seen(b"path", agreed)
        agreement.flush()
        shutil.copytree(tmp_path / "session", tmp_path / "before")
        os.link(tmp_path / "session" / "log", tmp_path / "log")
        agreement.save()
        # Who is killed meanwhile has the log before or the new one.
        assert (tmp_path / "log").read_bytes() == (tmp_path / "before" / "log").read_bytes()
        shutil.copytree(tmp_path / "session", tmp_path / "after")
    for found in ("before", "after"):
        with closing(Agreement(tmp_path / found)) as agreement:
            assert agreement.unconfirmed() == {b"path": (SyncSide.BETA, coming, note)}
            assert agreement.tree.get(b"path") == agreed
