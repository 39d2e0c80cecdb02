"""SOCKS5, however its bytes are cut."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.forward.socks import Reply, SocksError, SocksRequest, encode_reply
from kled_client.forward.spec import TcpEnd

names = st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True)


def encode_target(host: str, port: int) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raw = bytes((3, len(host))) + host.encode()
    else:
        raw = bytes((1 if address.version == 4 else 4,)) + address.packed
    return b"\x05\x01\x00" + raw + port.to_bytes(2, "big")


@given(
    st.one_of(names, st.ip_addresses().map(str)),
    st.integers(0, 65535),
    st.binary(max_size=20),
    st.integers(1, 9),
)
def test_the_target_does_not_depend_on_how_the_bytes_are_cut(
    host: str, port: int, rest: bytes, step: int
) -> None:
    data = b"\x05\x02\x02\x00" + encode_target(host, port) + rest
    request, answer = SocksRequest(), b""
    for start in range(0, len(data), step):
        answer += request.feed(data[start : start + step])
    assert answer == b"\x05\x00"
    assert request.target == TcpEnd(host=host, port=port)
    assert request.rest == rest


@given(st.binary(max_size=100))
def test_garbage_gives_one_error(data: bytes) -> None:
    with contextlib.suppress(SocksError):
        SocksRequest().feed(data)


@pytest.mark.parametrize(
    "data, reply",
    [
        (b"GET / HTTP", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00P", encode_reply(Reply(7))),
        (b"\x05\x01\x00\x05\x01\x00\x09\x7f\x00\x00\x01\x00P", encode_reply(Reply(8))),
        (b"\x05\x01\x00\x05\x01\x00\x03\x00\x00P", encode_reply(Reply(4))),
    ],
)
def test_what_is_not_served_is_told_so(data: bytes, reply: bytes) -> None:
    with pytest.raises(SocksError) as caught:
        SocksRequest().feed(data)
    assert caught.value.reply == reply
