"""What listens in the workspace, and what `--auto` makes of it."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from kled_client.ssh.ports import ReportedPort, auto_forward, parse_ports, plan_auto
from kled_wire.errors import ProtocolError


def listening(port: int, *addresses: str, mine: bool = True) -> ReportedPort:
    return ReportedPort(
        port=port, addresses=addresses or ("127.0.0.1",), process="p", pid=1, mine=mine
    )


def test_the_agents_line() -> None:
    raw = {"port": 80, "addresses": ["0.0.0.0"], "process": None, "pid": None, "mine": False}
    assert parse_ports(json.dumps({"ports": [raw]}).encode()) == [
        ReportedPort(port=80, addresses=("0.0.0.0",), process="", pid=None, mine=False)
    ]


@given(
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.one_of(st.integers(), st.text(max_size=5), st.none()),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["port", "x"]), inner),
        ).map(lambda value: json.dumps({"ports": value}).encode()),
    )
)
def test_garbage_gives_one_error(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_ports(line)


def test_only_the_users_new_ports_are_taken() -> None:
    one, other = listening(3000), listening(22, mine=False)
    assert plan_auto({}, [one, other]) == ([one], [])
    assert plan_auto({3000: 3000}, [one]) == ([], [])
    assert plan_auto({3000: 3000}, []) == ([], [3000])


def test_our_own_listeners_are_nobodys_ports() -> None:
    held = {3000: 45000}
    assert plan_auto(held, [listening(3000), listening(45000)]) == ([], [])


def test_where_a_port_is_reached() -> None:
    assert str(auto_forward(listening(80, "0.0.0.0"), 80)) == "127.0.0.1:80:localhost:80"
    assert str(auto_forward(listening(80, "::1"), 0)) == "127.0.0.1:0:[::1]:80"
    assert str(auto_forward(listening(80, "10.0.0.1"), 1)) == "127.0.0.1:1:10.0.0.1:80"
