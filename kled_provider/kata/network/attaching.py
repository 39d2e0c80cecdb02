"""Attaches containers to networks, and takes all of it away again, also after an unclean death.

    wanted = [NetworkAttachment(network=id)]
    attached = await networks.attach(container_id, workspace, wanted, ports)
    … the task gets `attached.netns` …
    await networks.detach(container_id)

What is about to be done is on disk before it is done: a record for each container, in a directory
that a boot empties as it does the kernel's side. `abandoned` are those whose container is gone.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio

from kled_provider.kata.creators import is_alive, this_process
from kled_provider.kata.network import bridges, namespaces
from kled_provider.kata.network.conflist import CNI_VERSION, bridge_name
from kled_provider.kata.network.plugins import Interface, Plugins
from kled_provider.kata.network.ports import PublishedPort
from kled_provider.kata.network.results import ContainerAddress, NetworkError, Subject, addresses
from kled_provider.kata.network.rules import remove_tagged_rules
from kled_provider.kata.network.settings import NetworkSettings
from kled_provider.kata.network.stored import NetworkStore, StoredNetwork
from kled_provider.kled.processes.launcher import write_record
from kled_provider.locks import hold_lock

_CLEAN_UP_S = 60.0
_LOOPBACK = {"cniVersion": CNI_VERSION, "name": "lo", "plugins": [{"type": "loopback"}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment:
    """One network of a container, by the network's id; `address` is asked for, None: any."""

    network: str
    address: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedContainer:
    """What a container has got: the path of its namespace, and its addresses by interface."""

    netns: str
    addresses: tuple[ContainerAddress, ...]


