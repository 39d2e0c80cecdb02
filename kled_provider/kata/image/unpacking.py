"""Unpacks the layers of one image into snapshots, which have together at most so many bytes.

How large a layer becomes shows only while it is unpacked: one of 600 KB may have gigabytes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdError
from kled_provider.containerd.types import ContentDescriptor, Mount
from kled_provider.kata.image.manifest import ImageFormatError

# A look walks through what is unpacked by then. A disk takes about 1 GB between two.
_LOOK_AGAIN_S: Final = 1.0
_CLEAN_UP_S: Final = 30.0


@dataclass(slots=True)
class Unpacking:
    """What is unpacked belongs to `lease`. Raises ImageFormatError, ContainerdError."""

    api: ContainerdApi
    lease: str
    most_bytes: int
    _used: int = field(default=0, init=False)

    async def count(self, name: str) -> None:
        """Count a layer that is unpacked; refuses it where all have too much by now."""
        self._used += await self.api.snapshots.usage(name)
        if self._used > self.most_bytes:
            raise self._too_large()

    async def unpack(self, layer: ContentDescriptor, name: str, parent: str, diff_id: str) -> None:
        """Unpack a layer upon `parent` (empty: none); where that fails nothing of it stays."""
        snapshots, key = self.api.snapshots, f"kled-unpack-{name}"
        await snapshots.remove(key)  # what a run that died has left
        mounts = await snapshots.prepare(key, parent, {}, lease=self.lease)
        try:
            found = await self._apply(layer, key, mounts)
            if found == diff_id:
                await snapshots.commit(name, key, {}, lease=self.lease)
                return
        finally:
            with trio.move_on_after(_CLEAN_UP_S, shield=True):
                await snapshots.remove(key)  # where it was not committed
        raise ImageFormatError(f"the layer {layer.digest} unpacks to {found}")

    async def _apply(self, layer: ContentDescriptor, key: str, mounts: tuple[Mount, ...]) -> str:
        """Unpack it while there is room; gives its digest as unpacked."""
        snapshots, found = self.api.snapshots, ""
        failed: ContainerdError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_without_room, key, nursery.cancel_scope)
            try:
                found = await snapshots.apply(layer, mounts, lease=self.lease)
            except ContainerdError as error:
                failed = error  # raised in here it would be a group
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed
        if not found or self._used + await snapshots.usage(key) > self.most_bytes:
            raise self._too_large()
        return found

    async def _end_without_room(self, key: str, unpacking: trio.CancelScope) -> None:
        """Cancel the unpacking when it has filled the room that is left."""
        with suppress(ContainerdError):  # what unpacks hears of it too
            while True:
                if self._used + await self.api.snapshots.usage(key) > self.most_bytes:
                    unpacking.cancel()
                    return
                await trio.sleep(_LOOK_AGAIN_S)  # containerd tells nobody how far it is

    def _too_large(self) -> ImageFormatError:
        return ImageFormatError(
            f"its layers unpack to more than the {self.most_bytes} bytes that this machine's owner "
            "allows (images.unpacked_bytes)"
        )
