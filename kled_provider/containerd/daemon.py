"""The daemon itself: its version, its plugins, its namespaces, and leases on what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.containerd.types import decode_map, decode_texts, encode_map, encode_texts
from kled_provider.grpc import protobuf

_VERSION = "/containerd.services.version.v1.Version/"
_PLUGINS = "/containerd.services.introspection.v1.Introspection/"
_NAMESPACES = "/containerd.services.namespaces.v1.Namespaces/"
_LEASES = "/containerd.services.leases.v1.Leases/"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonVersion:
    """What `Version` says."""

    version: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A plugin of the daemon; `error` is empty where it works."""

    type: str
    id: str
    platforms: tuple[str, ...]
    capabilities: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentLease:
    """A lease: what belongs to it is not collected as garbage."""

    id: str
    labels: Mapping[str, str]


class Daemon:
    """The services Version, Introspection, Namespaces and Leases. All raise ContainerdError."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    async def version(self) -> DaemonVersion:
        """Say which containerd it is."""
        fields = protobuf.decode(await self._caller.call(f"{_VERSION}Version", b""))
        return DaemonVersion(version=fields.text(1), revision=fields.text(2))

    async def plugins(self, *filters: str) -> list[Plugin]:
        """List the plugins, those that could not be loaded too."""
        reply = await self._caller.call(f"{_PLUGINS}Plugins", encode_texts(1, filters))
        found = []
        for data in protobuf.decode(reply).blobs(1):
            fields = protobuf.decode(data)
            status = protobuf.decode(fields.blob(7))  # google.rpc.Status
            found.append(
                Plugin(
                    type=fields.text(1),
                    id=fields.text(2),
                    platforms=tuple(_platform(item) for item in fields.blobs(4)),
                    capabilities=decode_texts(fields, 6),
                    error=status.text(2),
                )
            )
        return found

    async def ensure_namespace(self) -> None:
        """Make the caller's namespace, where it is not there."""
        namespace = protobuf.message(1, protobuf.text(1, self._caller.namespace))
        try:
            await self._caller.call(f"{_NAMESPACES}Create", namespace)
        except ContainerdError as error:
            if not error.is_there:
                raise

    async def create_lease(self, lease: str, labels: Mapping[str, str]) -> None:
        """Make a lease; one of that id that is there already is the same one."""
        try:
            request = protobuf.text(1, lease) + encode_map(3, labels)
            await self._caller.call(f"{_LEASES}Create", request)
        except ContainerdError as error:
            if not error.is_there:
                raise

    async def delete_lease(self, lease: str) -> None:
        """End a lease, and collect at once what nothing else holds; one that is gone is none."""
        request = protobuf.text(1, lease) + protobuf.integer(2, 1)
        await self._caller.call_if_there(f"{_LEASES}Delete", request)

    async def add_to_lease(self, lease: str, name: str, kind: str = "content") -> None:
        """Let a lease hold what is there already, or nothing: a blob by its digest, a snapshot.

        Of a snapshot `kind` is `snapshots/SNAPSHOTTER`.
        """
        resource = protobuf.text(1, name) + protobuf.text(2, kind)
        request = protobuf.text(1, lease) + protobuf.message(2, resource)
        await self._caller.call(f"{_LEASES}AddResource", request)

    async def leases(self) -> list[ContentLease]:
        """List the leases of the namespace."""
        fields = protobuf.decode(await self._caller.call(f"{_LEASES}List", b""))
        found = [protobuf.decode(data) for data in fields.blobs(1)]
        return [ContentLease(id=lease.text(1), labels=decode_map(lease, 3)) for lease in found]


def _platform(data: bytes) -> str:
    fields = protobuf.decode(data)
    return "/".join(part for part in (fields.text(1), fields.text(2), fields.text(3)) if part)
