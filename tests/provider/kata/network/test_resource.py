"""`kata_network` under the real terraform and Debian's CNI plugins."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.network.attaching import ContainerNetworks, NetworkAttachment
from kled_provider.kata.network.resource import NetworkResource
from kled_provider.plugin.resource import Provider
from tests.kit.cni import Machine, forget, leftovers, make_machine, why_not
from tests.kit.network import open_network
from tests.provider.conftest import FakeHost, open_terraform

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
    pytest.mark.slow,
]
ADDRESS = "registry.terraform.io/kled/kata"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with open_network() as network:
        more = ("fd00:88::/32",)
        made = make_machine(network.add("host"), tmp_path, more=more)
        with made.namespace.entered():
            yield made
            forget(made)


@pytest.fixture
async def terraform(host: FakeHost, machine: Machine, tmp_path: Path) -> AsyncIterator[Any]:
    directory = tmp_path / "tf"
    directory.mkdir()
    provider = Provider(name="kata", resources=(NetworkResource(lambda: machine.settings),))
    async with open_terraform(host, directory, {ADDRESS: provider}) as found:
        yield found


def write(terraform: Any, *lines: str, more: str = "") -> None:
    terraform.write('resource "kata_network" "net" {\n' + "\n".join(lines) + "\n}\n" + more)


def attributes(terraform: Any) -> dict[str, Any]:
    return terraform.attributes("kata_network.net")


def rules() -> str:
    return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout


async def test_every_attribute_is_applied_and_planned_again_without_a_change(
    terraform: Any, machine: Machine
) -> None:
    everything = [
        'name = "net"', "mtu = 1400", "internal = true", "isolated = true", 'dns = ["10.0.0.53"]',
        'dns_search = ["corp"]', 'dns_options = ["ndots:2"]',
        'ipam {\n subnet = "10.77.1.0/24"\n gateway = "10.77.1.9"\n ip_range = "10.77.1.64/26"\n}',
        'ipam {\n subnet = "fd00:88::/64"\n}',
    ]  # fmt: skip
    write(terraform, *everything)
    await terraform("init")
    await terraform("apply", "-auto-approve")
    await terraform("plan", "-detailed-exitcode")
    found = attributes(terraform)
    assert found["subnets"] == ["10.77.1.0/24", "fd00:88::/64"]
    assert (found["id"], found["gateway"]) == ("w-1.net", "10.77.1.9")
    assert json.loads(found["conflist"])["plugins"][0]["mtu"] == 1400
    assert leftovers(machine) == [], "the trial left nothing"

    everything[4] = 'dns = ["10.0.0.54"]'
    write(terraform, *everything)
    assert "0 added, 1 changed, 0 destroyed" in await terraform("apply", "-auto-approve")
    assert "10.0.0.54" in attributes(terraform)["conflist"]
    await terraform("plan", "-detailed-exitcode")
    await terraform("state", "rm", "kata_network.net")
    await terraform("import", "kata_network.net", "net")
    await terraform("plan", "-detailed-exitcode")

    # A conflist that somebody has changed behind its back is written anew.
    (path,) = machine.settings.directory.rglob("*.conflist")
    path.write_text(path.read_text().replace("1400", "1500"))
    assert "1 to add" in await terraform("plan")
    await terraform("apply", "-auto-approve")
    assert "1400" in path.read_text()
    await terraform("destroy", "-auto-approve")
    assert not list((machine.settings.directory / "networks").iterdir())
    assert "-i kled" not in rules()


async def test_subnets_come_from_the_pools_until_they_are_exhausted(
    terraform: Any, machine: Machine
) -> None:
    more = "".join(
        f'resource "kata_network" "n{n}" {{\n name = "n{n}"\n depends_on = [kata_network.{p}]\n}}\n'
        for n, p in ((2, "net"), (3, "n2"))
    )
    write(terraform, 'name = "net"')
    await terraform("init")
    await terraform("apply", "-auto-approve")
    assert attributes(terraform)["subnets"] == ["10.77.0.0/24"]
    write(terraform, 'name = "net"', more=more)
    said = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "The address pools of this machine are exhausted" in said
    assert 'name = "n3"' in said
    await terraform("destroy", "-auto-approve")


async def test_errors_stand_at_their_attributes_and_leave_nothing(
    terraform: Any, machine: Machine
) -> None:
    machine.namespace.ip("link", "add", "mine", "type", "bridge")
    machine.namespace.up("mine", "10.77.1.1/24")
    await _refused(terraform, 'subnet = "10.77.1.1/24"', "host bits")
    await _refused(terraform, 'gateway = "10.9.0.1"', "not within", 'subnet = "10.77.1.0/24"')
    await _refused(terraform, 'subnet = "10.77.0.0/23"', "It overlaps 10.77.1.0/24")
    for elsewhere in ("10.88.3.0/24", "10.77.0.0/16", "fd00:99::/64"):
        await _refused(terraform, f'subnet = "{elsewhere}"', "Choose a subnet of one", plans=True)
    await _refused(terraform, 'name = "a/b"', "letters, digits")
    await _refused(terraform, "mtu = 7", "576 to 65535")
    await _refused(terraform, 'dns = ["127.0.0.1"]', "the container itself")
    (plugins,) = machine.settings.plugin_directories
    bridge = (plugins / "bridge").read_text()
    answer = '{"code": 7, "msg": "no bridge of mine", "details": "mtu"}'
    (plugins / "bridge").write_text(
        f"#!/bin/sh\n[ $CNI_COMMAND != ADD ] || {{ echo '{answer}'; exit 1; }}\n{bridge}"
    )
    refuses = "CNI plugin bridge refuses ADD: no bridge of mine: mtu"
    await _refused(terraform, 'name = "net"', refuses)
    (plugins / "bridge").write_text(bridge)
    (plugins / "portmap").unlink()
    await _refused(terraform, 'name = "net"', "no CNI plugin 'portmap'")
    assert not list((machine.settings.directory / "networks").glob("*"))
    machine.namespace.ip("link", "delete", "mine")
    assert leftovers(machine) == []


async def _refused(terraform: Any, line: str, why: str, *others: str, plans: bool = False) -> None:
    block = line.startswith(("subnet", "gateway"))
    lines = [] if line.startswith("name") else ['name = "net"']
    lines += ["ipam {", line, *others, "}"] if block else [line]
    write(terraform, *lines)
    words = ("plan",) if plans else ("apply", "-auto-approve")
    said = await terraform(*words, "-no-color", code=1)
    flat = " ".join(said.replace("│", " ").split())
    assert why in flat, said
    assert line in flat, said


async def test_what_a_plugin_will_never_take_away_is_not_in_the_way_of_the_next_one(
    terraform: Any, machine: Machine
) -> None:
    (plugins,) = machine.settings.plugin_directories
    bridge = plugins / "bridge"
    as_it_was = bridge.read_text()
    answer = '{\\"code\\": 7, \\"msg\\": \\"no $CNI_COMMAND\\"}'
    bridge.write_text(
        f'#!/bin/sh\ngiven=$(cat)\ncase "$given" in *1399*) echo "{answer}"; exit 1;; esac\n'
        f'printf %s "$given" | {as_it_was.partition("exec ")[2]}'
    )
    write(terraform, 'name = "net"', "mtu = 1399")
    await terraform("init")
    assert "no ADD" in await terraform("apply", "-auto-approve", "-no-color", code=1)
    write(terraform, 'name = "net"', "mtu = 1400")
    await terraform("apply", "-auto-approve")
    await terraform("destroy", "-auto-approve")
    bridge.write_text(as_it_was)
    networks = ContainerNetworks(machine.settings)
    for left in [*networks.abandoned(())]:
        await networks.detach(left)
    assert leftovers(machine) == []


async def test_a_network_in_use_is_not_removed_and_one_of_a_killed_run_is_taken(
    terraform: Any, machine: Machine
) -> None:
    write(terraform, 'name = "net"')
    await terraform("init")
    await terraform("apply", "-auto-approve")
    networks = ContainerNetworks(machine.settings)
    await networks.attach("c1", "w-1", [NetworkAttachment(network="w-1.net")])
    assert "in use by c1" in await terraform("destroy", "-auto-approve", code=1)
    before = attributes(terraform)
    await terraform("state", "rm", "kata_network.net")
    await terraform("apply", "-auto-approve")
    assert attributes(terraform) == before
    await networks.check("c1")
    await networks.detach("c1")
    await terraform("destroy", "-auto-approve")
    assert leftovers(machine) == []
