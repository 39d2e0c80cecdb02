"""WebSocket messages as a layer, against a client's side of wsproto."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    TextMessage,
)

from kled_coord.offload.layer import LayerBrokenError
from kled_coord.offload.websocket import WebSocketLayer
from tests.kit.examples import examples

PIECES = st.lists(st.binary(min_size=1, max_size=70_000), max_size=4)


def client() -> Connection:
    return Connection(ConnectionType.CLIENT)


def feed(layer: WebSocketLayer, data: bytes, size: int = 65536) -> bytes:
    got = b""
    for start in range(0, len(data), size):
        got += b"".join(layer.receive(data[start : start + size]))
    return got


def heard(peer: Connection, layer: WebSocketLayer) -> list[Event]:
    peer.receive_data(layer.take())
    return list(peer.events())


@settings(max_examples=examples(30), deadline=None)
@given(PIECES, PIECES, st.integers(1, 70_000))
def test_bytes_and_ends_go_both_ways_however_they_are_cut(
    there: list[bytes], back: list[bytes], size: int
) -> None:
    peer, layer = client(), WebSocketLayer()
    sent = b"".join(peer.send(BytesMessage(data=piece)) for piece in there)
    sent += peer.send(BytesMessage(data=b""))
    assert feed(layer, sent, size) == b"".join(there)
    assert layer.ended
    assert not layer.finished
    for piece in back:
        layer.send(piece)
    layer.send_eof()
    layer.close()
    events = heard(peer, layer)
    assert [event.data for event in events[:-2] if isinstance(event, BytesMessage)] == back
    assert events[-2] == BytesMessage(data=b"", frame_finished=True, message_finished=True)
    assert isinstance(events[-1], CloseConnection)
    assert events[-1].code == 1000


def test_a_message_in_fragments_is_not_an_end() -> None:
    peer, layer = client(), WebSocketLayer()
    sent = peer.send(BytesMessage(data=b"one ", message_finished=False))
    sent += peer.send(BytesMessage(data=b"two", message_finished=False))
    sent += peer.send(BytesMessage(data=b""))
    assert feed(layer, sent) == b"one two"
    assert not layer.ended


def test_a_ping_is_answered_and_a_pong_is_not() -> None:
    peer, layer = client(), WebSocketLayer()
    assert feed(layer, peer.send(Ping(payload=b"there?")) + peer.send(Pong(payload=b"so"))) == b""
    assert heard(peer, layer) == [Pong(payload=b"there?")]


def test_a_close_in_good_order_is_answered_and_ends_both_ways() -> None:
    peer, layer = client(), WebSocketLayer()
    sent = peer.send(BytesMessage(data=b"last")) + peer.send(CloseConnection(code=1000))
    assert feed(layer, sent) == b"last"
    assert layer.ended
    assert layer.finished
    assert [event for event in heard(peer, layer) if isinstance(event, CloseConnection)]
    layer.send_eof()
    layer.close()
    assert layer.take() == b""


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (TextMessage(data="text"), b""),
        (CloseConnection(code=1001, reason="bye"), b"\x88"),
        (CloseConnection(code=4000), b"\x88"),
    ],
)
def test_what_has_no_place_in_a_byte_stream_breaks_it(event: Event, told: bytes) -> None:
    layer = WebSocketLayer()
    with pytest.raises(LayerBrokenError):
        layer.receive(client().send(event))
    assert layer.take()[:1] == told


def test_bytes_after_the_half_close_break_it() -> None:
    peer, layer = client(), WebSocketLayer()
    feed(layer, peer.send(BytesMessage(data=b"")))
    with pytest.raises(LayerBrokenError):
        layer.receive(peer.send(BytesMessage(data=b"more")))


def test_frames_without_a_mask_are_told_and_break_it() -> None:
    layer = WebSocketLayer()
    with pytest.raises(LayerBrokenError):
        layer.receive(Connection(ConnectionType.SERVER).send(BytesMessage(data=b"x")))
    assert layer.take()[:1] == b"\x88"


def test_an_end_without_a_close_is_a_break() -> None:
    with pytest.raises(LayerBrokenError):
        WebSocketLayer().receive(b"")


def test_nothing_may_come_after_the_close() -> None:
    peer, layer = client(), WebSocketLayer()
    close = peer.send(CloseConnection(code=1000))
    feed(layer, close)
    with pytest.raises(LayerBrokenError):
        layer.receive(close)
    with pytest.raises(LayerBrokenError):
        layer.send(b"x")


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_garbage_breaks_it_or_is_bytes(pieces: list[bytes]) -> None:
    layer = WebSocketLayer()
    try:
        for piece in pieces:
            assert len(b"".join(layer.receive(piece))) <= sum(map(len, pieces))
    except LayerBrokenError:
        return
