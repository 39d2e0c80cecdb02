"""The networks of this machine on disk: a directory for each, with a record and its conflist.

The conflist is a CNI configuration list as `cnitool` reads it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from kled_provider.kata.network.conflist import AddressRange, NetworkSpec, Subnet, conflist
from kled_provider.kata.network.results import NetworkError
from kled_provider.kata.network.settings import NetworkSettings
from kled_provider.kled.processes.launcher import write_record

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNetwork:
    """A network and whose it is; `generation` is of the create that made or adopted it last.

    `ipam` are the blocks that its addresses were asked for by.
    """

    spec: NetworkSpec
    workspace: str
    name: str
    generation: str
    ipam: tuple[Mapping[str, str | None], ...] = ()


def network_id(workspace: str, name: str) -> str:
    """Return the id of a workspace's network. Raises NetworkError."""
    found = f"{workspace}.{name}"
    if _ID.fullmatch(found) is None:
        raise NetworkError(f"{found!r} is no name for a network")
    return found


class NetworkStore:
    """Reads and writes them; who changes what stands there holds `lock`."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._directory = settings.directory / "networks"

    @property
    def lock(self) -> Path:
        """The file of the lock (locks.hold_lock)."""
        return self._settings.directory / "networks.lock"

    def conflist(self, spec: NetworkSpec) -> dict[str, Any]:
        """Return the configuration list of a network of this machine."""
        return conflist(spec, str(self._settings.run_directory / "ipam"))

    def save(self, network: StoredNetwork) -> None:
        """Put a network in its place. Raises OSError."""
        place = self._directory / network.spec.id
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_record(str(self._conflist_path(network.spec.id)), self.conflist(network.spec))
        write_record(str(place / "record.json"), _encode(network))

    def load(self, id: str) -> StoredNetwork | None:  # noqa: A002 - the word of the record
        """Return a network; None where there is none, or its conflist is not what it should be."""
        if not _ID.fullmatch(id):
            return None
        try:
            record = json.loads((self._directory / id / "record.json").read_bytes())
            network = _decode(record)
            written = json.loads(self._conflist_path(id).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None
        return network if written == self.conflist(network.spec) else None

    def remove(self, id: str) -> None:  # noqa: A002
        """Forget a network; one that is gone is no error. Raises OSError."""
        shutil.rmtree(self._directory / id, ignore_errors=True)
        # Without a container nothing is given out: what host-local still has is nobody's.
        shutil.rmtree(self._settings.run_directory / "ipam" / id, ignore_errors=True)

    def all(self) -> Iterator[StoredNetwork]:
        """Every network that can be read."""
        if self._directory.is_dir():
            for place in sorted(self._directory.iterdir()):
                if (network := self.load(place.name)) is not None:
                    yield network

    def subnets(self, besides: str) -> list[Subnet]:
        """The subnets of all networks but one."""
        return [r.subnet for n in self.all() if n.spec.id != besides for r in n.spec.ranges]

    def _conflist_path(self, id: str) -> Path:  # noqa: A002
        return self._directory / id / f"{id}.conflist"


def _encode(network: StoredNetwork) -> dict[str, Any]:
    spec = network.spec
    return {
        "workspace": network.workspace,
        "name": network.name,
        "generation": network.generation,
        "ipam": [dict(block) for block in network.ipam],
        "id": spec.id,
        "ranges": [
            {"subnet": str(r.subnet), "gateway": r.gateway, "first": r.first, "last": r.last}
            for r in spec.ranges
        ],
        "mtu": spec.mtu,
        "internal": spec.internal,
        "isolated": spec.isolated,
        "dns_servers": spec.dns_servers,
        "dns_search": spec.dns_search,
        "dns_options": spec.dns_options,
    }


def _decode(record: dict[str, Any]) -> StoredNetwork:
    ranges = tuple(
        AddressRange(
            subnet=ip_network(r["subnet"]), gateway=r["gateway"], first=r["first"], last=r["last"]
        )
        for r in record["ranges"]
    )
    spec = NetworkSpec(
        id=record["id"],
        ranges=ranges,
        mtu=record["mtu"],
        internal=record["internal"],
        isolated=record["isolated"],
        dns_servers=tuple(record["dns_servers"]),
        dns_search=tuple(record["dns_search"]),
        dns_options=tuple(record["dns_options"]),
    )
    return StoredNetwork(
        spec=spec,
        workspace=record["workspace"],
        name=record["name"],
        generation=record["generation"],
        ipam=tuple(record["ipam"]),
    )
