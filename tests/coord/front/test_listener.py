"""The one port: slow, oversized, half-open, pipelined and broken connections; TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from kled_coord.front.admission import Admission
from kled_coord.front.forwarded import Network
from kled_coord.front.head import Plane
from kled_coord.front.listener import Arrival, open_listeners, serve_connections
from kled_coord.front.tls import open_certificates
from kled_coord.metrics import Metrics
from kled_coord.offload.pool import OffloadPool
from kled_wire import limits
from kled_wire.errors import ConfigError
from kled_wire.transport.tls import TlsStream
from tests.coord.conftest import Api

API = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
STREAM = (
    b"GET /api/v1/agent/stream HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
    b"Upgrade: kled-stream\r\n\r\n"
)


@dataclass
class Front:
    """A listener whose planes note what came and echo."""

    port: int
    came: list[tuple[Plane, bytes]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    async def open(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, *pieces: bytes) -> bytes:
        """Send, end our side, read to the end."""
        async with await self.open() as stream:
            for piece in pieces:
                await stream.send_all(piece)
            await stream.send_eof()
            return await _rest(stream)


async def _rest(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    with trio.fail_after(15):
        while data := await stream.receive_some():
            got += data
    return bytes(got)


@asynccontextmanager
async def _front(
    tls: OffloadPool | None = None,
    trusted_proxies: Sequence[Network] = (),
    admission: Admission | None = None,
    head_s: float = limits.HEAD_TIMEOUT_S,
) -> AsyncIterator[Front]:
    listeners = await open_listeners("127.0.0.1", 0)
    front = Front(listeners[0].socket.getsockname()[1])

    async def take(arrival: Arrival) -> None:
        if arrival.head.target == "/crash":
            raise ZeroDivisionError
        if "authorization" in arrival.head.headers:
            arrival.vouched()
        stream = arrival.with_head() if arrival.route.plane is Plane.API else arrival.stream
        data = await _rest(stream)
        front.addresses.append(arrival.address)
        front.came.append((arrival.route.plane, data))
        await stream.send_all(b"seen")
        await stream.send_eof()

    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
        planes = dict.fromkeys(Plane, take)
        serve = partial(
            serve_connections,
            tls=tls,
            trusted_proxies=trusted_proxies,
            admission=admission or Admission(),
            head_s=head_s,
        )
        accepting.start_soon(serve, listeners, planes, connections)
        yield front
        accepting.cancel_scope.cancel()
        connections.cancel_scope.cancel()


async def test_the_api_gets_the_connection_as_it_was_before_the_head_was_read() -> None:
    async with _front() as front:
        assert await front.ask(API[:10], API[10:] + API, b"more") == b"seen"
    assert front.came == [(Plane.API, API + API + b"more")]


async def test_a_stream_begins_after_the_head_with_what_was_pipelined() -> None:
    async with _front() as front:
        assert await front.ask(STREAM + b"SSH-2.0-x\r\n", b"more") == b"seen"
        assert await front.ask(STREAM + API) == b"seen"
    assert front.came == [
        (Plane.AGENT_STREAM, b"SSH-2.0-x\r\nmore"),
        (Plane.AGENT_STREAM, API),
    ]


@pytest.mark.parametrize("head", [API, STREAM])
async def test_a_trusted_proxy_says_who_it_serves(head: bytes) -> None:
    told = head[:-2] + b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n"
    for trusted, client in (
        (["127.0.0.1"], "192.0.2.2"),
        (["127.0.0.2"], "127.0.0.1"),
        ([], "127.0.0.1"),
    ):
        async with _front(trusted_proxies=[ip_network(text) for text in trusted]) as front:
            assert await front.ask(told) == b"seen"
            assert await front.ask(head) == b"seen"
        assert front.addresses == [client, "127.0.0.1"]


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (b"x" * 40_000, b"400", b"head_too_large"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", b"400", b"head_too_large"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", b"400", b"head_malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"400", b"head_malformed"),
        (b"GET / HTTP/1.1\r\nHost", b"400", b"head_incomplete"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400",
         b"head_malformed"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400",
         b"head_malformed"),
        (STREAM[:-2] + b"Content-Length: 5\r\n\r\nhello", b"400", b"upgrade_with_body"),
        (b"GET /api/v1/agent/control HTTP/1.1\r\n\r\n", b"426", b"upgrade_required"),
        (STREAM.replace(b"agent", b"workspaces/X"), b"422", b"name_invalid"),
        (STREAM.replace(b"agent/stream", b"workspaces/a/stream?" + b"b=1&" * 10), b"422",
         b"query_invalid"),
    ],
)  # fmt: skip
async def test_a_refused_connection_gets_its_whole_answer(
    said: bytes, status: bytes, code: bytes
) -> None:
    async with _front() as front:
        answer = await front.ask(said)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b'"' + code + b'"' in answer
        assert await front.ask(API) == b"seen"


async def test_a_slow_head_is_given_up_however_it_trickles() -> None:
    async with _front(head_s=0.2) as front:
        silent, trickling = await front.open(), await front.open()
        async with silent, trickling, trio.open_nursery() as nursery:

            async def trickle() -> None:
                for byte in API[:-1]:
                    await trickling.send_all(bytes([byte]))
                    await trio.sleep(0.03)

            nursery.start_soon(trickle)
            for stream in (silent, trickling):
                assert b"head_timeout" in await _rest_or_reset(stream)
            nursery.cancel_scope.cancel()
        assert front.came == []


async def _rest_or_reset(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(15):
        return bytes(await stream.receive_some())


async def test_connections_that_say_nothing_or_reset_harm_nobody() -> None:
    async with _front() as front:
        for said in (b"", b"GET", API[:-2], STREAM):
            stream = await front.open()
            if said:
                await stream.send_all(said)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        stream = await front.open()
        await stream.aclose()
        assert await front.ask(API) == b"seen"


async def test_strangers_hold_so_many_places_and_only_their_own() -> None:
    """Who has said who they are holds none; whoever finds none waits for one."""
    trusted = [ip_network("127.0.0.2")]
    async with _front(admission=Admission(3), trusted_proxies=trusted) as front:
        agents = [await front.open() for _ in range(9)]
        for agent in agents:
            await agent.send_all(STREAM[:-2] + b"Authorization: Bearer x\r\n\r\n")
        silent = [await front.open() for _ in range(3)]
        # From elsewhere, and through a proxy for whom is elsewhere: at once.
        await _ask_from("127.0.0.3", front.port, API)
        told = STREAM[:-2] + b"X-Forwarded-For: 192.0.2.1\r\n\r\n"
        proxied = [await _open_from("127.0.0.2", front.port) for _ in range(4)]
        for stream in proxied[:3]:
            await stream.send_all(told)
        await trio.testing.wait_all_tasks_blocked(0.1)
        waiting, other = await front.open(), proxied[3]
        await waiting.send_all(API)
        await waiting.send_eof()
        await other.send_all(told)
        await other.send_eof()
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert front.addresses == ["127.0.0.3"]
        for stream in (silent[0], proxied[0]):
            await stream.aclose()
        assert await _rest(waiting) == await _rest(other) == b"seen"
        assert "127.0.0.1" in front.addresses
        for stream in (*agents, *silent, *proxied, waiting):
            await stream.aclose()


async def _open_from(address: str, port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port, local_address=address)


async def _ask_from(address: str, port: int, said: bytes) -> None:
    async with await _open_from(address, port) as stream:
        await stream.send_all(said)
        await stream.send_eof()
        assert await _rest(stream) == b"seen"


async def test_a_bug_in_one_plane_ends_only_its_connection() -> None:
    async with _front() as front:
        assert await front.ask(b"GET /crash HTTP/1.1\r\n\r\n") == b""
        assert await front.ask(API) == b"seen"


async def test_an_upgrade_later_on_a_connection_is_426(api: Api) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        await stream.send_all(API)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await stream.send_all(STREAM)
        answer = b""
        with trio.fail_after(10):
            while b"upgrade_refused" not in answer:
                data = await stream.receive_some()
                assert data
                answer += data
        assert b"HTTP/1.1 426" in answer


@pytest.fixture
def files(tmp_path: Path) -> tuple[trustme.CA, Path, Path]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return authority, certificate, key


@asynccontextmanager
async def _offloading(certificate: Path, key: Path) -> AsyncIterator[OffloadPool]:
    async with trio.open_nursery() as nursery:
        pool = OffloadPool(2, Metrics(), (certificate, key))
        await nursery.start(pool.run)
        yield pool
        nursery.cancel_scope.cancel()


async def test_tls_comes_first_where_it_is_set_up(files: tuple[trustme.CA, Path, Path]) -> None:
    authority, certificate, key = files
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with _offloading(certificate, key) as tls, _front(tls) as front:
        client = TlsStream(await front.open(), trusting, server_hostname="127.0.0.1")
        await client.do_handshake()
        await client.send_all(STREAM + b"inside")
        await client.send_eof()
        assert await _rest(client) == b"seen"
        await client.aclose()
        # Plain HTTP to the TLS port, and a client that does not trust us, end alone.
        async with await front.open() as plain:
            await plain.send_all(API)
            with contextlib.suppress(trio.BrokenResourceError):
                assert b"200" not in await _rest(plain)
        async with await front.open() as raw:
            with pytest.raises(trio.BrokenResourceError):
                await TlsStream(
                    raw, ssl.create_default_context(), server_hostname="127.0.0.1"
                ).do_handshake()
    assert front.came == [(Plane.AGENT_STREAM, b"inside")]
    assert front.addresses == ["127.0.0.1"]


def test_files_that_do_not_belong_together_are_a_config_error(
    files: tuple[trustme.CA, Path, Path], tmp_path: Path
) -> None:
    _, certificate, key = files
    for pair in ((certificate, tmp_path / "none"), (key, key), (tmp_path / "none", key)):
        with pytest.raises(ConfigError) as caught:
            open_certificates(*pair)
        assert caught.value.code == "tls_files_unusable"
