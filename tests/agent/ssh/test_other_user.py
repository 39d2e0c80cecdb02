"""An agent that is root, and sessions of somebody else: what is made for them is theirs."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest
import trio

from kled_agent.ssh.subsystems import choice
from tests.agent.ssh.site import Site, forwarding, run
from tests.kit.sockets import open_unix

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has sessions of others")

REFUSED = ("-v", "-N", "-o", "ExitOnForwardFailure=yes")


def _owner(path: Path) -> tuple[str, int]:
    found = path.lstat()
    return pwd.getpwuid(found.st_uid).pw_name, stat.S_IMODE(found.st_mode)


async def _served(
    path: Path, text: bytes, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Listen at `path` as root, greet one connection, and say whose it was."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        task_status.started()
        link, _ = await trio.to_thread.run_sync(listener.accept)
        with link:
            told = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            link.sendall(text + b" %d" % struct.unpack("3i", told)[1])


async def _read(path: Path) -> bytes:
    async with await open_unix(path) as stream:
        got = b""
        while data := await stream.receive_some():
            got += data
        return got


async def test_the_clients_agent_is_reached_by_a_socket_of_the_users(other: Site) -> None:
    agent = str(other.home.parent / f"{other.home.name}.agent")
    process = await trio.lowlevel.open_process(
        ["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL
    )
    try:
        await (await open_unix(agent)).aclose()
        env = {"SSH_AUTH_SOCK": agent}
        await run(["ssh-add", "-q", str(other.keys.folder / "user")], env=env)
        line = "ssh-add -L; stat -c '%U %a' $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK)"
        done = await other.ssh(f"{line}; echo $SSH_AUTH_SOCK", options=["-A"], env=env)
        key, *owners, path = done.stdout.decode().splitlines()
        assert key.split()[1] in other.keys.text("user.pub")
        assert owners == ["nobody 600", "nobody 700"]
        with trio.fail_after(10):
            while Path(path).parent.exists():
                await trio.sleep(0.01)
    finally:
        process.kill()
        await process.wait()
        Path(agent).unlink()


async def test_a_listening_socket_is_the_users_and_goes_with_the_forward(other: Site) -> None:
    there, target = other.home / "there", other.home.parent / f"{other.home.name}.target"
    async with forwarding(other, "-R", f"{there}:{target}"):
        assert _owner(there) == ("nobody", 0o600)
        async with trio.open_nursery() as nursery:
            await nursery.start(_served, target, b"here")
            assert await _read(there) == b"here 0"
    target.unlink()
    with trio.fail_after(10):
        while there.exists():
            await trio.sleep(0.01)


async def test_who_listens_inside_sees_the_user(other: Site) -> None:
    inside, here = other.home / "inside", other.home / "here"
    async with trio.open_nursery() as nursery:
        await nursery.start(_served, inside, b"you are")
        async with forwarding(other, "-L", f"{here}:{inside}"):
            assert await _read(here) == b"you are %d" % pwd.getpwnam("nobody").pw_uid


async def test_where_the_user_may_not_write_a_socket_is_refused_with_the_reason(
    other: Site,
) -> None:
    done = await other.ssh(options=[*REFUSED, "-R", "/root/there:/nowhere"])
    assert b"cannot listen on /root/there: Permission denied" in done.stderr
    assert not Path("/root/there").exists()


async def test_a_live_socket_is_never_taken_over_and_a_dead_one_is(other: Site) -> None:
    there = other.home / "there"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(there))
        os.chown(there, pwd.getpwnam("nobody").pw_uid, -1)
        listener.listen()
        done = await other.ssh(options=[*REFUSED, "-R", f"{there}:/nowhere"])
        assert b"Address already in use" in done.stderr
        assert there.exists()
    async with forwarding(other, "-R", f"{there}:/nowhere"):
        assert _owner(there) == ("nobody", 0o600)


@pytest.mark.parametrize("installed", [True, False])
async def test_files_are_written_as_the_user(
    other: Site, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    if not installed:
        monkeypatch.setattr(choice, "_SFTP_SERVERS", ())
    batch = other.keys.folder / "batch"
    batch.write_text(f"put {batch} made\n-put {batch} /root/made\n-get /etc/shadow {batch}.got\n")
    done = await run(["sftp", *other.options(), "-b", str(batch), "any@ws.kled"])
    assert done.returncode == 0, done.stderr
    assert (other.home / "made").read_bytes() == batch.read_bytes()
    assert _owner(other.home / "made")[0] == "nobody"
    assert not Path("/root/made").exists()
    assert not batch.with_suffix(".got").exists()