class ContainerNetworks:
    """The networks of this machine, for containers."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._plugins = Plugins(settings.plugin_directories)
        self._records = settings.run_directory / "attachments"
        self._lock = settings.run_directory / "attachments.lock"
        self.store = NetworkStore(settings)

    def netns(self, container_id: str) -> Path:
        """Where the namespace of a container is, or will be."""
        return self._settings.netns_directory / f"kled-{container_id}"

    async def attach(
        self,
        container_id: str,
        workspace: str,
        wanted: Sequence[NetworkAttachment],
        ports: Sequence[PublishedPort] = (),
    ) -> AttachedContainer:
        """Make the container's namespace and attach it to each network, as eth0, eth1, ….

        The networks have to be the workspace's, and each another one: the plugins name their rules
        by network and container. `ports` lead to the first, and none is there twice.
        What an earlier attach of the container left is taken away.
        Where this fails, or is cancelled, nothing is left. Raises NetworkError, OSError.
        """
        await self.detach(container_id)
        found = [self._usable(one, workspace, index) for index, one in enumerate(wanted)]
        _refuse_unreached(ports, *found[:1])
        record: dict[str, Any] = {
            "creator": this_process(),
            "networks": [one.network for one in wanted],
            "ports": [asdict(port) for port in ports],
            "interfaces": [],
        }
        async with hold_lock(self._lock):
            self._refuse_taken(container_id, ports)
            self._save(container_id, record)
        try:
            await namespaces.make_namespace(self.netns(container_id))
            await self._add(container_id, record, "lo", _LOOPBACK, {})
            got: list[ContainerAddress] = []
            for index, (one, network) in enumerate(zip(wanted, found, strict=True)):
                conflist = self.store.conflist(network.spec)
                try:
                    asked = _asked(one, network, ports if index == 0 else ())
                    result = await self._add(container_id, record, f"eth{index}", conflist, asked)
                except NetworkError as error:
                    error.index = index if error.index is None else error.index
                    raise
                got += addresses(result, f"eth{index}")
        except BaseException:
            with trio.move_on_after(_CLEAN_UP_S, shield=True), suppress(NetworkError):
                await self.detach(container_id)  # what it refuses is not what is to be told
            raise
        return AttachedContainer(netns=str(self.netns(container_id)), addresses=tuple(got))

    async def detach(self, container_id: str) -> None:
        """Take everything of a container's away; nothing there is no error.

        What a plugin refuses to take away is recorded for the next try and hinders nothing else:
        the rest goes, and the network has no user in it. Raises NetworkError for that, OSError.
        """
        record = self._load(container_id)
        is_whole = bool(record and record["interfaces"]) == self.netns(container_id).exists()
        refused: list[dict[str, Any]] = []
        problem: NetworkError | None = None
        for entry in reversed(record["interfaces"] if record else []):
            interface = self._interface(container_id, entry["name"], entry["asked"])
            try:
                await self._plugins.delete(entry["conflist"], interface, entry["result"] or None)
            except NetworkError as error:
                problem = problem or error
                refused.insert(0, entry)
        namespaces.remove_namespace(self.netns(container_id))
        if not is_whole:  # somebody has removed one of them
            await remove_tagged_rules(container_id, self._settings.iptables)
            self._give_back_addresses(container_id)
        async with hold_lock(self._lock):
            if record is not None and refused:
                left = {"creator": "", "is_left": True, "interfaces": refused}
                self._save(container_id, {**record, **left})
            else:
                self._path(container_id).unlink(missing_ok=True)
            for network in record["networks"] if record else []:
                if not self.users(network):
                    # Made anew by the next; an ADD that was killed may have left it half made.
                    bridges.remove_bridge(bridge_name(network))
        if problem is not None:
            raise problem

    async def check(self, container_id: str) -> None:
        """Look whether the container is attached as `attach` left it. Raises NetworkError."""
        record = self._load(container_id)
        if record is None or not self.netns(container_id).exists():
            raise NetworkError("the network namespace is gone")
        for entry in record["interfaces"]:
            if entry["name"] != "lo":
                interface = self._interface(container_id, entry["name"], entry["asked"])
                await self._plugins.check(entry["conflist"], interface, entry["result"])

    def abandoned(self, living: Container[str]) -> Iterator[str]:
        """The containers that are attached, are not `living`, and that nobody is creating."""
        for container_id in [*self.recorded(), *self._orphans()]:
            record = self._load(container_id)
            if container_id not in living and not (record and is_alive(record["creator"])):
                yield container_id

    def users(self, network: str) -> list[str]:
        """The containers that are attached to a network; of one that has left only traces are."""
        found = {container_id: self._load(container_id) for container_id in self.recorded()}
        return [
            container_id
            for container_id, record in found.items()
            if record and network in record["networks"] and "is_left" not in record
        ]

    async def _add(
        self,
        container_id: str,
        record: dict[str, Any],
        name: str,
        conflist: dict[str, Any],
        asked: dict[str, Any],
    ) -> dict[str, Any]:
        entry = {"name": name, "conflist": conflist, "asked": asked, "result": None}
        record["interfaces"].append(entry)
        self._save(container_id, record)

        def keep(result: dict[str, Any]) -> None:
            entry["result"] = result
            self._save(container_id, record)

        return await self._plugins.add(conflist, self._interface(container_id, name, asked), keep)

    def _interface(self, container_id: str, name: str, asked: dict[str, Any]) -> Interface:
        netns = str(self.netns(container_id))
        return Interface(container_id=container_id, netns=netns, name=name, asked=asked)

    def _usable(self, wanted: NetworkAttachment, workspace: str, index: int) -> StoredNetwork:
        found = self.store.load(wanted.network)
        if found is None or found.workspace != workspace:
            raise NetworkError(
                f"this workspace has no network {wanted.network!r}",
                "Give the id of a kata_network, as in kata_network.net.id.",
                index=index,
            )
        self._plugins.require(self.store.conflist(found.spec))
        return found

    def _refuse_taken(self, container_id: str, ports: Sequence[PublishedPort]) -> None:
        for index, port in enumerate(ports):
            if holder := self._holder(container_id, port):
                problem: str | None = f"is in use by container {holder}"
            else:
                problem = _bind_problem(port)
            if problem is None:
                continue
            raise NetworkError(
                f"port {port.host_port}/{port.protocol} {problem}",
                "Choose another port, or leave the mapping out: `kled forward` needs none.",
                subject=Subject.PORT,
                index=index,
            )

    def _holder(self, container_id: str, port: PublishedPort) -> str | None:
        for other in self.recorded():
            record = self._load(other)
            taken = record["ports"] if record is not None and other != container_id else ()
            if any(port.collides(PublishedPort(**one)) for one in taken):
                return other
        return None

    def _give_back_addresses(self, container_id: str) -> None:
        """As host-local's DEL: a file for each address begins with the container's id."""
        for path in (self._settings.run_directory / "ipam").glob("*/*"):
            with suppress(FileNotFoundError):
                if path.read_text("utf-8", "replace").split()[:1] == [container_id]:
                    path.unlink()

    def _path(self, container_id: str) -> Path:
        return self._records / f"{container_id}.json"

    def _save(self, container_id: str, record: dict[str, Any]) -> None:
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_record(str(self._path(container_id)), record)

    def _load(self, container_id: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._path(container_id).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def recorded(self, prefix: str = "") -> Iterator[str]:
        """The containers that are attached, or that an attach has begun; whose ids begin so."""
        for path in sorted(self._records.glob(f"{prefix}*.json")):
            yield path.name.removesuffix(".json")

    def _orphans(self) -> Iterator[str]:
        """Namespaces without a record."""
        for path in sorted(self._settings.netns_directory.glob("kled-*")):
            container_id = path.name.removeprefix("kled-")
            if not self._path(container_id).exists():
                yield container_id


def _refuse_unreached(ports: Sequence[PublishedPort], *first: StoredNetwork) -> None:
    """The plugin portmap leaves out what does not lead to an address of the same kind."""
    kinds = {each.subnet.version for network in first for each in network.spec.ranges}
    for index, port in enumerate(ports):
        if port.host_address and ip_address(port.host_address).version not in kinds:
            raise NetworkError(
                f"the first network has no address of the kind of {port.host_address}",
                "Choose an address of the other kind, or leave `ip` out.",
                subject=Subject.PORT,
                index=index,
            )


def _asked(
    wanted: NetworkAttachment, network: StoredNetwork, ports: Sequence[PublishedPort]
) -> dict[str, Any]:
    """The capabilities' arguments (CNI conventions)."""
    asked: dict[str, Any] = {}
    if wanted.address:
        subnet = next(
            (r.subnet for r in network.spec.ranges if ip_address(wanted.address) in r.subnet), None
        )
        if subnet is None:
            raise NetworkError(
                f"{wanted.address} is in no subnet of the network {network.name!r}",
                f"It has {', '.join(str(r.subnet) for r in network.spec.ranges)}.",
                subject=Subject.ADDRESS,
            )
        asked["ips"] = [f"{wanted.address}/{subnet.prefixlen}"]
    if wanted.mac:
        asked["mac"] = wanted.mac
    if ports:
        asked["portMappings"] = [
            {
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol,
                "hostIP": port.host_address,
            }
            for port in ports
        ]
    return asked


def _bind_problem(port: PublishedPort) -> str | None:
    """Say why the port cannot be had now; None: it can."""
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in port.host_address else socket.AF_INET
    with closing(socket.socket(family, kind)) as probe:
        if kind is socket.SOCK_STREAM:
            # Connections that have ended hold no port; one that listens does (socket(7)).
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host_address, port.host_port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return f"cannot be had: {port.host_address} is no address of this machine"
            if error.errno == errno.EADDRINUSE:
                return "is in use by a program of this machine"
            return f"cannot be had: {error.strerror}"
    return None
