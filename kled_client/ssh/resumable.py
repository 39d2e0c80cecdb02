"""A resumable stream to a workspace, for Trio programs: dialled, and kept attached by a task."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import trio

from kled_client.account.http import ANSWER_TIMEOUT_S, tls_context
from kled_client.account.profile import Profile
from kled_wire.errors import UnavailableError
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.frames import New
from kled_wire.resume.redial import Dial, keep_attached
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from kled_wire.transport.address import parse_url
from kled_wire.transport.open import open_upgraded


def _say_nothing(_reason: str) -> None:
    """For programs that show no state."""


async def dial_stream(
    profile: Profile, token: str, path: str, nursery: trio.Nursery
) -> trio.abc.HalfCloseableStream:
    """One connection to the coordinator that is the stream of `path`.

    Raises what the coordinator says, UnavailableError.
    """
    address = parse_url(profile.url)
    context = tls_context(profile.ca_file) if address.tls else None
    try:
        with trio.fail_after(ANSWER_TIMEOUT_S):
            return await open_upgraded(
                address,
                path,
                headers={"Authorization": f"Bearer {token}"},
                nursery=nursery,
                ssl_context=context,
            )
    except trio.TooSlowError as exc:
        raise UnavailableError(
            "coordinator_slow", f"{profile.url} did not open a stream in time", hint="try again"
        ) from exc


async def open_resumable(
    dial: Dial,
    nursery: trio.Nursery,
    direct: DirectSeeker,
    *,
    on_change: Callable[[str], None] = _say_nothing,
) -> ResumableStream:
    """Dial once, raising what is wrong, then keep the stream attached in `nursery`.

    It goes over to direct paths that `direct` finds. `on_change` is told why the stream lost its
    transport, and "" when it has one again.
    """
    first: trio.abc.HalfCloseableStream | None = await dial()

    async def next_transport() -> trio.abc.HalfCloseableStream:
        nonlocal first
        if first is not None:
            transport, first = first, None
            await trio.lowlevel.checkpoint()
            return transport
        return await dial()

    stream = ResumableStream(StreamState())
    nursery.start_soon(
        partial(
            keep_attached,
            stream,
            New.draw(os.urandom),
            next_transport,
            random_bytes=os.urandom,
            direct=direct,
            on_lost=on_change,
            on_resumed=lambda: on_change(""),
        )
    )
    return stream
