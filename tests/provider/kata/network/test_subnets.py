"""Which addresses a network may have."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.network.conflist import Subnet
from kled_provider.kata.network.subnets import (
    address_range,
    free_subnet,
    gateway_problem,
    outside_pools,
    overlapping,
    routed,
    subnet_problem,
    within_problem,
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.88.3.0/24", None),
        ("fd00:1::/64", None),
        ("10.88.3.1/24", "host bits"),
        ("10.88.3.0/31", "no room"),
        ("fd00::/127", "no room"),
        ("127.0.0.0/8", "not for hosts"),
        ("224.0.0.0/8", "not for hosts"),
        ("8.8.8.0/24", "hosts elsewhere"),
        ("2600::/64", "hosts elsewhere"),
        ("0.0.0.0/0", "hosts elsewhere"),
        ("ten", "Use a subnet"),
    ],
)
def test_subnets_that_hold_nothing_are_refused(text: str, why: str | None) -> None:
    found = subnet_problem(text)
    assert (found is None) if why is None else (found is not None and why in found)


def test_a_gateway_and_a_range_lie_within() -> None:
    assert within_problem("10.88.3.128/25", "10.88.3.0/24") is None
    assert within_problem("10.88.3.7", "10.88.3.0/24") is None
    assert "not within" in (within_problem("10.88.4.7", "10.88.3.0/24") or "")
    assert "not within" in (within_problem("fd00::1", "10.88.3.0/24") or "")
    assert within_problem("x", "10.88.3.0/24") is not None
    assert "zone" in (within_problem("fd00::1%a\n", "fd00::/64") or "")


def test_a_gateway_is_a_host() -> None:
    assert gateway_problem("10.88.3.9", "10.88.3.0/24") is None
    assert gateway_problem("fd00:1::ff", "fd00:1::/120") is None
    for text in ("10.88.3.0", "10.88.3.255"):
        assert "no host's" in (gateway_problem(text, "10.88.3.0/24") or "")
    assert "not within" in (gateway_problem("10.88.4.7", "10.88.3.0/24") or "")


def test_a_range_leaves_out_what_no_host_may_have() -> None:
    whole = address_range("10.88.3.0/24", None, "10.88.3.0/24")
    assert (whole.gateway, whole.first, whole.last) == ("10.88.3.1", "10.88.3.1", "10.88.3.254")
    middle = address_range("10.88.3.0/24", "10.88.3.9", "10.88.3.64/28")
    assert (middle.gateway, middle.first, middle.last) == ("10.88.3.9", "10.88.3.64", "10.88.3.79")


_SUBNETS = st.builds(
    lambda a, p: ip_network((f"10.77.{a}.0", p), strict=False),
    st.integers(0, 7),
    st.integers(22, 26),
)


@given(st.lists(_SUBNETS, max_size=6))
def test_a_free_subnet_overlaps_nothing_and_is_found_if_there_is_one(
    taken: list[Subnet],
) -> None:
    pool = ip_network("10.77.0.0/21")
    found = free_subnet([pool], 24, taken)
    every: list[Subnet] = list(pool.subnets(new_prefix=24))
    if found is None:
        assert all(overlapping(s, taken) for s in every)
    else:
        assert found in every
        assert not overlapping(found, taken)


def test_overlaps_are_of_one_family_and_pools_that_are_too_small_give_nothing() -> None:
    assert overlapping(ip_network("10.0.0.0/8"), [ip_network("fd00::/8")]) is None
    assert overlapping(ip_network("10.0.0.0/8"), [ip_network("10.1.0.0/30")]) is not None
    assert free_subnet([ip_network("10.0.0.0/28")], 24, []) == ip_network("10.0.0.0/28")


def test_routes_of_the_machine_are_read_as_the_kernel_writes_them() -> None:
    text = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "kled12\t0003580A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    assert routed(text) == [ip_network("10.0.0.0/24")]
    assert routed("") == []


def test_a_subnet_that_is_not_wholly_in_a_pool_of_its_family_is_outside() -> None:
    pools = [ip_network("10.88.0.0/16"), ip_network("fd00:88::/32")]
    for inside in ("10.88.0.0/16", "10.88.255.252/30", "fd00:88:1::/64"):
        assert outside_pools(ip_network(inside), pools) is None
    for outside in ("10.88.0.0/15", "10.89.0.0/24", "fd00:89::/64"):
        assert "(10.88.0.0/16, fd00:88::/32)" in (outside_pools(ip_network(outside), pools) or "")
    assert "(it names none)" in (outside_pools(ip_network("10.0.0.0/24"), []) or "")
