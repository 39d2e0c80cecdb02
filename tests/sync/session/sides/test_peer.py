"""How long a peer has been silent while it is waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio
import trio.testing

from kled_sync.session.sides import peer as peers
from kled_sync.session.sides.peer import Peer
from kled_sync.wire.blocks import DATA, MAGIC, Packer, pack_message
from kled_sync.wire.codec import encode_message
from kled_sync.wire.messages import Alive, PathList, Scan, Scanned
from kled_wire.errors import UnavailableError


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
            nursery.start_soon(peer.ask, scan, Scanned)
            await trio.testing.wait_all_tasks_blocked()
            assert peer.silent_s() == expected
            mock_clock.jump(7)
        nursery.cancel_scope.cancel()
    assert peer.silent_s() == 0


class Telling(Silent):
    """Says for how long it has stood still, with a second between."""

    def __init__(self, *still_s: int) -> None:
        packer = Packer()
        blocks = [pack_message(packer, encode_message(Alive(still_s=s))) for s in still_s]
        self._says: Iterator[bytes] = iter([MAGIC, *blocks])

    async def receive_into(self, space: memoryview) -> int:
        await trio.sleep(1)
        said = next(self._says, None)
        if said is None:
            await trio.sleep_forever()
            raise AssertionError
        space[: len(said)] = said
        return len(said)


@pytest.mark.parametrize(
    ("far", "seconds"),
    [
        (Silent(), peers._GREETED_MAX_S),  # never came up
        (Telling(0), peers._SILENT_MAX_S),  # stopped
        (Telling(*range(0, peers._STILL_MAX_S + 5, 5)), peers._STILL_MAX_S),  # its disk hangs
    ],
)
async def test_a_peer_that_hangs_is_given_up(
    autojump_clock: trio.testing.MockClock, far: Silent, seconds: float
) -> None:
    peer = Peer("beta", far)
    with pytest.RaisesGroup(pytest.RaisesExc(UnavailableError, match=f"beta.*{seconds:.0f} s")):
        async with trio.open_nursery() as nursery:
            for task in (peer.run, peer.watch):
                nursery.start_soon(task)
            await peer.ask(scan, Scanned)


@pytest.mark.parametrize(
    ("far", "is_asked", "is_reached"),
    [
        pytest.param(Telling(*[0] * 900), True, True, id="works"),
        pytest.param(
            Telling(*range(300), *range(300), *range(400)), True, True, id="gets on at last"
        ),
        pytest.param(Telling(0), False, True, id="is idle"),
        pytest.param(Telling(0), True, False, id="no network"),
        pytest.param(Telling(), True, True, id="of an older version"),
    ],
)
async def test_one_that_works_or_cannot_tell_is_not(
    autojump_clock: trio.testing.MockClock, far: Silent, is_asked: bool, is_reached: bool
) -> None:
    peer = Peer("beta", far, lambda: is_reached)
    async with trio.open_nursery() as nursery:
        for task in (peer.run, peer.watch):
            nursery.start_soon(task)
        if is_asked:
            nursery.start_soon(peer.ask, scan, Scanned)
        await trio.sleep(900)
        nursery.cancel_scope.cancel()


async def test_a_peer_whose_bytes_wait_for_another_does_not_hang(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Full(Silent):
        async def send_all(self, data: bytes | memoryview) -> None:
            await trio.sleep_forever()

    far = Telling(0)
    peer = Peer("alpha", far)
    peer.pass_on(Peer("beta", Full()), lambda _block: None)
    far._says = iter([*far._says, bytes(Packer().pack(DATA, 1, b"x").encoded())])
    async with trio.open_nursery() as nursery:
        for task in (peer.run, peer.watch):
            nursery.start_soon(task)
        nursery.start_soon(peer.ask, scan, Scanned)
        await trio.sleep(900)
        nursery.cancel_scope.cancel()
