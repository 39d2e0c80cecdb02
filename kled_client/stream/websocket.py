"""`kled stream` where a proxy lets only WebSockets through: the same stream, carried by Trio."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from kled_client.account.direct import make_paths
from kled_client.account.profile import Profile
from kled_client.ssh.resumable import dial_stream, open_resumable
from kled_client.stream.fdpass import pass_through_child
from kled_client.stream.stdio import pump_beside
from kled_wire.errors import KledError, UnavailableError, decode_error, encode_error_body
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.stream import CLOSED, ResumableStream
from kled_wire.transport.pump import pump

_OPEN: Final = b"open"


def run(profile: Profile, token: str, path: str, env: Mapping[str, str], *, fdpass: bool) -> None:
    """Carry the stream over a WebSocket. Raises what the coordinator says, UnavailableError."""
    read_end, write_end = os.pipe()
    direct = DirectSeeker(make_paths(env, profile), os.urandom)

    def work(local: socket.socket) -> None:
        trio.run(_carry, local, profile, token, path, direct, write_end)

    if fdpass:
        # The child dials, so that no thread or loop of Trio has to survive a fork.
        pass_through_child(
            sys.stdout.fileno(), work, ready=lambda: _await_report(read_end, write_end)
        )
        return
    pump_beside(work, ready=lambda: _await_report(read_end, None))


async def _carry(
    local: socket.socket,
    profile: Profile,
    token: str,
    path: str,
    direct: DirectSeeker,
    report: int,
) -> None:
    """Dial, say on `report` how that went, then pump to the end; `local` stays open.

    Raises UnavailableError with what a resumable stream ended of.
    """
    async with trio.open_nursery() as nursery:
        dial = partial(dial_stream, profile, token, path, nursery)
        stream: trio.abc.HalfCloseableStream
        try:
            if "resume=1" in path:
                stream = await open_resumable(dial, nursery, direct)
            else:
                stream = await dial()
        except KledError as exc:
            _report(report, exc)
            return
        _report(report, None)
        near = trio.SocketStream(trio.socket.from_stdlib_socket(local.dup()))
        async with stream, near:
            # ssh is gone, or the connection is: either way both ends are told by closing.
            with suppress(trio.BrokenResourceError):
                await pump(near, stream)
        nursery.cancel_scope.cancel()
    closed = stream.state.closed if isinstance(stream, ResumableStream) else None
    if closed is not None and closed.code != CLOSED:
        raise UnavailableError(closed.code, closed.message)


def _report(descriptor: int, error: KledError | None) -> None:
    os.write(descriptor, b"%d %b" % (error.status, encode_error_body(error)) if error else _OPEN)
    os.close(descriptor)


def _await_report(read_end: int, write_end: int | None) -> None:
    """Wait for `_report`; raises the error it tells of."""
    if write_end is not None:
        os.close(write_end)
    with os.fdopen(read_end, "rb") as file:
        content = file.read()
    if content == _OPEN:
        return
    status, _, body = content.partition(b" ")
    raise decode_error(int(status or 0), body) or UnavailableError(
        "stream_failed", "the stream failed", hint="try again"
    )
