"""Notice under Trio that the network has changed, and give up transports that it took away.

A transport whose address or route is gone would be silent for as long as it takes to be given up,
and a way that is tried ever more slowly may be there again this moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Never

import trio

from kled_wire.resume.driver import TransportLost
from kled_wire.transport.network import drain, is_astray, open_watch

REASON: Final = "the network has changed"


class NetworkWatch:
    """Reports changes of the network while `run` runs, on systems that report them."""

    def __init__(self) -> None:
        self._changed = trio.Event()
        self._guarded: dict[trio.CancelScope, tuple[str, str]] = {}

    async def run(self) -> Never:
        """Watch until cancelled."""
        watch = open_watch()
        if watch is None:
            await trio.sleep_forever()
        with watch:
            while True:
                await trio.lowlevel.wait_readable(watch)
                drain(watch)
                self._changed.set()
                self._changed = trio.Event()
                for scope, (local, remote) in self._guarded.items():
                    if is_astray(local, remote):
                        scope.cancel()

    async def wait_changed(self) -> None:
        """Wait until addresses or routes are others."""
        await self._changed.wait()

    @contextmanager
    def guard(self, transport: trio.abc.HalfCloseableStream) -> Iterator[None]:
        """A block that uses `transport`; raises TransportLost once that goes nowhere any more."""
        ends = _ends(transport)
        if ends is None:
            yield
            return
        with trio.CancelScope() as scope:
            self._guarded[scope] = ends
            try:
                yield
            finally:
                del self._guarded[scope]
        if scope.cancelled_caught:
            raise TransportLost(REASON)


def _ends(transport: object) -> tuple[str, str] | None:
    """Our address and the peer's, of the TCP connection that is at the bottom."""
    while inner := getattr(transport, "transport_stream", None):
        transport = inner
    if not isinstance(transport, trio.SocketStream):
        return None
    plain = transport.socket
    if plain.family not in {trio.socket.AF_INET, trio.socket.AF_INET6}:
        return None
    try:
        return str(plain.getsockname()[0]), str(plain.getpeername()[0])
    except OSError:
        return None
