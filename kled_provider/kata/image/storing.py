"""Takes an image from a source into containerd: its documents, its layers, and unpacks them.

All of it belongs to a lease until the image has its name, so a pull that dies leaves nothing that
containerd does not collect. What is there already is not fetched again, and a layer that was begun
goes on where it ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdError
from kled_provider.containerd.images import ImageRecord
from kled_provider.containerd.types import ContentDescriptor
from kled_provider.kata.image.manifest import (
    INDEXES,
    MANIFESTS,
    MAX_DOCUMENT_BYTES,
    ImageConfig,
    ImageFormatError,
    Manifest,
    Platform,
    PlatformMissingError,
    choose,
    parse_config,
    parse_index,
    parse_manifest,
)
from kled_provider.kata.image.reference import ImageReference
from kled_provider.kata.image.unpacking import Unpacking
from kled_provider.locks import hold_lock

# gRPC's limit for a message is 16 MiB; larger pieces are no faster.
_WRITE_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 4  # of indexes in indexes
_CLEAN_UP_S: Final = 30.0
_PROGRESS_S: Final = 5.0

# Marks the images that the provider has made, and may remove.
MANAGED: Final = "kled.dev/managed"
# One for each workspace that holds an image, with the workspace in its name.
HELD_BY: Final = "kled.dev/held-by."
# Marks what was pulled with an account: it is for those who hold it.
HELD_ALONE: Final = "kled.dev/held-alone"
# The digest that a name may be pinned to besides its manifest's: of the index that lists that one.
PINNED: Final = "kled.dev/pinned"


@dataclass(frozen=True, slots=True)
class ImageLocks:
    """Locks of what several images may need at once: `directory` has their files.

    containerd refuses whoever writes a blob that another one is writing, and a snapshot that is
    being unpacked would be taken for one that a dead run has left.
    """

    directory: Path

    def image(self, name: str) -> AbstractAsyncContextManager[int]:
        """Be the only one who takes the image of that name, holds it, or lets go of it."""
        return hold_lock(self._file("image", name))

    def part(self, digest: str) -> AbstractAsyncContextManager[int]:
        """Be the only one who fetches or unpacks it. Nobody holds two of these."""
        return hold_lock(self._file("part", digest))

    def _file(self, kind: str, text: str) -> Path:
        # So that a machine has a bounded number of files; two that share one wait without need.
        number = hashlib.sha256(text.encode()).digest()[0]
        return self.directory / f"{kind}-{number:02x}.lock"


Progress = Callable[[str], Awaitable[None]]


class ImageSource(Protocol):
    """Where blobs come from: a registry, an archive."""

    def open_blob(self, blob: ContentDescriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Give a blob from a byte on, in pieces. What it gives is checked by its digest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenImage:
    """An image that is unpacked: `digest` is of its manifest, `size` of its layers as packed."""

    name: str
    digest: str
    size: int
    config: ImageConfig


@dataclass(slots=True, kw_only=True)
class ImageTaker:
    """Takes images into one containerd. Raises ImageFormatError, ContainerdError, OSError.

    `holder` is the label of who wants them: one has it from the moment on that it has its name.
    """

    api: ContainerdApi
    locks: ImageLocks
    unpacked_bytes: int
    progress: Progress
    holder: Mapping[str, str]

    async def take(
        self,
        reference: ImageReference,
        root: ContentDescriptor,
        source: ImageSource,
        platform: Platform,
        *,
        is_for_all: bool,
    ) -> TakenImage:
        """Take the image at `root` for a platform, and give it the name of `reference`.

        `is_for_all` says that nobody needs an account for it; otherwise it is for its holders.
        """
        name = reference.name
        async with self.locks.image(name), self._leased(f"kled-image-{name}") as lease:
            fetched = _Fetching(self.api, self.locks, source, lease, self.progress)
            found, data = await fetched.manifest(root, platform)
            if reference.digest not in ("", root.digest, found.digest):
                raise ImageFormatError(f"it is {root.digest}, and not {reference.digest}")
            manifest = parse_manifest(data)
            config = parse_config(await fetched.document(manifest.config))
            if not platform.takes(config.platform):
                raise PlatformMissingError(f"it is for {config.platform}, and not for {platform}")
            if len(config.diff_ids) != len(manifest.layers):
                raise ImageFormatError("its configuration has not the layers of its manifest")
            size = sum(layer.size for layer in manifest.layers)
            if size > self.unpacked_bytes:
                raise ImageFormatError(
                    f"its layers have {size} bytes packed; this machine's owner allows "
                    f"{self.unpacked_bytes} unpacked (images.unpacked_bytes)"
                )
            await fetched.layers(manifest)
            await self._hold(found, manifest)
            await self._unpack(manifest, config, lease)
            labels = _labels(await self.api.images.find(name), found, is_for_all=is_for_all)
            labels |= {**self.holder, PINNED: root.digest}
            await self.api.images.put(ImageRecord(name=name, target=found, labels=labels))
        return TakenImage(name=name, digest=found.digest, size=size, config=config)

    @asynccontextmanager
    async def _leased(self, lease: str) -> AsyncIterator[str]:
        await self.api.daemon.ensure_namespace()
        await self.api.daemon.create_lease(lease, {"kled.dev/kind": "image"})
        is_full = False
        try:
            yield lease
        except ContainerdError as error:
            is_full = error.is_full
            raise
        finally:
            with trio.move_on_after(_CLEAN_UP_S, shield=True):
                await self.api.daemon.delete_lease(lease)
                if is_full:
                    await self._collect_again(lease)

    async def _collect_again(self, lease: str) -> None:
        """Have a snapshot collected that there was no room to collect on a full disk.

        To remove one containerd writes to its database. Where that fails it tries again only after
        another snapshot has been removed (metadata/db.go, dirtySS); the blobs that it has removed
        meanwhile have made room for this.
        """
        with suppress(ContainerdError):
            await self.api.daemon.create_lease(lease, {"kled.dev/kind": "image"})
            await self.api.snapshots.prepare(lease, "", {}, lease=lease)
        await self.api.snapshots.remove(lease)
        await self.api.daemon.delete_lease(lease)

    async def _hold(self, found: ContentDescriptor, manifest: Manifest) -> None:
        """Say what the manifest refers to, so that it lives as long (containerd, docs/gc)."""
        parts = (manifest.config, *manifest.layers)
        labels = {f"containerd.io/gc.ref.content.{i}": part.digest for i, part in enumerate(parts)}
        await self.api.content.set_labels(found.digest, labels)

    async def _unpack(self, manifest: Manifest, config: ImageConfig, lease: str) -> None:
        snapshots, parent = self.api.snapshots, ""
        unpacking = Unpacking(self.api, lease, self.unpacked_bytes)
        chain = config.chain_ids()
        for index, (layer, name) in enumerate(zip(manifest.layers, chain, strict=True)):
            # Before the look: one that nothing else holds could be collected after it.
            await self.api.daemon.add_to_lease(lease, name, f"snapshots/{snapshots.snapshotter}")
            async with self.locks.part(name):
                if await snapshots.find(name) is None:
                    await self.progress(f"Unpacking layer {index + 1} of {len(chain)}")
                    await unpacking.unpack(layer, name, parent, config.diff_ids[index])
            await unpacking.count(name)
            parent = name
        if parent:
            label = f"containerd.io/gc.ref.snapshot.{snapshots.snapshotter}"
            await self.api.content.set_labels(manifest.config.digest, {label: parent})


class _Fetching:
    """One image that is fetched."""

    def __init__(
        self,
        api: ContainerdApi,
        locks: ImageLocks,
        source: ImageSource,
        lease: str,
        progress: Progress,
    ) -> None:
        self._api = api
        self._locks = locks
        self._source = source
        self._lease = lease
        self._progress = progress

    async def manifest(
        self, root: ContentDescriptor, platform: Platform
    ) -> tuple[ContentDescriptor, bytes]:
        """Fetch the manifest for a platform, through indexes."""
        for _ in range(_MAX_DEPTH):
            data = await self.document(root)
            if root.media_type in MANIFESTS:
                return root, data
            if root.media_type not in INDEXES:
                raise ImageFormatError(f"it is of the type {root.media_type[:80]!r}")
            root = choose(parse_index(data), platform)
        raise ImageFormatError("its indexes name one another")

    async def document(self, blob: ContentDescriptor) -> bytes:
        """Fetch what is read here, and keep it."""
        if blob.size > MAX_DOCUMENT_BYTES:
            raise ImageFormatError(f"a document of it is over {MAX_DOCUMENT_BYTES >> 20} MiB")
        await self.blob(blob)
        return await self._api.content.read(blob.digest)

    async def layers(self, manifest: Manifest) -> None:
        """Fetch the layers, one after the other: the line is shared anyway."""
        distinct = list({layer.digest: layer for layer in manifest.layers}.values())
        for index, layer in enumerate(distinct):
            await self.blob(layer, f"layer {index + 1} of {len(distinct)}")

    async def blob(self, blob: ContentDescriptor, what: str = "") -> None:
        """Fetch a blob that is not there."""
        ref = f"kled-{blob.digest}"
        try:
            async with self._locks.part(blob.digest):
                await self._write(ref, blob, what)
        except ContainerdError as error:
            if not error.is_there:
                raise
            # Of another image, perhaps without a hold on it: this lease has it from now on.
            await self._api.daemon.add_to_lease(self._lease, blob.digest)

    async def _write(self, ref: str, blob: ContentDescriptor, what: str) -> None:
        size, content = blob.size, self._api.content
        async with content.open_writer(ref, size, blob.digest, lease=self._lease) as writer:
            if what:
                await self._progress(f"Fetching {what}, {size / 1e6:.1f} MB")
            said = trio.current_time()
            async with aclosing(_whole(self._source.open_blob(blob, writer.offset))) as pieces:
                async for piece in pieces:
                    if writer.offset + len(piece) > size:
                        raise ImageFormatError(f"the blob {blob.digest} is larger than said")
                    await writer.write(piece)
                    if what and trio.current_time() > said + _PROGRESS_S:
                        said = trio.current_time()
                        await self._progress(
                            f"Fetching {what}, {writer.offset / 1e6:.0f} of {size / 1e6:.0f} MB"
                        )
            if writer.offset < size:
                raise ImageFormatError(f"the blob {blob.digest} is smaller than said")
            await writer.commit({})


async def _whole(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Gather pieces to the size of one write, and cut larger ones."""
    rest = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            rest += piece
            while len(rest) >= _WRITE_BYTES:
                yield bytes(rest[:_WRITE_BYTES])
                del rest[:_WRITE_BYTES]
    if rest:
        yield bytes(rest)


