"""Forwards, files and agents through real OpenSSH programs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from kled_agent.ssh.subsystems import choice
from tests.agent.ssh.site import Site, forwarding, run
from tests.kit.programs import need
from tests.kit.sockets import free_port, open_unix


async def _shout(stream: trio.SocketStream) -> None:
    """Answer everything in upper case, after the peer's end."""
    async with stream:
        got = b""
        while data := await stream.receive_some():
            got += data
        await stream.send_all(got.upper())


async def _ask(stream: trio.SocketStream, question: bytes) -> bytes:
    async with stream:
        await stream.send_all(question)
        await stream.send_eof()
        got = b""
        while data := await stream.receive_some():
            got += data
        return got


@asynccontextmanager
async def _shouting() -> AsyncIterator[int]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _shout, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_a_local_forward_carries_bytes_and_the_half_close(site: Site) -> None:
    port = free_port()
    async with _shouting() as target, forwarding(site, "-L", f"{port}:localhost:{target}"):
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            assert await _ask(stream, b"hello" * 50_000) == b"HELLO" * 50_000


async def test_a_remote_forward_comes_back(site: Site) -> None:
    port = free_port()
    async with _shouting() as target, forwarding(site, "-R", f"{port}:localhost:{target}"):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        assert await _ask(stream, b"hello") == b"HELLO"


async def test_a_dynamic_forward_is_a_socks_proxy(site: Site) -> None:
    port = free_port()
    async with _shouting() as target, forwarding(site, "-D", f"{port}"):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"\x05\x01\x00")
        assert await stream.receive_some(2) == b"\x05\x00"
        await stream.send_all(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        assert (await stream.receive_some(10))[1] == 0
        assert await _ask(stream, b"hello") == b"HELLO"


async def test_a_forward_to_a_closed_port_fails_alone(site: Site) -> None:
    port, other, closed = free_port(), free_port(), free_port()
    async with (
        _shouting() as target,
        forwarding(site, "-L", f"{port}:localhost:{closed}", "-L", f"{other}:localhost:{target}"),
    ):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        with contextlib.suppress(trio.BrokenResourceError):
            assert await _ask(stream, b"hello") == b""
        stream = await trio.open_tcp_stream("127.0.0.1", other)
        assert await _ask(stream, b"hello") == b"HELLO"


async def test_unix_sockets_are_forwarded_both_ways(site: Site) -> None:
    theirs, local, remote = (str(site.home / name) for name in ("theirs", "local", "remote"))
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(theirs)
    listener.listen()
    async with trio.open_nursery() as nursery:
        serve = trio.serve_listeners
        nursery.start_soon(serve, _shout, [trio.SocketListener(listener)])
        forwards = ("-L", f"{local}:{theirs}", "-R", f"{remote}:{theirs}")
        async with forwarding(site, *forwards):
            for path in (local, remote):
                assert await _ask(await open_unix(path), b"hello") == b"HELLO"
        nursery.cancel_scope.cancel()


async def test_the_clients_agent_can_be_asked_from_the_session(site: Site) -> None:
    agent = str(site.home / "agent")
    process = await trio.lowlevel.open_process(
        ["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL
    )
    try:
        await (await open_unix(agent)).aclose()
        env = {"SSH_AUTH_SOCK": agent}
        added = await run(["ssh-add", "-q", str(site.keys.folder / "user")], env=env)
        assert added.returncode == 0
        done = await site.ssh("ssh-add -L", options=["-A"], env=env)
        assert done.stdout.split()[1] in site.keys.text("user.pub").encode()
        done = await site.ssh("echo [$SSH_AUTH_SOCK]", options=["-a"], env=env)
        assert done.stdout == b"[]\n"
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(params=["program", "embedded"])
def sftp_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "embedded":
        monkeypatch.setattr(choice, "_SFTP_SERVERS", ())
    return str(request.param)


async def test_files_go_both_ways_over_sftp(site: Site, sftp_server: str) -> None:
    source, back = site.home / "odd \u00fc 'name", site.home / "back"
    source.write_bytes(os.urandom(3_000_000))
    batch = site.home / "batch"
    batch.write_text(
        f'put "{source}" "{site.home}/there"\nget "{site.home}/there" "{back}"\n'
        f'mkdir "{site.home}/d"\n'
        f'rename "{site.home}/there" "{site.home}/d/moved"\nls -l {site.home}/d\n'
    )
    done = await run(["sftp", *site.options(), "-b", str(batch), "any@ws.kled"])
    assert done.returncode == 0, done.stderr
    assert b"moved" in done.stdout
    wanted = hashlib.sha256(source.read_bytes()).digest()
    for path in (back, site.home / "d" / "moved"):
        assert hashlib.sha256(path.read_bytes()).digest() == wanted


async def test_scp_copies_a_tree(site: Site, sftp_server: str) -> None:
    tree = site.home / "tree" / "sub"
    tree.mkdir(parents=True)
    (tree / "file").write_text("text")
    (tree / "run").write_text("#!/bin/sh\n")
    (tree / "run").chmod(0o755)
    argv = ["scp", *site.options(), "-rp", str(site.home / "tree"), f"any@ws.kled:{site.home}/copy"]
    done = await run(argv)
    assert done.returncode == 0, done.stderr
    assert (site.home / "copy/sub/file").read_text() == "text"
    assert (site.home / "copy/sub/run").stat().st_mode & 0o777 == 0o755


@pytest.mark.strangers
async def test_rclone_copies_a_tree_to_and_from_the_home(site: Site, sftp_server: str) -> None:
    tree, folder = site.home / "tree", site.keys.folder
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(1_000_000))
    (tree / "small").write_text("x")
    keys = f"user=any,key_file={folder}/user,pubkey_file={folder}/good-cert.pub"
    remote = f":sftp,host=127.0.0.1,port={site.port},{keys}:copy"
    for words in (["copy", str(tree), remote], ["check", "--download", str(tree), remote]):
        done = await run([need("rclone"), "--config", os.devnull, "--retries", "1", *words])
        assert done.returncode == 0, done.stderr
    assert (site.home / "copy/large").read_bytes() == (tree / "large").read_bytes()


async def test_an_unknown_subsystem_is_refused(site: Site) -> None:
    done = await run(["ssh", *site.options(), "-s", "any@ws.kled", "netconf"])
    assert done.returncode != 0
    assert b"subsystem request failed" in done.stderr
