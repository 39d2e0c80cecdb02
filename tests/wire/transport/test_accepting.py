"""Accepting where the descriptors are used up."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from kled_wire.transport.accepting import accept_forever


class Listener:
    """Fails so often with `number` before it gives a connection, then is broken."""

    def __init__(self, failures: int, number: int) -> None:
        self.failures = failures
        self.number = number

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint()

    async def __aexit__(self, *_error: object) -> None:
        await trio.lowlevel.checkpoint()

    async def accept(self) -> str:
        await trio.lowlevel.checkpoint()
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(self.number, "used up")
        if self.failures == -1:
            return "connection"
        raise OSError(errno.EBADF, "broken")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_it_is_said_once_a_minute_and_goes_on(autojump_clock, nursery, number) -> None:
    served: list[str] = []

    async def serve(connection) -> None:
        served.append(connection)

    said: list[OSError] = []
    listener = Listener(1000, number)
    with pytest.raises(OSError, match="broken"):
        await accept_forever(listener, serve, nursery, said.append)  # type: ignore[arg-type]  # a fake
    await trio.testing.wait_all_tasks_blocked()
    assert served == ["connection"]
    assert [error.errno for error in said] == [number] * 2