def _labels(
    known: ImageRecord | None, target: ContentDescriptor, *, is_for_all: bool
) -> dict[str, str]:
    """The labels of a name that stands for `target` from now on.

    Who holds it holds what the name stood for: with another target they have to take it anew.
    """
    old = dict(known.labels) if known is not None else {}
    is_same = known is not None and known.target.digest == target.digest
    labels = {n: v for n, v in old.items() if is_same or not n.startswith(HELD_BY)}
    labels.pop(HELD_ALONE, None)
    was_for_all = is_same and HELD_ALONE not in old
    alone = {} if is_for_all or was_for_all else {HELD_ALONE: "yes"}
    # What the machine's owner has put there under the very name stays the owner's.
    managed = {} if is_same and MANAGED not in old else {MANAGED: "yes"}
    return {**labels, **alone, **managed}


async def find_image(api: ContainerdApi, record: ImageRecord) -> TakenImage | None:
    """Read an image that was taken; None where it, or its unpacked layers, are not there."""
    if record.target.media_type not in MANIFESTS:
        return None
    try:
        manifest = parse_manifest(await api.content.read(record.target.digest))
        config = parse_config(await api.content.read(manifest.config.digest))
    except ContainerdError as error:
        if error.is_missing:
            return None
        raise
    chain: Sequence[str] = config.chain_ids()
    if chain and await api.snapshots.find(chain[-1]) is None:
        return None
    size = sum(layer.size for layer in manifest.layers)
    return TakenImage(name=record.name, digest=record.target.digest, size=size, config=config)


def encode_descriptor_json(blob: ContentDescriptor) -> dict[str, object]:
    """Write a descriptor as it stands in a manifest."""
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
