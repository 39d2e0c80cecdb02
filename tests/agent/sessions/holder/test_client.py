"""A client's queue: in order while it keeps up, current when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_agent.sessions.holder.client import CHUNK_BYTES, LAG_BYTES, QUEUE_BYTES, AttachedClient
from kled_agent.sessions.holder.frames import Decoder, Done, Input, LogData, ScreenOutput
from kled_agent.sessions.holder.ring import Ring
from kled_wire.screenmodes import ScreenModes


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring(tmp_path / "output", 4 * LAG_BYTES)
    yield made
    made.close()


def attached() -> AttachedClient:
    client = AttachedClient()
    client.attached = True
    return client


def taken(client: AttachedClient) -> bytes:
    frames = list(Decoder().feed(bytes(client.out)))
    client.out.clear()
    return b"".join(f.data for f in frames if isinstance(f, ScreenOutput))


def fill(client: AttachedClient, ring: Ring, modes: ScreenModes | None = None) -> bool:
    return client.fill(ring, modes or ScreenModes(), "main")


def test_who_keeps_up_gets_all(ring: Ring) -> None:
    client, got, sent = attached(), b"", b""
    for n in range(2000):
        line = b"line %d\r\n" % n * 20
        ring.append(line)
        sent += line
        assert not fill(client, ring)
        got += taken(client)
    assert got == sent
    assert not client.wants_more(ring)
    ring.append(b"more")
    assert client.wants_more(ring)


def test_who_lags_a_little_gets_all_and_the_queue_stays_small(ring: Ring) -> None:
    client, sent = attached(), bytes(range(256)) * 2000
    ring.append(sent)
    got = b""
    while client.offset < ring.end:
        fill(client, ring)
        assert len(client.out) < QUEUE_BYTES + CHUNK_BYTES + 100
        got += taken(client)
    assert got == sent


def test_who_falls_behind_is_told_how_far_and_goes_on_with_what_is_current(ring: Ring) -> None:
    client = attached()
    ring.append(b"old line\r\n" * 150_000 + b"current\r\n")
    assert not fill(client, ring)
    got = taken(client)
    assert b"KB skipped, `kled session log main` shows them]\r\n" in got
    assert got.endswith(b"current\r\n")
    assert len(got) < 6000


def test_on_the_alternate_screen_a_picture_is_asked_for(ring: Ring) -> None:
    client, modes = attached(), ScreenModes()
    modes.feed(b"\x1b[?1049h")
    ring.append(b"x" * (LAG_BYTES + 1))
    assert fill(client, ring, modes)


@pytest.mark.parametrize(("keys", "skips"), [(b"\x03", True), (b"ls\r", False)])
def test_ctrl_c_makes_old_output_pointless(ring: Ring, keys: bytes, skips: bool) -> None:
    client = attached()
    ring.append(b"y\r\n" * 100_000)
    client.typed(Input(keys), ring, ScreenModes(), "main")
    assert (client.offset > 0) is skips


def test_nothing_is_sent_while_a_picture_is_drawn(ring: Ring) -> None:
    client = attached()
    client.drawing = True
    ring.append(b"later")
    fill(client, ring)
    assert not client.out
    client.drawn(b"picture ", 0)
    fill(client, ring)
    assert taken(client) == b"picture later"


def test_a_log_comes_in_pieces_and_ends(ring: Ring) -> None:
    client = AttachedClient()
    blob = bytes(range(256)) * 4000
    ring.append(blob)
    client.log = (0, ring.end)
    got, done = b"", False
    while not done:
        fill(client, ring)
        assert len(client.out) < QUEUE_BYTES + CHUNK_BYTES + 100
        for frame in Decoder().feed(bytes(client.out)):
            got += frame.data if isinstance(frame, LogData) else b""
            done = done or isinstance(frame, Done)
        client.out.clear()
    assert got == blob
