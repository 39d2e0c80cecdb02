"""What listens in the workspace, as the agent says it."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from kled_client.ssh.ports import ReportedPort, parse_ports
from kled_wire.errors import ProtocolError


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
