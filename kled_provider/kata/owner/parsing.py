"""Reads the text of the owner's file. What it does not know is refused: it may be a typing error.

Each function reads one table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from kled_provider.kata.owner.file import (
    Configuration,
    Containerd,
    Credentials,
    Handler,
    HostPlace,
    ImageRegistry,
    Images,
    Networks,
    OwnerFile,
    OwnerFileError,
    Use,
    WithoutKata,
)
from kled_provider.kata.owner.table import OwnerTable, absolute_path
from kled_provider.kata.runtime_config.keys import HYPERVISORS
from kled_provider.kata.runtime_config.other_keys import TABLES, dangerous_keys
from kled_provider.kata.runtime_config.tables import unknown_keys

FILE_BYTES = 1024 * 1024

# containerd's identifiers, https://github.com/containerd/containerd/blob/main/pkg/identifiers
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_RUNTIME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*\.v[0-9]+")
_REGISTRY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_CAPABILITY = re.compile(r"CAP_[A-Z_]{2,40}")


def parse_owner_file(text: str) -> OwnerFile:
    """Parse the text. Raises OwnerFileError, whose message says where in the file."""
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OwnerFileError("owner_file_malformed", f"it is not TOML: {error}") from error
    table = OwnerTable(found, "")
    parsed = OwnerFile(
        state_directory=table.path("state_directory", OwnerFile().state_directory),
        runtime_directory=table.path("runtime_directory", OwnerFile().runtime_directory),
        default_handler=_default_handler(table),
        containerd=_containerd(table.table("containerd")),
        networks=_networks(table.table("networks")),
        images=_images(table.table("images")),
        handlers=table.named("handlers", _handler),
        configurations=table.named("configurations", _configuration),
        agent_bundles=_agent_bundles(table.table("agent_bundles")),
        credentials=table.named("credentials", _credentials),
        registries=table.named("registries", _registry, name=_REGISTRY),
        places=table.named("places", _place),
        devices=table.values("devices", absolute_path),
        allowed=_allowed(table.table("allowed")),
        extra_toml=table.values("extra_toml", _extra),
        without_kata=_without_kata(table.table("without_kata")),
    )
    table.end()
    _refer(parsed)
    return parsed


def _default_handler(table: OwnerTable) -> str:
    """The only one, where there is one only and none is named."""
    handlers = table.names("handlers")
    return table.text("default_handler", handlers[0] if len(handlers) == 1 else "")


def _agent_bundles(table: OwnerTable) -> Mapping[str, str]:
    found = {name: table.path(name, "") for name in ("amd64", "arm64")}
    table.end()
    return {name: path for name, path in found.items() if path}


def _containerd(table: OwnerTable) -> Containerd:
    usual = Containerd()
    found = Containerd(
        address=table.path("address", usual.address),
        namespace=table.matching("namespace", _IDENTIFIER, usual.namespace),
        snapshotter=table.matching("snapshotter", _IDENTIFIER, usual.snapshotter),
    )
    table.end()
    return found


def _networks(table: OwnerTable) -> Networks:
    usual = Networks()
    found = Networks(
        plugin_directories=table.each(
            "plugin_directories", absolute_path, usual.plugin_directories, least=1
        ),
        address_pools=table.each("address_pools", _pool, usual.address_pools, least=1),
    )
    table.end()
    return found


def _images(table: OwnerTable) -> Images:
    usual = Images()
    found = Images(
        keep_bytes=table.whole("keep_bytes", usual.keep_bytes),
        unpacked_bytes=table.whole("unpacked_bytes", usual.unpacked_bytes),
    )
    table.end()
    return found


def _handler(name: str, table: OwnerTable) -> Handler:
    found = Handler(
        name=name,
        runtime=table.read("runtime", _runtime, None),
        hypervisor=table.choice("hypervisor", HYPERVISORS),
        configuration=table.text("configuration", "") or None,
        snapshotter=table.matching("snapshotter", _IDENTIFIER, "") or None,
        memory_mib=table.whole("memory_mib", 2048, least=64),
        vcpus=table.amount("vcpus", 1.0),
    )
    if found.configuration is not None and not found.is_kata:
        raise table.error(
            "configuration", "the handler has none without `hypervisor`: it is not Kata"
        )
    table.end()
    return found


def _configuration(name: str, table: OwnerTable) -> Configuration:
    found = Configuration(
        name=name, path=table.path("path", None), drop_ins=table.flag("drop_ins", default=False)
    )
    table.end()
    return found


def _credentials(name: str, table: OwnerTable) -> Credentials:
    found = Credentials(
        name=name,
        registry=table.matching("registry", _REGISTRY, None),
        username=table.text("username", None),
        password_file=table.path("password_file", None),
    )
    table.end()
    return found


def _registry(name: str, table: OwnerTable) -> ImageRegistry:
    found = ImageRegistry(
        host=name,
        plain_http=table.flag("plain_http", default=False),
        ca_file=table.path("ca_file", "") or None,
    )
    if found.plain_http and found.ca_file:
        raise table.error("ca_file", "it has no use with `plain_http`")
    table.end()
    return found


def _place(name: str, table: OwnerTable) -> HostPlace:
    found = HostPlace(
        name=name,
        path=table.path("path", None),
        uses=frozenset(table.each("uses", _use, None, least=1)),
        read_only=table.flag("read_only", default=True),
    )
    if Use.VOLUME in found.uses and found.read_only:
        raise table.error("uses", "volumes are written: set `read_only` to false")
    table.end()
    return found


def _without_kata(table: OwnerTable) -> WithoutKata:
    found = WithoutKata(
        privileged=table.flag("privileged", default=False),
        capabilities=frozenset(table.each("capabilities", _capability, ())),
        devices=frozenset(table.each("devices", str, ())),
    )
    table.end()
    return found


def _allowed(table: OwnerTable) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """The tables are named as a template's blocks are, such as `[allowed.hypervisor]`."""
    found = dict(
        pair for name in TABLES if "." not in name for pair in _allowed_in(table.table(name), name)
    )
    table.end()
    return {name: values for name, values in found.items() if values}


