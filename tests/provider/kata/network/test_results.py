"""What CNI plugins answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.network.results import (
    NetworkError,
    Subject,
    addresses,
    is_of_something_gone,
    parse_error,
    parse_result,
)

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "kled0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "10.88.3.2/24", "gateway": "10.88.3.1", "interface": 1}],
}


def test_addresses_are_those_within_the_container() -> None:
    (found,) = addresses(parse_result(json.dumps(RESULT).encode()), "eth0")
    assert (found.address, found.prefix, found.gateway) == ("10.88.3.2", 24, "10.88.3.1")
    assert found.mac == "02:00:00:00:00:02"
    assert addresses({}, "eth0") == ()


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b"7", b"[" * 100_000])
def test_what_is_no_result_is_refused(answer: bytes) -> None:
    with pytest.raises(NetworkError):
        parse_result(answer)


@pytest.mark.parametrize("ips", [[{}], [{"address": "x"}], [7], [{"address": None}]])
def test_addresses_that_are_none_are_refused(ips: list[object]) -> None:
    with pytest.raises(NetworkError, match="addresses that are none"):
        addresses({"ips": ips}, "eth0")


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_an_error_is_one_printable_line_whatever_was_answered(answer: bytes, said: bytes) -> None:
    error = parse_error("bridge", "ADD", 1, answer, said)
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("msg", "subject", "words"),
    [
        (
            "no IP addresses available in range set: 10.88.3.1-10.88.3.2",
            Subject.NETWORK,
            "no address left",
        ),
        (
            "requested IP address 10.88.3.2 is not available in range set 10.88.3.1-10.88.3.254",
            Subject.ADDRESS,
            "requested IP address 10.88.3.2",
        ),
        (
            "failed to allocate for range 0: requested ip 10.88.3.1 is subnet's gateway",
            Subject.ADDRESS,
            "10.88.3.1 is subnet's gateway",
        ),
        ("exec: iptables: not found", Subject.NETWORK, "could not set its rules"),
        ("what nobody has seen", Subject.NETWORK, "bridge refuses ADD: what nobody has seen"),
    ],
)
def test_an_error_says_which_attribute_it_is_about(msg: str, subject: Subject, words: str) -> None:
    answer = json.dumps({"cniVersion": "1.0.0", "code": 11, "msg": msg, "details": ""}).encode()
    error = parse_error("bridge", "ADD", 1, answer, b"")
    assert error.subject is subject
    assert words in error.message


def test_what_a_delete_does_not_find_is_gone() -> None:
    assert is_of_something_gone(NetworkError("iptables: Chain 'CNI-x' does not exist"))
    assert not is_of_something_gone(NetworkError("permission denied"))
