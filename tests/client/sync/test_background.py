"""The background process and what people ask of it, with two folders of this machine."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import trio

from kled_client.sync import background, supervise
from kled_client.sync.barrier import incomplete
from kled_client.sync.control import stream
from kled_client.sync.sessions import SyncSession
from kled_sync.files.root import sync_home
from kled_sync.session.continuous import ContinuousSync
from kled_sync.session.sides.peer import Peer
from kled_wire.errors import ConflictError, InputError, KledError, NotFoundError, UnavailableError
from tests.client.sync.conftest import Env, running


@pytest.mark.parametrize(
    ("alpha", "mode", "code"),
    [
        ("none", "two-way-safe", "sync_source_missing"),
        pytest.param(*("none", "one-way-safe", "sync_source_missing"), marks=pytest.mark.slow),
        pytest.param(*("none", "one-way-replica", "sync_source_missing"), marks=pytest.mark.slow),
        ("/", "two-way-safe", "sync_root_invalid"),
        ("out", "two-way-safe", "sync_root_invalid"),
    ],
)
async def test_a_start_refuses_what_it_cannot_sync(
    env: Env, session: SyncSession, tmp_path: Path, alpha: str, mode: str, code: str
) -> None:
    (tmp_path / "out").symlink_to("/")
    refused = replace(session, alpha=str(tmp_path / alpha), mode=mode)
    async with running(env) as asked:
        with pytest.raises(KledError) as caught:
            await asked("start", session=asdict(refused))
        assert caught.value.code == code
        assert (await asked("list"))["syncs"] == []
        assert not (tmp_path / "there").exists()
        # The name is free again.
        assert (await asked("start", session=asdict(session)))["state"] == "running"


async def test_a_two_way_sync_begins_from_the_one_side_that_is_there(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    turned = replace(session, alpha=session.beta, beta=session.alpha)
    async with running(env) as asked:
        await asked("start", session=asdict(turned))
        await asked("flush", name="s")
    assert (tmp_path / "there" / "a").read_text() == "1"


@pytest.mark.parametrize(
    ("side", "first", "second"),
    [
        ("alpha", "pa", "pa/d"),
        ("beta", "pa/d", "pa"),
        pytest.param(*("alpha", "pa/d", "pa"), marks=pytest.mark.slow),
        pytest.param(*("beta", "pa", "pa/d"), marks=pytest.mark.slow),
    ],
)
async def test_two_syncs_do_not_overlap_on_either_side(
    env: Env, tmp_path: Path, side: str, first: str, second: str
) -> None:
    (tmp_path / "pa" / "d").mkdir(parents=True)
    (tmp_path / "pad").mkdir()
    one, other, apart = (
        SyncSession(
            name=name,
            alpha=str(tmp_path / (path if side == "alpha" else f"{name}-with")),
            beta=str(tmp_path / (path if side == "beta" else f"{name}-with")),
        )
        for name, path in (("one", first), ("other", second), ("apart", "pad"))
    )
    async with running(env) as asked:
        await asked("start", session=asdict(one))
        with pytest.raises(ConflictError, match="overlaps") as caught:
            await asked("start", session=asdict(other))
        assert caught.value.code == "sync_root_busy"
        assert caught.value.hint == "kled sync list shows those of this machine"
        assert (await asked("start", session=asdict(apart)))["state"] == "running"


async def test_attributes_are_kept_the_same_after_a_restart_too(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    (tmp_path / "here" / "b").write_text("2")
    with_attributes = replace(session, permissions="special", xattrs=True, numeric_ids=True)
    async with running(env) as asked:
        status = await asked("start", session=asdict(with_attributes))
        assert status["attributes"] == ["permissions special", "numeric-ids", "xattrs"]
        await asked("flush", name="s")
        assert (await asked("pause", name="s"))["attributes"] == status["attributes"]
        await asked("resume", name="s")
    os.setxattr(tmp_path / "there" / "b", "user.colour", b"blue")
    (tmp_path / "here" / "a").chmod(0o4755)
    async with running(env) as asked:
        await asked("flush", name="s")
        assert (tmp_path / "there" / "a").stat().st_mode & 0o7777 == 0o4755
        assert os.getxattr(tmp_path / "here" / "b", "user.colour") == b"blue"


async def test_an_undo_goes_back_to_no_time_before_the_start(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    before = time.time() - 60
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        with pytest.raises(InputError, match="s began at") as caught:
            await asked("undo", name="s", path="", since_s=before)
        assert caught.value.code == "sync_undo_too_early"
        await asked("flush", name="s")
    assert (tmp_path / "here" / "a").exists()
    assert (tmp_path / "there" / "a").exists()


@pytest.mark.parametrize("state", [pytest.param("paused", marks=pytest.mark.slow), "halted"])
async def test_what_is_kept_is_reached_while_a_sync_stands_still(
    env: Env, session: SyncSession, tmp_path: Path, state: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "b").write_text("2")
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        (here / "b").write_text("33")
        await asked("flush", name="s")
        if state == "paused":
            await asked("pause", name="s")
        else:
            for path in (here / "a", here / "b"):
                path.unlink()
            with pytest.raises(KledError, match="empty now"):
                await asked("flush", name="s")
        versions = (await asked("history", name="s", path="b"))["versions"]
        assert ("beta", "replaced") in [(v["side"], v["what"]) for v in versions]
        with pytest.raises(KledError):
            await asked("undo", name="s", path="../b")
        assert (await asked("undo", name="s", path="b"))["undone"] == {"alpha": [], "beta": ["b"]}
        assert (there / "b").read_text() == "2"
        assert (await asked("status", name="s"))["state"] == state
        if state == "paused":
            await asked("resume", name="s")
            await asked("flush", name="s")
            assert (here / "b").read_text() == "2"


async def test_a_sync_lives_on_from_start_to_stop(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        with pytest.raises(ConflictError, match="called s already"):
            await asked("start", session=asdict(session))
        status = await asked("flush", name="s")
        assert (status["state"], status["conflicts"]) == ("running", [])
        assert (there / "a").read_text() == "1"
        (there / "b").write_text("2")
        await asked("flush", name="s")
        assert (tmp_path / "here" / "b").exists()
        log = sync_home(env) / "sessions" / "s" / "changes.log"
        told = [json.loads(line) for line in log.read_text().splitlines()]
        # Who made it, and where it was made after that.
        assert [(x["by"], x["side"], x["event"], x["path"]) for x in told[-2:]] == [
            ("alpha", "beta", "created", "a"), ("beta", "alpha", "created", "b"),
        ]  # fmt: skip
        assert (await asked("pause", name="s"))["state"] == "paused"
        with pytest.raises(UnavailableError, match="s is paused"):
            await asked("flush", name="s")
    (there / "b").unlink()
    async with running(env) as asked:
        assert [row["state"] for row in (await asked("list"))["syncs"]] == ["paused"]
        await asked("resume", name="s")
        await asked("flush", name="s")
        assert not (tmp_path / "here" / "b").exists()
        versions = (await asked("history", name="s", path="b"))["versions"]
        assert [(v["side"], v["what"]) for v in versions] == [
            ("alpha", "deleted"),
            ("alpha", "made"),
        ]
        assert (await asked("undo", name="s", path="b"))["undone"]["alpha"] == ["b"]
        await asked("flush", name="s")
        assert (there / "b").read_text() == "2"
        await asked("stop", name="s")
        with pytest.raises(NotFoundError, match="no sync called s"):
            await asked("status", name="s")
    assert (there / "a").exists()


async def test_a_conflict_is_shown_and_resolved(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").write_text("other")
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        found = await asked("flush", name="s")
        assert found["conflicts"] == [{"path": "a", "reason": "made on both sides, and different"}]
        error = incomplete("s", found)
        assert error is not None
        assert error.code == "sync_conflicts"
        with pytest.raises(NotFoundError, match="no conflict at b"):
            await asked("resolve", name="s", path="b", side="alpha")
        assert await asked("resolve", name="s", path="a", side="alpha") == {"changed": 1}
        assert (tmp_path / "there" / "a").read_text() == "1"


async def test_undo_of_what_both_sides_edited_in_turn_is_no_conflict(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    here, there = tmp_path / "here" / "b", tmp_path / "there" / "b"
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        then = time.time()
        for path, text in ((here, "1"), (here, "22"), (there, "333")):
            path.write_text(text)
            await asked("flush", name="s")
        for before in ("22", "333", "22"):
            await asked("undo", name="s", path="b")
            found = await asked("flush", name="s")
            assert (found["conflicts"], here.read_text(), there.read_text()) == ([], before, before)
        await asked("undo", name="s", path="", since_s=then)
        await asked("flush", name="s")
        assert (here.exists(), there.exists()) == (False, False)


async def test_a_halt_says_why_and_a_monitor_sees_it(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    (tmp_path / "here" / "b").write_text("2")
    lines: list[dict[str, Any]] = []

    def watch() -> None:
        for line in stream(env, "monitor", start=False, name="s"):
            lines.append(line)
            if line.get("state") == "halted":
                return

    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, watch)
            (tmp_path / "here" / "a").unlink()
            (tmp_path / "here" / "b").unlink()
        status = await asked("status", name="s")
        assert status["state"] == "halted"
        assert "alpha side is empty now" in status["reason"]
    assert (tmp_path / "there" / "a").exists()


async def test_what_a_sync_has_halted_for_is_accepted_alone_and_after_a_restart(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "b").touch()
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        await asked("pause", name="s")
        (sync_home(env) / "sessions/s/agreement/filesystems").write_text("beta 1\n")
        for path in there.iterdir():
            path.unlink()
        await asked("resume", name="s")
        with pytest.raises(KledError, match="in another filesystem"):
            await asked("flush", name="s")
    async with running(env) as asked:
        await asked("resume", name="s", accept=True)
        with pytest.raises(KledError, match="beta side is empty now"):
            await asked("flush", name="s")
        assert (here / "a").exists()
        await asked("resume", name="s", accept=True)
        await asked("flush", name="s")
        assert not any(here.iterdir())


async def test_what_waits_for_a_sync_that_is_ended_is_answered(
    env: Env, session: SyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that hangs answers nothing, and takes no end of the sync to heart either."""

    async def never(*_: object) -> None:
        waiting.release()
        await trio.sleep_forever()

    monkeypatch.setattr(ContinuousSync, "flush", never)
    monkeypatch.setattr(background, "history", never)
    waiting = trio.Semaphore(0)
    async with running(env) as asked:
        await asked("start", session=asdict(session))

        async def ask(do: str) -> None:
            with pytest.raises(UnavailableError, match="s is paused"):
                await asked(do, name="s", path="")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "flush")
            nursery.start_soon(ask, "history")
            for _ in range(2):
                await waiting.acquire()
            await asked("pause", name="s")


