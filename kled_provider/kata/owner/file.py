"""What the owner's file says, as values. Everything a template names is looked up here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

DEFAULT_PATH = "/etc/kled/kata.toml"


class OwnerFileError(Exception):
    """The owner's file cannot be used. `code` is stable, `message` one line."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Use(enum.Enum):
    """What a place of the host may be used for."""

    MOUNT = "mount"  # mounted into a container
    VOLUME = "volume"  # volumes are made in it
    POPULATE = "populate"  # a new volume is filled from it
    IMPORT = "import"  # an image is imported from it
    UPLOAD = "upload"  # a file of it is copied into a container


@dataclass(frozen=True, slots=True, kw_only=True)
class Containerd:
    """`[containerd]`: where it is asked, and for what."""

    address: str = "/run/containerd/containerd.sock"
    namespace: str = "kled"
    snapshotter: str = "overlayfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """`[networks]`: the CNI plugins, and the addresses that subnets of kata_network lie in."""

    plugin_directories: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    address_pools: tuple[IPv4Network | IPv6Network, ...] = (
        IPv4Network("10.88.0.0/16"),
        IPv6Network("fd00:88::/32"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """`[images]`: what the provider may keep, in bytes, before it collects unused images."""

    keep_bytes: int = 20 * 1024**3
    unpacked_bytes: int = 50 * 1024**3  # the largest image that is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """`[handlers.NAME]`: a runtime that containers may use.

    `runtime` is containerd's name of it or the absolute path of a shim. `hypervisor` is set where
    it is Kata, and then `configuration` may name the one that it uses by default. `memory_mib` and
    `vcpus` are the limits of a container that says none.
    """

    name: str
    runtime: str
    hypervisor: str | None = None
    configuration: str | None = None
    snapshotter: str | None = None
    memory_mib: int = 2048
    vcpus: float = 1.0

    @property
    def is_kata(self) -> bool:
        """Whether its containers are VMs."""
        return self.hypervisor is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`[configurations.NAME]`: a configuration of Kata that others may be based on.

    `drop_ins` allows drop-ins beside it, which change it for everything that uses it.
    """

    name: str
    path: str
    drop_ins: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """`[credentials.NAME]`: an account at a registry; the password is in a file of root's."""

    name: str
    registry: str
    username: str
    password_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegistry:
    """`[registries."HOST[:PORT]"]`: how a registry is reached, where not by HTTPS as usual."""

    host: str
    plain_http: bool = False
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlace:
    """`[places.NAME]`: a directory of the host, beneath which a template may name things."""

    name: str
    path: str
    uses: frozenset[Use]
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutKata:
    """`[without_kata]`: what a container that is no VM may have, though it reaches the host."""

    privileged: bool = False
    capabilities: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerFile:
    """The whole file.

    `state_directory` is what the provider keeps, `runtime_directory` what ends with a boot, on
    tmpfs. `default_handler` is the one of a container that names none; "" where none is named and
    there are several. `agent_bundles` are unpacked agents by architecture (amd64, arm64), `devices`
    paths by name. `allowed` are the values that dangerous keys of a configuration may have, by
    table and key, such as `allowed["hypervisor"]["path"]`; `extra_toml` are pieces of
    configuration by name.
    """

    state_directory: str = "/var/lib/kled-kata"
    runtime_directory: str = "/run/kled-kata"
    default_handler: str = ""
    containerd: Containerd = field(default_factory=Containerd)
    networks: Networks = field(default_factory=Networks)
    images: Images = field(default_factory=Images)
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    configurations: Mapping[str, Configuration] = field(default_factory=dict)
    agent_bundles: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    registries: Mapping[str, ImageRegistry] = field(default_factory=dict)
    places: Mapping[str, HostPlace] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    extra_toml: Mapping[str, str] = field(default_factory=dict)
    without_kata: WithoutKata = field(default_factory=WithoutKata)

    def places_for(self, use: Use) -> Mapping[str, HostPlace]:
        """Return the places that may be used so, by name."""
        return {name: place for name, place in self.places.items() if use in place.uses}

    def allowed_values(self, table: str, key: str) -> tuple[str, ...]:
        """Return what a dangerous key may be set to; nothing by default."""
        return self.allowed.get(table, {}).get(key, ())

    def not_listed(self, table: str, key: str) -> str:
        """Say that a value of a dangerous key is not one of these."""
        allowed = self.allowed_values(table, key)
        listed = f"Listed: {', '.join(allowed)}." if allowed else "None is listed."
        return (
            f"{key} may mean root on this machine: only values that its owner lists in "
            f"[allowed.{table}] are taken. {listed}"
        )
