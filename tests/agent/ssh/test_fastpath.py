"""Both paths of channel data against OpenSSH: rekeying, corruption, ciphers that have no GCM."""

from __future__ import annotations

import hashlib
import os

import pytest
import trio

from kled_agent.ssh.fastpath import FastPathConnection
from tests.agent.conftest import Records
from tests.agent.ssh.site import Site

_GCM = "aes128-gcm@openssh.com"


def _count(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many packets took the fast path."""
    counts = {"sent": 0, "received": 0}
    send, deliver = FastPathConnection._send_fast, FastPathConnection._deliver

    def sending(self: FastPathConnection, *args: object) -> None:
        counts["sent"] += 1
        send(self, *args)  # type: ignore[arg-type]  # passed on

    def delivering(self: FastPathConnection, packet: bytes) -> bool:
        counts["received"] += 1
        return deliver(self, packet)

    monkeypatch.setattr(FastPathConnection, "_send_fast", sending)
    monkeypatch.setattr(FastPathConnection, "_deliver", delivering)
    return counts


@pytest.mark.parametrize(
    ("cipher", "short"), [(_GCM, True), ("aes256-gcm@openssh.com", True),
                          ("chacha20-poly1305@openssh.com", False), ("aes128-ctr", False)],
)  # fmt: skip
async def test_gcm_takes_the_short_path_and_the_others_asyncsshs_own(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    cipher: str,
    short: bool,
) -> None:
    counts = _count(monkeypatch)
    blob = os.urandom(1_000_000)
    done = await site.ssh("cat", stdin=blob, options=["-c", cipher])
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(blob).digest()
    assert (counts["sent"] > 0, counts["received"] > 0) == (short, short)


@pytest.mark.parametrize("limit", [pytest.param("1M", marks=pytest.mark.slow), "64K"])
@pytest.mark.parametrize("cipher", [_GCM, "chacha20-poly1305@openssh.com"])
async def test_new_keys_in_the_middle_of_a_transfer_change_nothing(
    site: Site, limit: str, cipher: str
) -> None:
    size = 12_000_000 if limit == "1M" else 2_000_000
    blob = os.urandom(size)
    options = ["-c", cipher, "-oRekeyLimit=" + limit, "-v"]
    done = await site.ssh("cat", stdin=blob, options=options)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(blob).digest()
    assert done.stderr.count(b"SSH2_MSG_NEWKEYS received") > 3


@pytest.mark.slow
async def test_fifty_megabytes_with_a_new_key_each_megabyte_arrive(site: Site) -> None:
    (site.home / "blob").write_bytes(os.urandom(50_000_000))
    wanted = hashlib.sha256((site.home / "blob").read_bytes()).hexdigest()
    done = await site.ssh("cat blob", options=["-c", _GCM, "-oRekeyLimit=1M"])
    assert hashlib.sha256(done.stdout).hexdigest() == wanted
    done = await site.ssh("sha256sum", stdin=done.stdout, options=["-c", _GCM, "-oRekeyLimit=1M"])
    assert done.stdout.split()[0].decode() == wanted


async def test_corrupted_ciphertext_ends_only_its_own_connection(
    site: Site, records: Records
) -> None:
    """A proxy turns one bit over in the middle of a transfer."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def proxy(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", site.port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, server, client, 0, nursery.cancel_scope)
            await _copy(client, server, 500_000, nursery.cancel_scope)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy, listeners)
        other: list[bytes] = []

        async def bystander() -> None:
            other.append((await site.ssh("cat", stdin=b"x" * 3_000_000)).stdout)

        async with trio.open_nursery() as both:
            both.start_soon(bystander)
            # The first value of an option counts.
            argv = ["any@ws.kled", "cat > /dev/null; echo all"]
            options = ["-F", "none", f"-oPort={port}", *site.options()[2:]]
            from tests.agent.ssh.site import run  # noqa: PLC0415 - next to its use

            done = await run(["ssh", *options, "-c", _GCM, *argv], stdin=bytes(2_000_000))
        nursery.cancel_scope.cancel()
    assert done.returncode == 255
    assert b"all" not in done.stdout
    assert other == [b"x" * 3_000_000]
    assert not records.having("ssh_failed")
    assert (await site.ssh("exit 4")).returncode == 4


async def _copy(
    source: trio.SocketStream, sink: trio.SocketStream, flip_at: int, scope: trio.CancelScope
) -> None:
    seen = 0
    try:
        while data := bytearray(await source.receive_some(65536)):
            if flip_at and seen <= flip_at < seen + len(data):
                data[flip_at - seen] ^= 1
            seen += len(data)
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()
