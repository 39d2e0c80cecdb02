"""What a continuous sync cannot do is said, and tried again."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_sync.decide.operations import Operation
from kled_sync.decide.reconcile import Outcome
from kled_sync.endpoint.placing_job import PlacingJob
from kled_sync.files.writing.kept import KeptVersions
from kled_sync.files.writing.placing import Placer
from kled_sync.files.writing.refusal import CHANGED, Refusal
from kled_sync.session import pacing
from kled_sync.session.deciding import Deciding
from kled_sync.session.pacing import LARGE_BYTES
from kled_wire.errors import ConflictError
from tests.kit.endpoints import kept_same

MIB = 1024 * 1024


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


async def test_a_flush_tries_again_what_was_changed_in_that_moment(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another name of a file is that was replaced by the same job. It does not wait, as a file
    that was copied and is written to again.
    """
    do, refused = Placer._do, list[bytes]()

    def refuse_once(self: Placer, operation: Operation, *rest: Any) -> None:
        if operation.path == b"a" and not refused:
            refused.append(operation.path)
            raise Refusal(*CHANGED)
        do(self, operation, *rest)

    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        monkeypatch.setattr(Placer, "_do", refuse_once)
        (alpha / "a").write_text("new")
        await sync.flush()
        assert refused
        assert (beta / "a").read_text() == "new"
        assert sync.health.problems == {}


async def test_a_flush_waits_for_a_save_between_the_look_and_the_copy(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy that begins after the flush has what the look found before it."""
    decide, ended = Deciding.decide, trio.Event()
    async with kept_same(tmp_path, alpha, beta) as sync, trio.open_nursery() as nursery:
        await sync.flush()

        async def flush(*, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            await sync.flush()
            ended.set()

        async def decide_and_save(self: Deciding, *directories: Any) -> Outcome:
            outcome = await decide(self, *directories)
            if (alpha / "a").is_symlink():
                (alpha / "new").write_text("a file again")
                (alpha / "new").rename(alpha / "a")
                await nursery.start(flush)
            return outcome

        monkeypatch.setattr(pacing, "_PAUSE_FACTOR", 1e6)
        monkeypatch.setattr(Deciding, "decide", decide_and_save)
        (alpha / "link").symlink_to("sub")
        (alpha / "link").rename(alpha / "a")
        await ended.wait()
        assert (beta / "a").read_text() == "a file again"


async def test_a_flush_says_that_a_large_file_has_no_room(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that otherwise would not be tried again so soon."""
    (alpha / "large").write_bytes(bytes(LARGE_BYTES))

    def missing(job: PlacingJob) -> int:
        return MIB * any(operation.path == b"large" for operation in job._operations)

    with monkeypatch.context() as patched:
        patched.setattr(PlacingJob, "missing_bytes", missing)
        async with kept_same(tmp_path, alpha, beta) as sync:
            for _ in range(2):
                await sync.flush()
                assert sync.health.problems == {b"large": "the disk lacks 2 MiB"}
                assert sync.health.lacking == {b"large"}
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        assert (sync.health.problems, sync.health.lacking) == ({}, set())
    assert (beta / "large").stat().st_size == LARGE_BYTES


async def test_what_is_too_large_to_be_kept_is_said_until_it_is_replaced_again(
    tmp_path: Path, alpha: Path, beta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "its old version was too large to be kept"
    async with kept_same(tmp_path, alpha, beta) as sync:
        await sync.flush()
        with monkeypatch.context() as patched:
            patched.setattr(KeptVersions, "limit", lambda _kept: 0)
            (alpha / "a").write_text("2")
            await sync.flush()
        (alpha / "b").write_text("beside it")
        await sync.flush()
        assert (sync.health.all_problems(), sync.health.all_lacking()) == ({b"a": words}, set())
        (alpha / "a").write_text("3")
        await sync.flush()
        assert sync.health.all_problems() == {}


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
