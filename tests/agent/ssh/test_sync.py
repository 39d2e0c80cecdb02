"""The subsystem kled-sync: an endpoint of the session's user, also where the agent is root."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest
import trio

from kled_sync.decide.modes import SyncSide
from kled_sync.session.once import OneSync, Plan, Wish
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.streams import PipeStream
from kled_sync.session.transfers.transfer import SyncMeter
from kled_wire.errors import KledError
from kled_wire.ssh.subsystems import SYNC
from tests.agent.ssh.site import Site
from tests.kit.endpoints import AS_RSYNC, content, two_peers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has sessions of others")


async def copy(site: Site, source: Path, destination: bytes, state: Path) -> int:
    """How much was brought over by OpenSSH's client."""
    command = ["ssh", *site.options(), "-s", "any@ws.kled", SYNC]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    async def yes(_plan: Plan) -> bool:
        return True

    try:
        async with two_peers(state) as peers, trio.open_nursery() as nursery:
            assert process.stdio is not None
            far = Peer("far", PipeStream(process.stdio))
            nursery.start_soon(far.run)
            wish = Wish(
                source=os.fsencode(source) + b"/", destination=destination, options=AS_RSYNC
            )
            sync = OneSync(peers[SyncSide.ALPHA], far, wish, SyncMeter())
            result = await sync.run(yes)
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        await process.wait()
    assert result.done.failures == []
    return result.changes


async def test_what_comes_is_the_users_and_begins_at_their_home(
    other: Site, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("1")
    assert await copy(other, source, b"proj", tmp_path) == 3
    assert content(other.home / "proj") == content(source)
    nobody = pwd.getpwnam("nobody").pw_uid
    assert {p.stat().st_uid for p in (other.home / "proj").rglob("*")} == {nobody}


async def test_the_kernel_judges_paths_for_the_user(other: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "f").write_text("1")
    with pytest.RaisesGroup(
        pytest.RaisesExc(KledError, match="Permission denied"), flatten_subgroups=True
    ):
        await copy(other, source, b"/etc/kled-sync-test", tmp_path)
    assert not Path("/etc/kled-sync-test").exists()
