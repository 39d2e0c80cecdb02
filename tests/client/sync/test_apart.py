"""Two syncs that overlap at a host that cannot be reached when they are started."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import trio

from kled_client.sync import supervise
from kled_client.sync.sessions import SyncSession
from kled_wire.errors import ConflictError
from tests.client.sync.conftest import Env, endpoints, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
SSH = """#!/bin/sh
[ -e {up} ] || exit 255
XDG_STATE_HOME={state} exec {python} -P -m kled_sync
"""


@pytest.fixture
def up(env: Env, tmp_path: Path) -> Path:
    """While it is there, ssh reaches the host: this one, with another state directory."""
    up, ssh = tmp_path / "up", tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH.format(up=up, state=tmp_path / "far", python=sys.executable))
    ssh.chmod(0o755)
    env["PATH"] = f"{ssh.parent}:{env['PATH']}"
    return up


@pytest.mark.parametrize(
    ("known", "first", "second"),
    [
        (True, "pa", "pa/d"),
        (False, "pa/d", "pa"),
        (True, "link", "pa"),
        pytest.param(True, "pa/d", "pa", marks=pytest.mark.slow),
        pytest.param(False, "pa", "pa/d", marks=pytest.mark.slow),
    ],
)
async def test_the_later_one_is_halted_though_it_is_reached_first(
    env: Env,
    tmp_path: Path,
    up: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
    first: str,
    second: str,
) -> None:
    """`known`: the first was reached before."""
    (tmp_path / "pa" / "d").mkdir(parents=True)
    (tmp_path / "link").symlink_to("pa")
    async with running(env) as asked:

        async def start(name: str, path: str) -> str:
            (tmp_path / name).mkdir()
            (tmp_path / name / name).touch()
            session = SyncSession(
                name=name, alpha=str(tmp_path / name), beta=f"me@far.example:{tmp_path / path}"
            )
            return str((await asked("start", session=asdict(session)))["state"])

        if known:
            up.touch()
            assert await start("one", first) == "running"
            await asked("flush", name="one")
            up.unlink()
            monkeypatch.setattr(supervise, "_RETRY_S", (1.0,))
            os.kill(max(endpoints()), signal.SIGKILL)
            while (await asked("status", name="one"))["state"] == "running":
                await trio.lowlevel.checkpoint()
        else:
            monkeypatch.setattr(supervise, "_RETRY_S", (1.0,))
            assert await start("one", first) == "waiting"
        # It would be reached at once.
        up.touch()
        with pytest.raises(ConflictError, match=r"earlier sync one .* overlaps") as caught:
            await start("other", second)
        assert caught.value.code == "sync_root_busy"
        await asked("flush", name="one")
        assert (tmp_path / first / "one").exists()
        assert not list(tmp_path.glob("pa/**/other"))
