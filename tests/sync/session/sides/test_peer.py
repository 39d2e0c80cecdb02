"""How long a peer has been silent while it is waited for."""

from __future__ import annotations

import trio
import trio.testing

from kled_sync.session.sides.peer import Peer
from kled_sync.wire.messages import PathList, Scan


class Silent:
    async def receive_into(self, space: memoryview) -> int:
        await trio.sleep_forever()
        return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Take it."""


def scan(number: int) -> Scan:
    return Scan(request=number, everywhere=True, directories=PathList())


async def test_a_peer_is_silent_while_it_is_asked_and_nothing_comes(
    mock_clock: trio.testing.MockClock,
) -> None:
    peer = Peer("beta", Silent())
    mock_clock.jump(60)
    assert peer.silent_s() == 0
    async with trio.open_nursery() as nursery:
        for expected in (0, 7, 14):  # another question makes it no younger
            nursery.start_soon(peer.ask, scan)
            await trio.testing.wait_all_tasks_blocked()
            assert peer.silent_s() == expected
            mock_clock.jump(7)
        nursery.cancel_scope.cancel()
    assert peer.silent_s() == 0
