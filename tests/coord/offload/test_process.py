"""A real offload process, started and handed connections as the coordinator does."""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
import structlog
import trio

from kled_coord.metrics import Metrics
from kled_coord.offload.handover import LayerKind
from kled_coord.offload.process import OffloadProcess
from kled_wire.errors import UnavailableError
from kled_wire.transport.tls import TlsStream
from tests.coord.offload.authority import NAME, Authority
from tests.coord.relay.sidecars import limit_leaving, pids_of
from tests.coord.relay.sockets import connected, read_all
from tests.kit.sockets import trio_stream

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll(7) is Linux's")
BIG = 3_000_000


class Site:
    """A process that terminates TLS, and clients of it."""

    def __init__(self, authority: Authority, *, tls: bool = True) -> None:
        self.authority = authority
        self.metrics = Metrics()
        files = authority.issue() if tls else None
        self.process = OffloadProcess(self.metrics, files, "0", lambda: None)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
        """A client's bare connection, and the plain end of it."""
        peer, outer = (trio_stream(end) for end in connected())
        async with peer, self.process.unwrapped(LayerKind.TLS, outer) as plain:
            await outer.aclose()
            yield peer, plain

    @asynccontextmanager
    async def secured(self) -> AsyncIterator[tuple[TlsStream, trio.SocketStream]]:
        """A client after its handshake, and the plain end."""
        async with self.raw() as (peer, plain):
            client = TlsStream(peer, self.authority.trusting(), server_hostname=NAME)
            await client.do_handshake()
            yield client, plain


@pytest.fixture
async def site(authority: Authority, nursery: trio.Nursery) -> AsyncIterator[Site]:
    made = Site(authority)
    await nursery.start(made.process.run)
    yield made
    nursery.cancel_scope.cancel()


async def check(client: trio.abc.Stream, plain: trio.abc.Stream, word: bytes = b"x") -> None:
    """Both ways are open."""
    with trio.fail_after(20):
        await client.send_all(word)
        assert await plain.receive_some() == word
        await plain.send_all(word)
        assert await client.receive_some() == word


async def test_bytes_and_half_closes_go_both_ways(site: Site) -> None:
    payload = os.urandom(BIG)
    async with site.secured() as (client, plain), trio.open_nursery() as nursery:
        assert site.process.load == 1

        async def send(stream: trio.abc.HalfCloseableStream) -> None:
            await stream.send_all(payload)
            await stream.send_eof()

        nursery.start_soon(send, client)
        nursery.start_soon(send, plain)
        for stream in (plain, client):
            got = await read_all(stream)
            assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()
    assert site.process.load == 0


async def test_a_close_behind_it_reaches_the_client_after_the_last_bytes(site: Site) -> None:
    async with site.secured() as (client, plain), trio.open_nursery() as nursery:

        async def answer() -> None:
            await plain.send_all(b"x" * BIG)
            await plain.aclose()

        nursery.start_soon(answer)
        assert len(await read_all(client)) == BIG


async def test_a_client_that_goes_is_seen_behind_it(site: Site) -> None:
    async with site.secured() as (client, plain):
        await trio.aclose_forcefully(client)
        assert await plain.receive_some() == b""


async def test_one_that_does_not_speak_tls_ends_alone(site: Site) -> None:
    async with site.secured() as (client, plain):
        async with site.raw() as (stranger, behind):
            await stranger.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert await read_all(behind) == b""
            assert (await stranger.receive_some())[:1] in {b"", b"\x15"}
        async with site.raw() as (silent, behind):
            await behind.aclose()
            assert await silent.receive_some() == b""
        await check(client, plain)


async def check_another(site: Site) -> None:
    async with site.secured() as ends:
        await check(*ends)


async def test_a_process_that_dies_breaks_its_connections_and_is_started_again(site: Site) -> None:
    async with site.secured() as (client, plain):
        # The whole handshake is read there, else its end is a reset.
        await check(client, plain)
        os.kill(pid(), signal.SIGKILL)
        assert await plain.receive_some() == b""
        assert await client.receive_some() == b""
    with trio.fail_after(20):
        while not site.process.running:
            await trio.sleep(0.02)
    await check_another(site)
    assert (
        site.metrics.registry.get_sample_value("kled_offload_restarts_total", {"process": "0"}) == 1
    )


# A coordinator that leaves its process ends right after; here the interpreter lives and notices.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
async def test_a_process_that_is_left_serves_its_connections_and_then_exits(
    authority: Authority,
) -> None:
    site = Site(authority)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.process.run)
        async with site.secured() as (client, plain):
            left = psutil.Process(pid())
            site.process.leave()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await check(client, plain)
                await client.send_eof()
                await plain.send_eof()
                assert await plain.receive_some() == b""
    await trio.to_thread.run_sync(left.wait, 10)
    del site
    gc.collect()  # the interpreter is to notice here, not in another test


async def test_a_cut_ends_the_connections(authority: Authority) -> None:
    site = Site(authority)
    async with trio.open_nursery() as nursery:
        await nursery.start(site.process.run)
        async with site.secured() as (client, _plain):
            site.process.leave()
            site.process.cut()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), trio.fail_after(10):
                assert await client.receive_some() == b""


async def test_a_new_certificate_is_used_for_the_next_connection(site: Site) -> None:
    async with site.secured() as (client, plain):
        first = await serial(site)
        with structlog.testing.capture_logs() as logs:
            site.authority.issue()
            second = await serial(site)
            (site.authority.directory / "key.pem").write_text("spoilt")
            assert await serial(site) == second != first
            with trio.fail_after(10):
                while len(logs) < 2:
                    await trio.sleep(0.01)
        assert [entry["event"] for entry in logs] == ["tls_files_renewed", "tls_files_unusable"]
        await check(client, plain)


@pytest.mark.parametrize("left", range(3))
async def test_without_descriptors_it_loses_the_new_connection_and_no_other(
    site: Site, left: int
) -> None:
    async with site.secured() as (client, plain):
        before = resource.prlimit(pid(), resource.RLIMIT_NOFILE)
        resource.prlimit(pid(), resource.RLIMIT_NOFILE, (limit_leaving(left, pid()), before[1]))
        if left < 2:
            async with site.raw() as (lost, behind):
                assert await behind.receive_some() == b""
                assert await lost.receive_some() == b""
        else:
            await check_another(site)
        await check(client, plain)
        resource.prlimit(pid(), resource.RLIMIT_NOFILE, before)
        await check_another(site)


async def test_without_a_process_it_is_refused_and_the_connection_stays_ours(
    authority: Authority,
) -> None:
    peer, outer = (trio_stream(end) for end in connected())
    process = Site(authority).process
    async with peer, outer:
        with pytest.raises(UnavailableError) as caught:
            async with process.unwrapped(LayerKind.TLS, outer):
                pytest.fail("there is nobody to take it")
        assert caught.value.code == "offload_restarting"
        await check(peer, outer)
    assert process.load == 0


async def serial(site: Site) -> str:
    """Of the certificate that a new connection is shown."""
    async with site.raw() as (peer, _):
        client = trio.SSLStream(peer, site.authority.trusting(), server_hostname=NAME)
        await client.do_handshake()
        return str(client.getpeercert()["serialNumber"])


def pid() -> int:
    (found,) = pids_of("kled_coord.offload.server")
    return found
