"""The real CNI plugins, run in a network namespace that stands for a machine.

What they make (bridges, veth pairs, rules of iptables) is that namespace's and gone with it: each
program of the directory enters the namespace (nsenter(1)) and becomes the plugin.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from kled_provider.kata.network.namespaces import remove_namespace
from kled_provider.kata.network.settings import NetworkSettings
from tests.kit import network
from tests.kit.network import Namespace

PLUGINS = Path("/usr/lib/cni")


def why_not() -> str:
    """Why no container can be attached here; empty where one can."""
    if not (PLUGINS / "bridge").exists():
        return "containernetworking-plugins not installed"
    if shutil.which("iptables") is None:
        return "iptables not installed"
    return network.why_not()


@dataclass(frozen=True)
class Machine:
    """A namespace whose CNI plugins are in `settings`."""

    namespace: Namespace
    settings: NetworkSettings

    def links(self) -> list[str]:
        """The interfaces of the machine but its loopback."""
        with self.namespace.entered():
            # The thread's own view, where /sys would show that of whoever mounted it.
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        return sorted(name for line in lines if (name := line.split(":")[0].strip()) != "lo")


def make_machine(
    namespace: Namespace, directory: Path, *, prefix: int = 24, more: tuple[str, ...] = ()
) -> Machine:
    """Make its directories, and a pool of two subnets of /24, besides `more`."""
    programs = directory / "cni"
    programs.mkdir()
    tables = tuple(str(_entering(namespace, name, directory)) for name in ("iptables", "ip6tables"))
    for plugin in PLUGINS.iterdir():
        _entering(namespace, str(plugin), programs)
    settings = NetworkSettings(
        directory=directory / "state",
        run_directory=directory / "run",
        plugin_directories=(programs,),
        pools=(ip_network("10.77.0.0/23"), *map(ip_network, more)),
        pool_prefix=prefix,
        iptables=tables,
    )
    return Machine(namespace, settings)


def _entering(namespace: Namespace, program: str, directory: Path) -> Path:
    """A program that enters the namespace and becomes `program`."""
    made = directory / Path(program).name
    made.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{namespace.name} {program} "$@"\n')
    made.chmod(0o755)
    return made


def forget(machine: Machine) -> None:
    """Let go of the namespaces that a test that failed has left: mounts are in everybody's way."""
    for place in machine.settings.netns_directory.glob("*"):
        remove_namespace(place)


def leftovers(machine: Machine) -> list[str]:
    """What is there of containers: namespaces, records, addresses, bridges, veth pairs."""
    found = [str(p) for p in machine.settings.netns_directory.glob("*")]
    found += [str(p) for p in (machine.settings.run_directory / "attachments").glob("*")]
    ipam = machine.settings.run_directory / "ipam"
    found += [str(p) for p in ipam.glob("*/*") if p.name[0].isdigit()]
    found += machine.links()
    mounts = Path("/proc/self/mountinfo").read_text()
    if os.fspath(machine.settings.netns_directory) in mounts:
        found.append("a mounted namespace")
    return found
