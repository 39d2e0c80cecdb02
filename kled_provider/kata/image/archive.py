"""Images in archives: an OCI layout in a tar, what `docker save` writes, or a file system's tar.

Nothing is unpacked here: the tar's members are found by their offsets, and only containerd's Diff
unpacks a layer. Formats: image-spec, image-layout.md; moby, image/spec/v1.2.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import tarfile
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import trio

from kled_provider.containerd.types import ContentDescriptor
from kled_provider.kata.image.manifest import (
    INDEXES,
    MANIFESTS,
    MAX_DOCUMENT_BYTES,
    ImageFormatError,
    parse_descriptor,
    this_architecture,
)
from kled_provider.kata.image.storing import encode_descriptor_json

_MAX_MEMBERS: Final = 20_000
_READ_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a blob lies in the file."""

    offset: int
    size: int


@dataclass(slots=True)
class ImageArchive:
    """An open archive: an ImageSource. `root` is its manifest or index."""

    file: BinaryIO
    root: ContentDescriptor | None = None
    _spans: dict[str, _Span] = field(default_factory=dict)
    _made: dict[str, bytes] = field(default_factory=dict)  # documents that the archive has not

    async def open_blob(self, blob: ContentDescriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Give a blob from a byte on. Raises ImageFormatError."""
        if (made := self._made.get(blob.digest)) is not None:
            yield made[offset:]
            return
        span = self._spans.get(blob.digest)
        if span is None:
            raise ImageFormatError(f"the archive has no blob {blob.digest}")
        at, end = span.offset + offset, span.offset + span.size
        while at < end:
            size = min(_READ_BYTES, end - at)
            piece = await trio.to_thread.run_sync(os.pread, self.file.fileno(), size, at)
            if not piece:
                raise ImageFormatError("the archive is cut off")
            yield piece
            at += len(piece)

    def make(self, document: Mapping[str, Any], media_type: str) -> ContentDescriptor:
        """Add a document that the archive has not; gives its descriptor."""
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._made[digest] = data
        return ContentDescriptor(media_type=media_type, digest=digest, size=len(data))

    def find(self, digest: str, offset: int, size: int) -> None:
        """Say where a blob lies."""
        self._spans[digest] = _Span(offset, size)


def open_archive(file: BinaryIO, most_bytes: int) -> ImageArchive:
    """Look through an archive, which may have up to `most_bytes`; blocks.

    Raises ImageFormatError, OSError.
    """
    size = os.fstat(file.fileno()).st_size
    if size > most_bytes:
        raise ImageFormatError(f"the archive has {size} bytes; at most {most_bytes} are taken")
    file.seek(0)
    if file.read(4)[:2] == _GZIP:
        raise ImageFormatError("the archive is compressed; unpack it with gunzip first")
    members = _members(file)
    archive = ImageArchive(file)
    if "index.json" in members and "oci-layout" in members:
        _read_layout(archive, members)
    elif "manifest.json" in members:
        _read_docker(archive, members)
    else:
        _read_root(archive, size)
    return archive


def _members(file: BinaryIO) -> dict[str, _Span]:
    """The files of the tar by name. A later one of a name counts, as in tar(1)."""
    file.seek(0)
    found: dict[str, _Span] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for count, entry in enumerate(tar):
                name = posixpath.normpath(entry.name)
                if entry.isreg():
                    found[name] = _Span(entry.offset_data, entry.size)
                elif entry.issym() or entry.islnk():
                    links[name] = entry.linkname
                if count >= _MAX_MEMBERS:
                    break  # a file system, which is one layer as it is
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ImageFormatError(f"it is no tar: {error}") from error
    # Old versions of Docker link layers that are the same.
    for name, target in links.items():
        for place in (target, posixpath.normpath(posixpath.join(posixpath.dirname(name), target))):
            if place in found:
                found.setdefault(name, found[place])
    return found


def _read_layout(archive: ImageArchive, members: Mapping[str, _Span]) -> None:
    for name, span in members.items():
        directory, _, hexadecimal = name.rpartition("/")
        if directory == "blobs/sha256":
            archive.find(f"sha256:{hexadecimal}", span.offset, span.size)
    index = _json(archive, members["index.json"])
    manifests = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(manifests, list) or not manifests:
        raise ImageFormatError("its index.json names no manifest")
    found = [parse_descriptor(entry) for entry in manifests]
    images = [d for d in found if d.media_type in (*MANIFESTS, *INDEXES)]
    if len(images) == 1:
        archive.root = images[0]
    else:
        archive.root = archive.make({"schemaVersion": 2, "manifests": manifests}, INDEXES[0])


def _read_docker(archive: ImageArchive, members: Mapping[str, _Span]) -> None:
    images = _json(archive, members["manifest.json"])
    if not isinstance(images, list) or len(images) != 1 or not isinstance(images[0], dict):
        raise ImageFormatError("it holds not exactly one image")
    names = images[0].get("Layers")
    if not isinstance(names, list):
        raise ImageFormatError("its manifest.json names no layers")
    config = _blob(archive, members, images[0].get("Config"), _CONFIG)
    layers = [_blob(archive, members, name, _LAYER) for name in names]
    archive.root = _manifest(archive, config, layers)


def _read_root(archive: ImageArchive, size: int) -> None:
    """A tar of a file system is an image of one layer, for this machine."""
    digest = _hash(archive.file, _Span(0, size))
    archive.find(digest, 0, size)
    config = {
        "os": "linux",
        "architecture": this_architecture(),
        "rootfs": {"type": "layers", "diff_ids": [digest]},
        "config": {},
    }
    layer = ContentDescriptor(media_type=_LAYER, digest=digest, size=size)
    archive.root = _manifest(archive, archive.make(config, _CONFIG), [layer])


def _manifest(
    archive: ImageArchive, config: ContentDescriptor, layers: list[ContentDescriptor]
) -> ContentDescriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFESTS[0],
        "config": encode_descriptor_json(config),
        "layers": [encode_descriptor_json(layer) for layer in layers],
    }
    return archive.make(document, MANIFESTS[0])


def _blob(
    archive: ImageArchive, members: Mapping[str, _Span], name: Any, media_type: str
) -> ContentDescriptor:
    span = members.get(posixpath.normpath(name)) if isinstance(name, str) else None
    if span is None:
        raise ImageFormatError(f"the archive has no {str(name)[:80]!r}")
    digest = _hash(archive.file, span)
    archive.find(digest, span.offset, span.size)
    head = os.pread(archive.file.fileno(), 4, span.offset)
    if media_type == _LAYER and head[:2] == _GZIP:
        media_type += "+gzip"
    elif media_type == _LAYER and head == _ZSTD:
        media_type += "+zstd"
    return ContentDescriptor(media_type=media_type, digest=digest, size=span.size)


def _json(archive: ImageArchive, span: _Span) -> Any:
    if span.size > MAX_DOCUMENT_BYTES:
        raise ImageFormatError("its list of images is too large")
    try:
        return json.loads(os.pread(archive.file.fileno(), span.size, span.offset))
    except (ValueError, RecursionError) as error:
        raise ImageFormatError(f"its list of images is not JSON: {error}") from error


def _hash(file: BinaryIO, span: _Span) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(file, span):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _pieces(file: BinaryIO, span: _Span) -> Iterator[bytes]:
    at, end = span.offset, span.offset + span.size
    while at < end:
        piece = os.pread(file.fileno(), min(_READ_BYTES, end - at), at)
        if not piece:
            raise ImageFormatError("the archive is cut off")
        yield piece
        at += len(piece)
