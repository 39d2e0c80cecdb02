"""Containers on networks, by Debian's CNI plugins, in a namespace that stands for a machine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from kled_provider.kata.network.attaching import ContainerNetworks, NetworkAttachment
from kled_provider.kata.network.conflist import AddressRange, NetworkSpec
from kled_provider.kata.network.namespaces import remove_namespace
from kled_provider.kata.network.ports import PublishedPort
from kled_provider.kata.network.results import NetworkError, Subject
from kled_provider.kata.network.stored import StoredNetwork
from tests.kit.cni import Machine, forget, leftovers, make_machine, why_not
from tests.kit.network import open_network

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.slow,
]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with open_network() as network:
        made = make_machine(network.add("host"), tmp_path)
        with made.namespace.entered():
            yield made
            forget(made)


@pytest.fixture
def networks(machine: Machine) -> ContainerNetworks:
    found = ContainerNetworks(machine.settings)
    found.store.save(stored("ws.net", "10.88.3.0/24"))
    return found


def stored(network_id: str, subnet: str, **changed: object) -> StoredNetwork:
    network = ip_network(subnet)
    addresses = AddressRange(subnet=network, gateway=str(network[1]))
    spec = replace(NetworkSpec(id=network_id, ranges=(addresses,)), **changed)  # type: ignore[arg-type]
    return StoredNetwork(
        spec=spec, workspace="ws", name=network_id.partition(".")[2], generation="g"
    )


def inside(netns: str, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nsenter", f"--net={netns}", *command],
        capture_output=True, text=True, check=False, timeout=20, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def reaches(netns: str, address: str, port: int) -> bool:
    """Whether a connection from the namespace is answered or refused, and not dropped."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(); s.settimeout(0.5)\n"
        "try: s.connect((sys.argv[1], int(sys.argv[2])))\n"
        "except ConnectionRefusedError: pass\n"
    )
    return inside(netns, sys.executable, "-c", program, address, str(port)).returncode == 0


async def test_a_container_gets_an_address_a_route_and_its_loopback_and_leaves_nothing(
    machine: Machine, networks: ContainerNetworks
) -> None:
    attached = await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    (address,) = attached.addresses
    assert (address.interface, address.address, address.prefix) == ("eth0", "10.88.3.2", 24)
    assert address.gateway == "10.88.3.1"
    shown = json.loads(inside(attached.netns, "ip", "-j", "address").stdout)
    assert {link["ifname"]: link["operstate"] for link in shown} == {"lo": "UNKNOWN", "eth0": "UP"}
    assert "default via 10.88.3.1" in inside(attached.netns, "ip", "route").stdout
    assert reaches(attached.netns, "10.88.3.1", 1)
    await networks.check("c1")
    await networks.detach("c1")
    assert leftovers(machine) == []
    await networks.detach("c1")


async def test_what_is_gone_shows_in_a_check(machine: Machine, networks: ContainerNetworks) -> None:
    attached = await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    inside(attached.netns, "ip", "link", "delete", "eth0")
    with pytest.raises(NetworkError):
        await networks.check("c1")
    await networks.detach("c1")
    with pytest.raises(NetworkError, match="gone"):
        await networks.check("c1")
    assert leftovers(machine) == []


async def test_workspaces_do_not_reach_each_other_and_containers_of_one_network_do(
    networks: ContainerNetworks,
) -> None:
    networks.store.save(stored("other.net", "10.88.4.0/24"))
    networks.store.save(stored("open.net", "10.88.5.0/24", isolated=False))
    here = await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    beside = await networks.attach("c2", "ws", [NetworkAttachment(network="ws.net")])
    there = await networks.attach("c3", "ws", [NetworkAttachment(network="other.net")])
    unlocked = await networks.attach("c4", "ws", [NetworkAttachment(network="open.net")])
    try:
        assert reaches(here.netns, beside.addresses[0].address, 1)
        assert not reaches(here.netns, there.addresses[0].address, 1)
        assert not reaches(there.netns, here.addresses[0].address, 1)
        assert reaches(unlocked.netns, here.addresses[0].address, 1), "not isolated, as it said"
    finally:
        for container in ("c1", "c2", "c3", "c4"):
            await networks.detach(container)


