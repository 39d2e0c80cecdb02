"""What `--auto` makes of what listens in the workspace."""

from __future__ import annotations

from kled_client.forward.auto import auto_forward, plan_auto
from kled_wire.ssh.subsystems import ReportedPort


def listening(port: int, *addresses: str, mine: bool = True) -> ReportedPort:
    return ReportedPort(
        port=port, addresses=addresses or ("127.0.0.1",), process="p", pid=1, mine=mine
    )


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
