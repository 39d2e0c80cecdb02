"""The gRPC server against an h2 client, and against bytes that are no HTTP/2."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_provider.grpc.server import (
    MAX_REQUEST_BYTES,
    Handler,
    decode_request,
    serve_grpc,
)
from kled_provider.grpc.status import GrpcError, GrpcStatus
from tests.kit.examples import examples

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "x"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


class Client:
    """A gRPC client for one connection, driven by hand."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.bodies: dict[int, bytearray] = {}
        self.trailers: dict[int, dict[str, str]] = {}

    async def flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def begin(self, path: str, body: bytes) -> int:
        number = self.h2.get_next_available_stream_id()
        self.bodies[number] = bytearray()
        self.h2.send_headers(number, [(":path", path), *HEADERS])
        await self.flush()
        while body:
            while (window := self.h2.local_flow_control_window(number)) == 0:
                await self.pump()
            size = min(window, self.h2.max_outbound_frame_size)
            self.h2.send_data(number, body[:size])
            body = body[size:]
            await self.flush()
        self.h2.end_stream(number)
        await self.flush()
        return number

    async def pump(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError
        for event in self.h2.receive_data(bytes(data)):
            match event:
                case h2.events.DataReceived(stream_id=number, data=data):
                    self.bodies[number] += data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, number)
                case h2.events.ResponseReceived(stream_id=number, headers=headers) | (
                    h2.events.TrailersReceived(stream_id=number, headers=headers)
                ):
                    self.trailers.setdefault(number, {}).update(
                        {str(name): str(value) for name, value in headers}
                    )
        await self.flush()

    async def result(self, number: int) -> tuple[str, bytes]:
        while "grpc-status" not in self.trailers.get(number, {}):
            await self.pump()
        return self.trailers[number]["grpc-status"], bytes(self.bodies[number][5:])

    async def call(self, path: str, message: bytes) -> tuple[str, bytes]:
        return await self.result(await self.begin(path, frame(message)))


@asynccontextmanager
async def open_client(
    handler: Handler, max_request_bytes: int = MAX_REQUEST_BYTES
) -> AsyncIterator[Client]:
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            serve = partial(serve_grpc, theirs, handler, max_request_bytes=max_request_bytes)
            nursery.start_soon(serve)
            client = Client(ours)
            yield client
            await ours.aclose()


async def echo(path: str, message: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    if path == "/refuse":
        raise GrpcError(GrpcStatus.UNIMPLEMENTED, "no: ü%\n")
    return message


async def test_a_call_is_answered() -> None:
    async with open_client(echo) as client:
        assert await client.call("/echo", b"hello") == ("0", b"hello")
        assert await client.call("/echo", b"") == ("0", b"")


async def test_messages_larger_than_every_window_pass_both_ways() -> None:
    message = bytes(3_000_000)
    async with open_client(echo) as client:
        assert await client.call("/echo", message) == ("0", message)


async def test_calls_run_at_the_same_time() -> None:
    both = trio.testing.Sequencer()

    async def handler(path: str, message: bytes) -> bytes:
        async with both({"/late": 1, "/early": 0}[path]):
            return message

    async with open_client(handler) as client:
        late = await client.begin("/late", frame(b"1"))
        early = await client.begin("/early", frame(b"2"))
        assert await client.result(early) == ("0", b"2")
        assert await client.result(late) == ("0", b"1")


async def test_an_error_carries_its_status_and_message() -> None:
    async with open_client(echo) as client:
        number = await client.begin("/refuse", frame(b""))
        assert (await client.result(number))[0] == "12"
        assert client.trailers[number]["grpc-message"] == "no%3A %C3%BC%25%0A"


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\0", b"\0\0\0\0\2a", b"\1\0\0\0\1a", frame(b"a") * 2]
)
async def test_a_body_that_is_not_one_message_is_refused(body: bytes) -> None:
    with pytest.raises(GrpcError):
        decode_request(body)
    async with open_client(echo) as client:
        assert (await client.result(await client.begin("/echo", body)))[0] in ("3", "12")
        assert await client.call("/echo", b"still there") == ("0", b"still there")


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with open_client(echo, max_request_bytes=1000) as client:
        number = await client.begin("/echo", frame(bytes(2000)))
        assert (await client.result(number))[0] == "8"
        assert await client.call("/echo", b"small") == ("0", b"small")


async def test_a_call_goes_on_when_the_peer_is_gone() -> None:
    entered, release, finished = trio.Event(), trio.Event(), trio.Event()

    async def handler(_path: str, message: bytes) -> bytes:
        entered.set()
        await release.wait()
        finished.set()
        return message

    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_grpc, theirs, handler)
            await Client(ours).begin("/x", frame(b""))
            await entered.wait()
            await ours.aclose()
            await trio.testing.wait_all_tasks_blocked()
            release.set()
    assert finished.is_set()


async def test_a_reset_call_is_not_answered_and_the_next_one_is() -> None:
    release = trio.Event()

    async def handler(path: str, message: bytes) -> bytes:
        if path == "/slow":
            await release.wait()
        return message

    async with open_client(handler) as client:
        number = await client.begin("/slow", frame(b"x"))
        client.h2.reset_stream(number)
        await client.flush()
        release.set()
        assert await client.call("/echo", b"y") == ("0", b"y")
        assert number not in client.trailers


@settings(max_examples=examples(60), deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_garbage_ends_the_connection_and_nothing_else(data: bytes, preface: bool) -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_grpc, theirs, echo)
                await ours.send_all(PREFACE * preface + data)
                await ours.send_eof()
                async for _ in ours:
                    pass

    trio.run(main)


async def test_a_tls_hello_ends_the_connection() -> None:
    """What Terraform sends where the reattach data lacks the protocol."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_grpc, theirs, echo)
        await ours.send_all(bytes.fromhex("1603010200010001fc0303") + bytes(500))