async def test_a_port_of_the_machine_leads_to_the_container(
    machine: Machine, networks: ContainerNetworks
) -> None:
    port = PublishedPort(host_port=18080, container_port=80)
    attached = await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")], [port])
    program = (
        "import socket\n"
        "s = socket.create_server(('', 80)); print('up', flush=True)\n"
        "c, _ = s.accept(); c.sendall(b'hello'); c.close()\n"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - it says at once that it is up
        ["nsenter", f"--net={attached.netns}", sys.executable, "-c", program],
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with socket.create_connection(("10.88.3.1", 18080), 5) as s:
            assert s.recv(5) == b"hello"
    await networks.detach("c1")
    assert leftovers(machine) == []


async def test_a_port_in_use_is_refused_at_its_place_and_nothing_is_left(
    machine: Machine, networks: ContainerNetworks
) -> None:
    ports = [
        PublishedPort(host_port=18081, container_port=81),
        PublishedPort(host_port=18080, container_port=80),
    ]
    await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")], [ports[1]])
    with pytest.raises(NetworkError, match="container c1") as caught:
        await networks.attach("c2", "ws", [NetworkAttachment(network="ws.net")], ports)
    assert (caught.value.subject, caught.value.index) == (Subject.PORT, 1)
    await networks.detach("c1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = PublishedPort(host_port=server.getsockname()[1], container_port=80)
        with pytest.raises(NetworkError, match="a program of this machine"):
            await networks.attach("c2", "ws", [NetworkAttachment(network="ws.net")], [mine])
    elsewhere = PublishedPort(host_port=18080, container_port=80, host_address="192.0.2.99")
    unreached = PublishedPort(host_port=18080, container_port=80, host_address="::")
    for port, said in (
        (elsewhere, "no address of this machine"),
        (unreached, "no address of the kind of ::"),
    ):
        with pytest.raises(NetworkError, match=said):
            await networks.attach("c2", "ws", [NetworkAttachment(network="ws.net")], [port])
    assert leftovers(machine) == []


async def test_an_exhausted_pool_and_a_taken_address_say_what_is_wrong(
    machine: Machine, networks: ContainerNetworks
) -> None:
    networks.store.save(stored("ws.small", "10.88.6.0/30"))
    await networks.attach("c1", "ws", [NetworkAttachment(network="ws.small", address="10.88.6.2")])
    with pytest.raises(NetworkError, match="no address left") as exhausted:
        await networks.attach("c2", "ws", [NetworkAttachment(network="ws.small")])
    assert (exhausted.value.subject, exhausted.value.index) == (Subject.NETWORK, 0)
    with pytest.raises(NetworkError) as taken:
        await networks.attach(
            "c2", "ws", [NetworkAttachment(network="ws.small", address="10.88.6.2")]
        )
    assert taken.value.subject is Subject.ADDRESS
    with pytest.raises(NetworkError, match="in no subnet") as outside:
        await networks.attach(
            "c2", "ws", [NetworkAttachment(network="ws.small", address="10.88.7.2")]
        )
    assert (outside.value.subject, outside.value.index) == (Subject.ADDRESS, 0)
    await networks.detach("c1")
    assert leftovers(machine) == []


async def test_two_networks_of_one_container_and_a_network_that_is_missing(
    machine: Machine, networks: ContainerNetworks
) -> None:
    networks.store.save(stored("ws.back", "10.88.7.0/24", internal=True, mtu=1400))
    both = [
        NetworkAttachment(network="ws.net"),
        NetworkAttachment(network="ws.back", mac="02:00:00:00:00:07"),
    ]
    attached = await networks.attach("c1", "ws", both)
    assert [a.interface for a in attached.addresses] == ["eth0", "eth1"]
    shown = inside(attached.netns, "ip", "link", "show", "eth1").stdout
    assert "mtu 1400" in shown
    assert "02:00:00:00:00:07" in shown
    assert inside(attached.netns, "ip", "route").stdout.count("default") == 1
    await networks.detach("c1")
    with pytest.raises(NetworkError, match=r"no network 'ws\.gone'") as caught:
        await networks.attach("c1", "ws", [both[0], NetworkAttachment(network="ws.gone")])
    assert caught.value.index == 1
    with pytest.raises(NetworkError, match="this workspace has no network"):
        await networks.attach("c1", "another", both)
    assert leftovers(machine) == []


async def test_a_plugin_that_is_missing_is_named_and_nothing_is_begun(
    machine: Machine, networks: ContainerNetworks
) -> None:
    (machine.settings.plugin_directories[0] / "portmap").unlink()
    with pytest.raises(NetworkError, match="no CNI plugin 'portmap' in") as caught:
        await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    assert "containernetworking-plugins" in caught.value.hint
    assert leftovers(machine) == []


async def test_a_conflist_that_a_plugin_refuses_is_told_and_undone(
    machine: Machine, networks: ContainerNetworks
) -> None:
    networks.store.save(stored("ws.net", "10.88.3.0/24", mtu=99999))
    with pytest.raises(NetworkError, match="CNI plugin bridge refuses ADD") as caught:
        await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    assert caught.value.subject is Subject.NETWORK
    assert leftovers(machine) == []


async def test_a_cancelled_attach_leaves_nothing(
    machine: Machine, networks: ContainerNetworks
) -> None:
    for seconds in (0.0, 0.02, 0.05, 0.1, 0.15):
        with trio.move_on_after(seconds):
            await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
            await trio.sleep_forever()
        await networks.detach("c1")
        assert leftovers(machine) == []


_DIES = """
import os, signal, sys, trio
from ipaddress import ip_network
from pathlib import Path
from kled_provider.kata.network.attaching import NetworkAttachment, ContainerNetworks
from kled_provider.kata.network.settings import NetworkSettings

base, seconds = Path(sys.argv[1]), float(sys.argv[2])
settings = NetworkSettings(
    directory=base / "state", run_directory=base / "run", plugin_directories=(base / "cni",),
    pools=())

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(die)
        await ContainerNetworks(settings).attach("c1", "ws", [NetworkAttachment(network="ws.net")])

async def die():
    await trio.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


@pytest.mark.parametrize("seconds", ["0.02", "0.08", "0.2", "0.6"])
async def test_what_an_unclean_death_left_is_found_and_goes(
    machine: Machine, networks: ContainerNetworks, tmp_path: Path, seconds: str
) -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", _DIES, str(tmp_path), seconds], check=False, cwd=root
    )
    assert done.returncode == -signal.SIGKILL
    assert list(networks.abandoned({"c1"})) == [], "its container lives"
    for container in list(networks.abandoned(set())):
        await networks.detach(container)
    assert leftovers(machine) == []


async def test_what_is_being_created_is_not_collected(
    machine: Machine, networks: ContainerNetworks
) -> None:
    await networks.attach("c1", "ws", [NetworkAttachment(network="ws.net")])
    assert list(networks.abandoned(set())) == []
    assert networks.users("ws.net") == ["c1"]
    (machine.settings.netns_directory / "kled-orphan").touch()
    assert list(networks.abandoned(set())) == ["orphan"]
    await networks.detach("orphan")
    await networks.detach("c1")
    assert networks.users("ws.net") == []
    assert leftovers(machine) == []


@pytest.mark.parametrize("removed", ["namespace", "record"])
async def test_what_somebody_has_removed_of_a_container_leaves_no_rules_and_addresses(
    networks: ContainerNetworks, machine: Machine, removed: str
) -> None:
    port = PublishedPort(host_port=28099, container_port=80)
    await networks.attach("c-1", "ws", [NetworkAttachment(network="ws.net")], [port])
    if removed == "namespace":
        remove_namespace(networks.netns("c-1"))
    else:
        (machine.settings.run_directory / "attachments/c-1.json").unlink()
    await networks.detach("c-1")
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "c-1" not in rules
    assert "28099" not in rules
    assert not list((machine.settings.run_directory / "ipam/ws.net").glob("10.*"))
