"""containerd's services Snapshots and Diff: file systems made of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.containerd.types import (
    ContentDescriptor,
    Mount,
    decode_descriptor,
    decode_map,
    decode_mounts,
    encode_descriptor,
    encode_map,
    encode_mounts,
    encode_texts,
)
from kled_provider.grpc import protobuf

_SERVICE = "/containerd.services.snapshots.v1.Snapshots/"
_DIFF = "/containerd.services.diff.v1.Diff/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One snapshot; `parent` is empty for a lowest layer."""

    name: str
    parent: str
    labels: Mapping[str, str]


class Snapshots:
    """The snapshots of one snapshotter. All methods raise ContainerdError."""

    def __init__(self, caller: ContainerdCaller, snapshotter: str) -> None:
        self._caller = caller
        self.snapshotter = snapshotter

    async def prepare(
        self, key: str, parent: str, labels: Mapping[str, str], *, lease: str = ""
    ) -> tuple[Mount, ...]:
        """Make a writable snapshot upon `parent` (empty: none); gives how to mount it."""
        request = self._key(key) + protobuf.text(3, parent) + encode_map(4, labels)
        reply = await self._caller.call(f"{_SERVICE}Prepare", request, lease=lease)
        return decode_mounts(protobuf.decode(reply), 1)

    async def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """Make a read-only snapshot of `parent`; gives how to mount it."""
        request = self._key(key) + protobuf.text(3, parent)
        return decode_mounts(
            protobuf.decode(await self._caller.call(f"{_SERVICE}View", request)), 1
        )

    async def mounts(self, key: str) -> tuple[Mount, ...]:
        """Say how a writable snapshot is mounted."""
        reply = await self._caller.call(f"{_SERVICE}Mounts", self._key(key))
        return decode_mounts(protobuf.decode(reply), 1)

    async def commit(
        self, name: str, key: str, labels: Mapping[str, str], *, lease: str = ""
    ) -> None:
        """Turn the writable snapshot `key` into the read-only `name`; one there is no error."""
        request = (
            protobuf.text(1, self.snapshotter)
            + protobuf.text(2, name)
            + protobuf.text(3, key)
            + encode_map(4, labels)
        )
        try:
            await self._caller.call(f"{_SERVICE}Commit", request, lease=lease)
        except ContainerdError as error:
            if not error.is_there:
                raise
            await self.remove(key)

    async def find(self, name: str) -> Snapshot | None:
        """Look a snapshot up; None where there is none."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Stat", self._key(name))
        return None if reply is None else _decode(protobuf.decode(reply).blob(1))

    async def list(self, *filters: str) -> tuple[Snapshot, ...]:
        """List the snapshots that one of the filters takes."""
        found: tuple[Snapshot, ...] = ()
        async with self._caller.open_call(f"{_SERVICE}List") as call:
            await call.send(
                protobuf.text(1, self.snapshotter) + encode_texts(2, filters), is_last=True
            )
            while (reply := await call.receive()) is not None:
                found += tuple(_decode(data) for data in protobuf.decode(reply).blobs(1))
        return found

    async def remove(self, key: str) -> None:
        """Remove a snapshot; one that is gone is no error."""
        await self._caller.call_if_there(f"{_SERVICE}Remove", self._key(key))

    async def usage(self, name: str) -> int:
        """Say how many bytes it has of its own, without its parent's: of a writable one by now."""
        reply = await self._caller.call(f"{_SERVICE}Usage", self._key(name))
        return protobuf.decode(reply).integer(1)

    async def apply(
        self, layer: ContentDescriptor, mounts: tuple[Mount, ...], *, lease: str
    ) -> str:
        """Unpack a layer of the content store upon mounts; gives its digest as unpacked."""
        request = protobuf.message(1, encode_descriptor(layer)) + encode_mounts(2, mounts)
        reply = await self._caller.call(f"{_DIFF}Apply", request, lease=lease)
        return decode_descriptor(protobuf.decode(reply).blob(1)).digest

    def _key(self, key: str) -> bytes:
        return protobuf.text(1, self.snapshotter) + protobuf.text(2, key)


def _decode(data: bytes) -> Snapshot:
    fields = protobuf.decode(data)
    return Snapshot(name=fields.text(1), parent=fields.text(2), labels=decode_map(fields, 6))
