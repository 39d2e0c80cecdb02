"""Where networks keep what they need on this machine, and what the owner lets them use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kled_provider.kata.network.conflist import Subnet
from kled_provider.kata.owner.file import OwnerFile


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """`directory` outlives a boot, `run_directory` need not: it names what is in the kernel.

    `pools` and `pool_prefix` are what subnets that no template names are cut from; those
    that one names lie in them. `iptables` are the programs whose rules the plugins set.
    """

    directory: Path
    run_directory: Path
    plugin_directories: tuple[Path, ...]
    pools: tuple[Subnet, ...]
    pool_prefix: int = 24
    iptables: tuple[str, ...] = ("iptables", "ip6tables")

    @property
    def netns_directory(self) -> Path:
        """Where the namespaces of containers are; nothing else is."""
        return self.run_directory / "netns"


def network_settings(owner: OwnerFile) -> NetworkSettings:
    """Return what the owner's file says of networks."""
    return NetworkSettings(
        directory=Path(owner.state_directory),
        run_directory=Path(owner.runtime_directory),
        plugin_directories=tuple(map(Path, owner.networks.plugin_directories)),
        pools=owner.networks.address_pools,
    )