def _allowed_in(
    table: OwnerTable, name: str
) -> Iterator[tuple[str, Mapping[str, tuple[str, ...]]]]:
    keys = sorted(dangerous_keys(name))
    yield name, {key: table.each(key, str, ()) for key in keys if key in table}
    for inner in TABLES:
        above, _, last = inner.rpartition(".")
        if above == name:
            yield from _allowed_in(table.table(last), inner)
    table.end("is no key whose values have to be listed")


def _refer(parsed: OwnerFile) -> None:
    """Check that what is named is there."""
    if parsed.default_handler and parsed.default_handler not in parsed.handlers:
        raise OwnerFileError(
            "owner_file_name_unknown",
            f"default_handler: there is no [handlers.{parsed.default_handler}]",
        )
    for handler in parsed.handlers.values():
        if handler.configuration not in (None, *parsed.configurations):
            raise OwnerFileError(
                "owner_file_name_unknown",
                f"handlers.{handler.name}.configuration: there is no "
                f"[configurations.{handler.configuration}]",
            )
    for device in sorted(parsed.without_kata.devices - parsed.devices.keys()):
        raise OwnerFileError(
            "owner_file_name_unknown", f"without_kata.devices: {device!r} is not in [devices]"
        )


# --- what one string says; a ValueError has what to write instead


def _runtime(value: str) -> str:
    if value.startswith("/"):
        return absolute_path(value)
    if not _RUNTIME.fullmatch(value):
        raise ValueError("a runtime of containerd, such as io.containerd.kata.v2, or a shim's path")
    return value


def _pool(value: str) -> IPv4Network | IPv6Network:
    try:
        found = ip_network(value)
    except ValueError:
        found = None
    if found is None or not found.is_private or found.max_prefixlen - found.prefixlen < 4:
        raise ValueError("a private network, such as 10.88.0.0/16, with room for 16 addresses")
    return found


def _use(value: str) -> Use:
    try:
        return Use(value)
    except ValueError:
        raise ValueError(", ".join(use.value for use in Use)) from None


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        raise ValueError("a capability, such as CAP_NET_ADMIN")
    return value


def _extra(value: str) -> str:
    try:
        found = tomllib.loads(value)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"TOML ({error})") from error
    for key in unknown_keys(found):
        raise ValueError(f"keys that Kata knows, which {key} is not")
    return value
