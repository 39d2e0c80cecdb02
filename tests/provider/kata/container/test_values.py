"""What single values and blocks of `kata_container` may say, without a machine."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.kata.container.declared.schema import KATA_CONTAINER
from kled_provider.kata.container.declared.value_checks import signal_number
from kled_provider.kata.container.resource import ContainerResource
from kled_provider.kata.machine import KataMachine
from kled_provider.plugin.values import UNKNOWN, conform_object

RESOURCE = ContainerResource(KataMachine())
NETWORK = {"network": "n", "address": None, "mac": None}


def port(**given: Any) -> dict[str, Any]:
    """A block of 8080 of this machine, unless it says something else."""
    return {"internal": 80, "external": 8080, "protocol": None, "ip": None, **given}


def told(**given: Any) -> list[str]:
    """What is said of a container with these values."""
    blocks: dict[str, Any] = {
        b.name: [] if b.nesting.value == "list" else None for b in KATA_CONTAINER.blocks
    }
    blocks |= {"name": "ws", "image": "debian"}
    config = conform_object({**blocks, **given}, KATA_CONTAINER)
    return [diagnostic.detail for diagnostic in RESOURCE.validate(config)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hosts": {"a\nb": "192.0.2.1"}}, "Use a host name"),
        ({"hosts": {"a": "b c"}}, "Use an IP address, or host-gateway"),
        ({"hosts": {"a": ""}}, "The address of a is empty"),
        ({"dns": [None]}, "null"),
        ({"dns": ["x\ny"]}, "Use an IP address"),
        ({"dns_search": ["a b"]}, "Use a host name"),
        ({"dns_options": ["x\nnameserver 192.0.2.1"]}, "Use an option of resolv.conf(5)"),
        ({"stop_signal": "SIGNONE"}, "Use a signal"),
        ({"stop_signal": "99"}, "Use a signal"),
        ({"stop_signal": "SIG_BLOCK"}, "Use a signal"),
        ({"image": "Not An Image"}, "is no name of an image"),
        ({"labels": {"a": "\u00e9" * 2048}}, "4096 bytes"),
        ({"hosts": {"a": "fe80::1%x\n192.0.2.1 b"}}, "Use an IP address, or host-gateway"),
        ({"dns": ["fe80::1%x\nnameserver 192.0.2.1"]}, "Use an IP address"),
        ({"env": {"A": "x" * 131072}}, "a program takes 131072 in one"),
        ({"args": ["x" * 131072]}, "a program takes 131072 in one"),
        ({"env_sensitive": {f"A{n}": "x" * 100000 for n in range(20)}}, "Together they have"),
        ({"tmpfs": [{"target": "/dev/", "size": None, "mode": None}]}, "at /dev"),
        (
            {
                "env_sensitive": {"A": "b"},
                "tmpfs": [{"target": "/run/kled/", "size": None, "mode": None}],
            },
            "A block `agent` has /run/kled already",
        ),
        ({"env": {"A=B": "x"}}, "has no `=`"),
        ({"env": {"": "x"}}, "is not empty"),
        ({"env_sensitive": {"A": "secret\0"}}, "The value of A has a NUL byte"),
        ({"sysctls": {"vm.swappiness": "1"}}, "is the whole machine's"),
        ({"sysctls": {"net.a.b": "1", "net/a/b": "0"}}, "in two ways of writing it"),
        ({"sysctls": {"kernel.hostname": "x"}}, "is the whole machine's"),
        ({"shm_size": 2.0**50}, "Use a whole number"),
        ({"memory": 2.0**50}, "Use a whole number"),
        ({"vcpus": "0.009"}, "Use 0.01 to 256; got 0.009."),
        ({"capabilities": {"add": [], "drop": ["NO_SUCH"]}}, "capabilities(7)"),
        ({"network": [{"network": "n", "address": "here", "mac": None}]}, "Use an IP address"),
        ({"network": [{"network": "n", "address": None, "mac": "zz"}]}, "hardware address"),
        ({"network": [{"network": "n", "address": None, "mac": "01:00:00:00:00:07"}]}, "of one"),
        ({"port": [port(ip="x")], "network": [NETWORK]}, "IP address"),
        ({"port": [port()]}, "add a `network` block"),
        ({"network": [NETWORK, NETWORK]}, "in the network 'n' already"),
        ({"port": [port(), port(internal=2)], "network": [NETWORK]}, "Port 8080/tcp of this"),
        ({"port": [port(), port(ip="127.0.0.1")], "network": [NETWORK]}, "Port 8080/tcp of this"),
        ({"port": [port(ip="0.0.0.0"), port(ip="127.0.0.1")], "network": [NETWORK]}, "8080/tcp of"),
        ({"device": [{"name": "d", "target": "x", "permissions": None}]}, "absolute path"),
        ({"device": [{"name": "d", "target": None, "permissions": ""}]}, "letters of rwm"),
        ({"tmpfs": [{"target": "//proc//x", "size": None, "mode": None}]}, "in /proc"),
        ({"timeouts": {"create": "9999999h"}}, "up to six digits"),
        ({"rlimit": [{"name": "core", "soft": -1, "hard": 5}]}, "`soft` is at most `hard`"),
        ({"rlimit": [{"name": "core", "soft": 1, "hard": 5}] * 2}, "a limit of core already"),
        (
            {
                "volume": [{"volume": "v", "target": "/v", "read_only": None}],
                "mount": [{"source": "/s", "target": "//v/", "read_only": None}],
            },
            "A block `volume` has /v already",
        ),
    ],
)
def test_what_no_container_can_have_is_refused(given: dict[str, Any], said: str) -> None:
    found = told(**given)
    assert [said in detail for detail in found] == [True], found
    assert "secret" not in found[0]


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({}, "Set one of"),
        ({"content": "a", "source": "/s"}, "Set one of"),
        ({"content_base64": "!"}, "It is not base64"),
        ({"content": "a" * (1 << 21)}, "at most 1048576"),
    ],
)
def test_an_upload_has_one_content(contents: dict[str, str], said: str) -> None:
    plain = {"content": None, "content_base64": None, "source": None, "mode": None}
    (found,) = told(upload=[{"file": "/f", **plain, **contents}])
    assert said in found


def test_uploads_fit_into_one_message_together() -> None:
    plain = {"content_base64": None, "source": None, "mode": None}
    uploads = [{"file": f"/{n}", "content": "a" * (1 << 20), **plain} for n in range(9)]
    (found,) = told(upload=uploads)
    assert "Together they have 9437184 bytes" in found
    assert told(upload=uploads[:8]) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "a" * 5000}, "a kled_agent's id"),
        ({"token": "secret\0"}, "one word of printable ASCII"),
    ],
)
def test_an_agent_is_one_that_there_can_be(given: dict[str, str], said: str) -> None:
    agent = {"id": "a-1", "token": "t", "user": None, "url": None, "env": None}
    (found,) = told(agent={**agent, **given})
    assert said in found
    assert "secret" not in found


def test_what_a_container_can_have_is_taken() -> None:
    assert told(
        vcpus="0.01",  # as cty writes what no float is
        hosts={"db": "192.0.2.7", "gw": "host-gateway", "later": None, "unknown": UNKNOWN},
        dns=["192.0.2.53", "2001:db8::1", "fe80::1%eth0"],
        env={"A": "", "B": None, "C": "d=e\nf"},
        sysctls={"net.ipv4.ip_forward": "1", "kernel.shmmax": "9", "fs.mqueue.msg_max": "9"},
        capabilities={"add": ["NET_ADMIN", "CAP_SYS_PTRACE"], "drop": ["ALL"]},
        rlimit=[{"name": "core", "soft": 5, "hard": -1}],
        network=[{"network": UNKNOWN, "address": UNKNOWN, "mac": "02:00:00:00:00:07"}],
        port=[
            port(ip="192.0.2.1"),
            port(ip="192.0.2.2"),
            port(protocol="udp"),
            port(ip="::"),
            port(external=UNKNOWN),
        ],
        mount=[{"source": UNKNOWN, "target": UNKNOWN, "read_only": None}] * 2,
    ) == []  # fmt: skip


def test_signals_are_known_by_name_and_number() -> None:
    names = ("TERM", "SIGTERM", "15", "SIGRTMIN+3", "RTMAX-1")
    assert [signal_number(name) for name in names] == [15, 15, 15, 37, 63]
    for name in ("", "0", "RTMIN+99", "SIGRTMIN-1", "sigterm"):
        with pytest.raises(ValueError, match="ignal"):
            signal_number(name)
