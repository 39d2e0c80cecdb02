"""An end of a sync that is lost or hangs, meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import trio

from kled_client.report import only_cause
from kled_client.sync.copy import CopyWish, copy
from kled_client.sync.place import parse_sync_place
from kled_client.sync.sessions import SyncSession
from kled_sync.session.continuous import ContinuousSync
from kled_sync.session.once import Plan
from kled_sync.session.sides import peer as peers
from kled_sync.session.transfers.transfer import SyncMeter
from kled_wire.errors import KledError
from tests.client.sync.conftest import Env, endpoints, nobody, running


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
@pytest.mark.parametrize("ends", [True, False])
async def test_a_flush_waits_for_a_side_that_is_lost_or_hangs(
    env: Env, session: SyncSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """One that hangs is ended, and its lock taken."""
    monkeypatch.setattr(peers, "_SILENT_MAX_S", 1.0)
    monkeypatch.setattr(peers, "_LOOK_S", 0.1)
    waiting = trio.Semaphore(0)
    flush = ContinuousSync.flush

    async def told(sync: ContinuousSync) -> None:
        waiting.release()
        await flush(sync)

    monkeypatch.setattr(ContinuousSync, "flush", told)
    async with running(env) as asked:
        await asked("start", session=asdict(session))
        await asked("flush", name="s")
        await waiting.acquire()
        far = max(endpoints())
        os.kill(far, signal.SIGSTOP)
        (tmp_path / "here" / "b").write_text("2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(asked, "flush", name="s"))
            await waiting.acquire()
            if ends:
                os.kill(far, signal.SIGKILL)
        assert (tmp_path / "there" / "b").read_text() == "2"


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
@pytest.mark.parametrize("which", [min, max])
async def test_a_copy_ends_where_an_end_hangs(
    env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: Callable[[Iterable[int]], int]
) -> None:
    monkeypatch.setattr(peers, "_SILENT_MAX_S", 1.0)
    monkeypatch.setattr(peers, "_LOOK_S", 0.1)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_text("1")
    places = map(parse_sync_place, (f"{source}/", str(target)))
    wish = CopyWish(source=next(places), target=next(places))

    async def confirm(_plan: Plan) -> bool:
        os.kill(which(endpoints()), signal.SIGSTOP)
        return True

    with pytest.RaisesGroup(
        pytest.RaisesExc(KledError, match="has not got on for"), flatten_subgroups=True
    ) as caught:
        await copy(wish, env, nobody(None), confirm, SyncMeter())
    error = only_cause(caught.value)
    assert isinstance(error, KledError)
    assert (error.code, error.exit_code) == ("sync_side_hangs", 7)
    assert error.hint is not None
    assert not endpoints()
