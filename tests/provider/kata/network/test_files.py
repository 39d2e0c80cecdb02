"""/etc/resolv.conf and /etc/hosts of a container: no line that nobody asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.network.files import (
    address_problem,
    hosts,
    name_problem,
    option_problem,
    resolv_conf,
    server_problem,
)

MACHINE = "# made by\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nsearch corp\noptions edns0\n"


def test_what_is_not_said_is_as_the_machine_has_it_without_its_loopback() -> None:
    assert resolv_conf((), (), (), MACHINE) == (
        "nameserver 10.0.0.53\nsearch corp\noptions edns0\n"
    )
    assert resolv_conf(("1.1.1.1", "fd00::53"), ("a", "b"), ("ndots:2",), MACHINE) == (
        "nameserver 1.1.1.1\nnameserver fd00::53\nsearch a b\noptions ndots:2\n"
    )
    assert resolv_conf((), (), (), "") == ""


@given(st.text(max_size=200))
def test_a_machines_file_adds_only_lines_that_are_right(machine: str) -> None:
    for line in resolv_conf((), (), (), machine).splitlines():
        assert line.split()[0] in ("nameserver", "search", "options")


def test_hosts_has_the_containers_own_names_and_the_extra_ones() -> None:
    text = hosts("dev", ["10.88.3.2"], {"db": "10.0.0.7", "host": "host-gateway"}, "10.88.3.1")
    assert text.splitlines()[2:] == ["10.88.3.2 dev", "10.0.0.7 db", "10.88.3.1 host"]
    assert text.startswith("127.0.0.1 localhost\n")
    alone = hosts("dev", [], {"host": "host-gateway"}, None)
    assert alone.splitlines()[2:] == ["127.0.1.1 dev"]


@pytest.mark.parametrize("name", ["a\nb", "a b", "", "-a", "a..b", "a\t", "#", "x" * 300, "é"])
def test_names_that_would_be_more_than_a_name_are_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("name", ["a", "db.internal", "my_host", "a-b"])
def test_names_are_taken(name: str) -> None:
    assert name_problem(name) is None


def test_addresses_servers_and_options() -> None:
    assert address_problem("host-gateway") is None
    assert address_problem("fd00::1") is None
    assert address_problem("10.0.0.1\n1.1.1.1 evil")
    assert server_problem("127.0.0.11")
    assert server_problem("example.org")
    assert server_problem("10.0.0.53") is None
    assert option_problem("ndots:2") is None
    assert option_problem("x\nnameserver 6.6.6.6")
