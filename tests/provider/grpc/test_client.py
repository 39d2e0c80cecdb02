"""The gRPC client against our server, and against a server that leaves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from kled_provider.grpc.client import GrpcClient, serve_client
from kled_provider.grpc.server import serve_grpc
from kled_provider.grpc.status import GrpcError, GrpcStatus


async def answer(path: str, message: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    if path == "/refuse":
        raise GrpcError(GrpcStatus.NOT_FOUND, "no such thing: ü%\n")
    if path == "/hang":
        await trio.sleep_forever()
    return message


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[GrpcClient, trio.abc.Stream]]:
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_grpc, theirs, answer)
            yield await nursery.start(serve_client, ours), theirs
            nursery.cancel_scope.cancel()


async def test_calls_are_answered_and_may_be_larger_than_every_window() -> None:
    async with connected() as (client, _):
        assert await client.call("/echo", b"hello") == b"hello"
        large = bytes(3_000_000)
        assert await client.call("/echo", large) == large
        assert await client.call("/echo", b"") == b""


async def test_an_error_has_its_status_and_message() -> None:
    async with connected() as (client, _):
        with pytest.raises(GrpcError, match=r"no such thing: ü%\n") as caught:
            await client.call("/refuse", b"")
        assert caught.value.status == GrpcStatus.NOT_FOUND
        assert await client.call("/echo", b"still there") == b"still there"


async def test_a_call_that_is_left_leaves_the_others_alone() -> None:
    async with connected() as (client, _):
        with trio.move_on_after(0.01) as scope:
            await client.call("/hang", b"")
        assert scope.cancelled_caught
        for _ in range(40):  # more than the connection's window, had the rest not been counted
            assert len(await client.call("/echo", bytes(60_000))) == 60_000


async def test_a_call_cancelled_as_it_begins_takes_nothing_from_the_others() -> None:
    async with connected() as (client, _):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await client.call("/echo", bytes(1000))
            assert await client.call("/echo", b"whole") == b"whole"


async def test_one_cancelled_within_a_send_ends_the_connection_for_all() -> None:
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, theirs:
            client: GrpcClient = await nursery.start(serve_client, ours)
            await theirs.receive_some(1000)
            raw = ours.socket
            with contextlib.suppress(BlockingIOError):  # full, with a peer that does not read
                while True:
                    os.write(raw.fileno(), bytes(65536))
            with trio.move_on_after(0.01):
                await client.call("/echo", b"")
            assert not client.is_open
            with pytest.raises(GrpcError, match="closed"):
                await client.call("/echo", b"")


async def test_a_connection_that_ends_fails_its_calls() -> None:
    async with connected() as (client, theirs):
        outcome: list[int] = []

        async def call() -> None:
            with pytest.raises(GrpcError) as caught:
                await client.call("/hang", b"")
            outcome.append(caught.value.status)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            await theirs.aclose()
        with pytest.raises(GrpcError) as late:
            await client.call("/echo", b"")
        assert outcome == [GrpcStatus.UNAVAILABLE]
        assert late.value.status == GrpcStatus.UNAVAILABLE