async def test_status_names_a_side_that_does_not_answer(
    env: Env, session: SyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        monkeypatch.setattr(Peer, "silent_s", lambda peer: 12.5 * (peer.name == session.beta))
        status = await asked("status", name="s")
    assert status["doing"].endswith(", beta has not answered for 12 s")


async def test_a_monitor_goes_on_after_a_pause_until_the_sync_is_stopped(
    env: Env, session: SyncSession, tmp_path: Path
) -> None:
    said = Queue[str]()

    def read() -> None:
        for line in stream(env, "monitor", start=False, name="s"):
            said.put(line["state"] if line["event"] == "state" else line["path"])

    def watch() -> None:
        with pytest.raises(NotFoundError, match="there is no sync called s"):
            read()

    async def until(word: str) -> None:
        while await trio.to_thread.run_sync(partial(said.get, timeout=20)) != word:
            pass

    async with running(env) as asked, trio.open_nursery() as nursery:
        await asked("start", session=asdict(session))
        nursery.start_soon(trio.to_thread.run_sync, watch)
        await until("running")
        await asked("pause", name="s")
        await until("paused")
        (tmp_path / "here" / "later").touch()
        await asked("resume", name="s")
        await until("later")
        await asked("stop", name="s")


async def test_requests_that_are_none_are_refused(env: Env, session: SyncSession) -> None:
    async with running(env) as asked:
        for do, request in (
            ("dance", {}), ("status", {}), ("start", {"session": {"name": 5}}),
            ("start", {"session": {**asdict(session), "name": "../x"}}),
            ("start", {"session": {**asdict(session), "mode": "copy"}}),
        ):  # fmt: skip
            with pytest.raises(KledError):
                await asked(do, **request)
        with pytest.RaisesGroup(pytest.RaisesExc(ConflictError, match="runs already")):
            async with running(env):
                pass


async def test_a_sync_that_cannot_connect_says_what_ssh_says(
    env: Env,
    session: SyncSession,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "_AWAY_S", 0.0)
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nprintf "one\\nno \\033]0;route: $*\\n" >&2\nexit 255\n')
    ssh.chmod(0o755)
    env["PATH"] = f"{ssh.parent}:{env['PATH']}"
    async with running(env) as asked:
        found = await asked("start", session=asdict(replace(session, beta="me@far.example:x")))
        assert found["state"] == "waiting"
        assert "no \ufffd]0;route: -T " in found["reason"]
        assert "ServerAliveInterval=15" in found["reason"]  # a network that goes silently
        with pytest.raises(UnavailableError, match="s is waiting: the far end") as caught:
            await asked("flush", name="s")
        assert caught.value.hint == "kled sync status s"
    assert "one\n" in capfd.readouterr().err
