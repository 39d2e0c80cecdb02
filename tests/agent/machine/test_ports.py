"""What listens: the kernel's table as text, and this very machine."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.machine.ports import ListeningSocket, PortReader, merge, parse_table

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 111 1 x
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 x
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 333 1 x
"""
TCP6 = """\
  sl  local_address                         remote_address                        st ...
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000  1000        0 444 1 x
   1: B80D0120000000000000000001000000:0050 00000000000000000000000000000000:0000 0A \
00000000:00000000 00:00000000 00000000     0        0 555 1 x
"""


def test_the_kernels_table_is_read() -> None:
    four = list(parse_table(TCP, socket.AF_INET))
    assert four == [
        ListeningSocket(address="127.0.0.1", port=8080, uid=1000, inode=111),
        ListeningSocket(address="0.0.0.0", port=22, uid=0, inode=222),
    ]
    six = list(parse_table(TCP6, socket.AF_INET6))
    assert [(s.address, s.port) for s in six] == [("::1", 8080), ("2001:db8::1", 80)]
    merged = merge([*four, *six], {444: (7, "node")})
    assert [(p.port, p.addresses, p.process, p.pid) for p in merged] == [
        (22, ("0.0.0.0",), None, None),
        (80, ("2001:db8::1",), None, None),
        (8080, ("127.0.0.1", "::1"), "node", 7),
    ]


@given(st.text(alphabet="0123456789ABCDEF: \n0A", max_size=300))
def test_garbage_is_left_out(text: str) -> None:
    list(parse_table(text, socket.AF_INET))


@pytest.mark.parametrize(
    "family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_our_own_listener_is_found_with_its_name(
    family: socket.AddressFamily, address: str
) -> None:
    reader = PortReader()
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        (found,) = [p for p in reader.read() if p.port == port]
        assert address in found.addresses
        assert (found.pid, found.uid) == (os.getpid(), os.getuid())
        assert found.process
    assert port not in [p.port for p in reader.read()]
