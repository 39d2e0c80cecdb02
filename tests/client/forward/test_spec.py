"""What `kled forward` understands."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.forward.spec import LOOPBACK, Forward, ForwardKind, TcpEnd, UnixEnd, parse_forward
from kled_wire.errors import InputError

hosts = st.from_regex(
    r"[a-z][a-z0-9.-]{0,20}|\d{1,3}(\.\d{1,3}){3}|[0-9a-f]{1,4}::1", fullmatch=True
).filter(lambda host: host != "unix")
paths = st.from_regex(r"/[a-z0-9. _-]{1,30}", fullmatch=True).map(lambda p: UnixEnd(path=p))
listens = st.one_of(paths, st.builds(TcpEnd, host=hosts, port=st.integers(0, 65535)))
targets = st.one_of(paths, st.builds(TcpEnd, host=hosts, port=st.integers(1, 65535)))
kinds = st.sampled_from([ForwardKind.LOCAL, ForwardKind.REMOTE])


@given(st.builds(Forward, kind=kinds, listen=listens, target=targets))
def test_a_forward_written_out_reads_back(forward: Forward) -> None:
    assert parse_forward(str(forward), forward.kind) == (forward,)


@given(listens)
def test_a_proxy_written_out_reads_back(listen: TcpEnd | UnixEnd) -> None:
    (found,) = parse_forward(str(listen), ForwardKind.DYNAMIC)
    assert (found.listen, found.target) == (listen, None)


@given(
    st.one_of(st.text(max_size=30), st.text("0123456789:[]-/unixa.", max_size=30)),
    st.sampled_from(ForwardKind),
)
def test_any_other_text_is_refused(text: str, kind: ForwardKind) -> None:
    with contextlib.suppress(InputError):
        assert parse_forward(text, kind)


@given(st.integers(1, 64000), st.integers(0, 999))
def test_a_range_is_its_ports(first: int, more: int) -> None:
    found = parse_forward(f"{first}-{first + more}")
    assert [f.listen for f in found] == [
        TcpEnd(host=LOOPBACK, port=port) for port in range(first, first + more + 1)
    ]
    assert [f.target for f in found] == [
        TcpEnd(host="localhost", port=port) for port in range(first, first + more + 1)
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("8080", "127.0.0.1:8080:localhost:8080"),
        ("8080:3000", "127.0.0.1:8080:localhost:3000"),
        ("0:3000", "127.0.0.1:0:localhost:3000"),
        ("8080:db:5432", "127.0.0.1:8080:db:5432"),
        ("0.0.0.0:8080:3000", "0.0.0.0:8080:localhost:3000"),
        ("127.0.0.1:1:host:2", "127.0.0.1:1:host:2"),
        ("[::1]:1:[::2]:2", "[::1]:1:[::2]:2"),
        ("/a", "/a:/a"),
        ("unix:/a:unix:/b", "/a:/b"),
        ("8080:/b", "127.0.0.1:8080:/b"),
        ("/a:db:1", "/a:db:1"),
        ("[::1]:8080:unix:/b", "[::1]:8080:/b"),
    ],
)
def test_the_short_forms(text: str, expected: str) -> None:
    assert str(parse_forward(text)[0]) == expected


def test_free_ports_for_a_range() -> None:
    assert [str(f) for f in parse_forward("0:3000-3001")] == [
        "127.0.0.1:0:localhost:3000",
        "127.0.0.1:0:localhost:3001",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "0", "65536", "1:0", "a", "1:2:3:4:5", "[::1:1:2", "1::", "[::1]1:2", "a:1", "/",
        "1-3:1-2", "3-1", "1-1001", "0-3", "unix:", "1:/a:2", "a b:1:2", "1:a",
    ],
)  # fmt: skip
def test_bad_forwards(text: str) -> None:
    with pytest.raises(InputError):
        parse_forward(text)
