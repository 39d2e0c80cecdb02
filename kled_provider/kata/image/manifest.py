"""Manifests, indexes and configurations of images: strangers' JSON, read with limits.

Formats: https://github.com/opencontainers/image-spec (manifest.md, image-index.md, config.md), and
Docker's schema 2, which has the same fields under other media types.
"""

from __future__ import annotations

import hashlib
import json
import platform as machine
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kled_provider.containerd.types import ContentDescriptor
from kled_provider.kata.image.reference import DIGEST

MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1\.tar(\+(gzip|zstd))?"
    r"|docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?)"
)
# A registry takes manifests of 4 MiB at most; the limits of the rest are far above what is used.
MAX_DOCUMENT_BYTES: Final = 4 << 20
MAX_LAYERS: Final = 512
MAX_ENTRIES: Final = 1024


class ImageFormatError(ValueError):
    """What should be an image is none, or none that can be used here."""


class PlatformMissingError(ImageFormatError):
    """The image is not there for the platform that is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image is for, in Go's words."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def takes(self, other: Platform) -> bool:
        """Whether an image for `other` is one for this."""
        mine, theirs = self._usual(), other._usual()
        return mine == theirs or (not self.variant and mine[:2] == theirs[:2])

    def _usual(self) -> tuple[str, str, str]:
        """Where an architecture has one usual variant, it is as not said."""
        usual = {"arm64": "v8"}.get(self.architecture)
        return (self.os, self.architecture, "" if self.variant == usual else self.variant)


def this_architecture() -> str:
    """Return the architecture of this machine, in the words of images."""
    return _ARCHITECTURES.get(machine.machine(), machine.machine())


def parse_platform(text: str) -> Platform:
    """Read OS/ARCHITECTURE[/VARIANT]. Raises ValueError."""
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(re.fullmatch(r"[a-z0-9_.]{1,32}", p) for p in parts):
        raise ValueError("it is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64")
    return Platform(os=parts[0], architecture=parts[1], variant=(*parts, "")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform."""

    config: ContentDescriptor
    layers: tuple[ContentDescriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What containers of an image are started with; `diff_ids` are its layers, unpacked."""

    platform: Platform
    diff_ids: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    user: str = ""
    directory: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def chain_ids(self) -> list[str]:
        """What containerd calls the snapshot of each layer upon those before it (config.md)."""
        found: list[str] = []
        for diff_id in self.diff_ids:
            text = f"{found[-1]} {diff_id}" if found else diff_id
            found.append(
                f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if found else diff_id
            )
        return found


def parse_index(data: bytes) -> list[tuple[ContentDescriptor, Platform | None]]:
    """Read an index: each manifest with its platform. Raises ImageFormatError."""
    entries = _list(_document(data).get("manifests"), "manifests", MAX_ENTRIES)
    return [(parse_descriptor(entry), _platform_of(entry)) for entry in entries]


def choose(
    entries: Sequence[tuple[ContentDescriptor, Platform | None]], wanted: Platform
) -> ContentDescriptor:
    """Find the entry of an index for a platform. Raises ImageFormatError."""
    usable = [(d, p) for d, p in entries if d.media_type in (*MANIFESTS, *INDEXES)]
    for descriptor, platform in usable:
        if platform is not None and wanted.takes(platform):
            return descriptor
    unnamed = [descriptor for descriptor, platform in usable if platform is None]
    if len(unnamed) == 1:
        return unnamed[0]
    there = ", ".join(sorted({str(p) for _, p in usable if p and p.os != "unknown"})[:20])
    raise PlatformMissingError(f"it is not there for {wanted}; it is for {there or 'no platform'}")


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest. Raises ImageFormatError."""
    document = _document(data)
    layers = tuple(
        parse_descriptor(layer) for layer in _list(document.get("layers"), "layers", MAX_LAYERS)
    )
    for layer in layers:
        if not _LAYER.fullmatch(layer.media_type):
            raise ImageFormatError(f"a layer is of the type {layer.media_type[:80]!r}")
    return Manifest(config=parse_descriptor(document.get("config")), layers=layers)


def parse_config(data: bytes) -> ImageConfig:
    """Read a configuration. Raises ImageFormatError."""
    document = _document(data)
    rootfs = _object(document.get("rootfs"), "rootfs")
    diff_ids = _strings(rootfs.get("diff_ids"), "rootfs.diff_ids")
    if not all(DIGEST.fullmatch(digest) for digest in diff_ids):
        raise ImageFormatError("a diff_id of its configuration is no digest")
    config = _object(document.get("config") or {}, "config")
    return ImageConfig(
        platform=_platform(document) or Platform(os="linux", architecture="amd64"),
        diff_ids=diff_ids,
        entrypoint=_strings(config.get("Entrypoint"), "Entrypoint"),
        command=_strings(config.get("Cmd"), "Cmd"),
        environment=_strings(config.get("Env"), "Env"),
        user=_text(config.get("User"), "User"),
        directory=_text(config.get("WorkingDir"), "WorkingDir"),
        stop_signal=_text(config.get("StopSignal"), "StopSignal"),
        labels={
            str(name): str(value)
            for name, value in _object(config.get("Labels") or {}, "Labels").items()
        },
    )


def parse_descriptor(found: Any) -> ContentDescriptor:
    """Read a descriptor. Raises ImageFormatError."""
    entry = _object(found, "a descriptor")
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise ImageFormatError("a descriptor has no digest of SHA-256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise ImageFormatError("a descriptor has no size")
    return ContentDescriptor(
        media_type=_text(entry.get("mediaType"), "mediaType"), digest=digest, size=size
    )


def _document(data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ImageFormatError(f"a document of it is over {MAX_DOCUMENT_BYTES >> 20} MiB")
    try:
        return _object(json.loads(data), "a document")
    except (ValueError, RecursionError) as error:
        raise ImageFormatError(f"a document of it is not JSON: {error}") from error


def _object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ImageFormatError(f"{what} of it is no object")
    return found


def _list(found: Any, what: str, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise ImageFormatError(f"`{what}` of it is no list of at most {most}")
    return found


def _strings(found: Any, what: str) -> tuple[str, ...]:
    items = _list(found or [], what, MAX_ENTRIES)
    return tuple(_text(item, what) for item in items)


def _text(found: Any, what: str) -> str:
    if found is None:
        return ""
    if not isinstance(found, str) or "\0" in found:
        raise ImageFormatError(f"`{what}` of it is no string")
    return found


def _platform_of(entry: Any) -> Platform | None:
    return _platform(entry["platform"]) if isinstance(entry.get("platform"), dict) else None


def _platform(found: Mapping[str, Any]) -> Platform | None:
    if "architecture" not in found:
        return None
    return Platform(
        os=_text(found.get("os"), "os") or "linux",
        architecture=_text(found["architecture"], "architecture"),
        variant=_text(found.get("variant"), "variant"),
    )
