"""Messages that several services of containerd share (api/types, google.protobuf.Any)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kled_provider.grpc import protobuf
from kled_provider.grpc.protobuf import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentDescriptor:
    """What some content is, and its digest (OCI image-spec, descriptor.md). `size` in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount as mount(8) takes it."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnyMessage:
    """A message of a type that its URL names."""

    type_url: str
    value: bytes


def encode_map(number: int, values: Mapping[str, str]) -> bytes:
    """Encode a `map<string, string>` field."""
    return b"".join(
        protobuf.message(number, protobuf.text(1, key) + protobuf.text(2, value))
        for key, value in values.items()
    )


def decode_map(fields: Fields, number: int) -> dict[str, str]:
    """Decode a `map<string, string>` field."""
    entries = [protobuf.decode(entry) for entry in fields.blobs(number)]
    return {entry.text(1): entry.text(2) for entry in entries}


def encode_texts(number: int, values: Iterable[str]) -> bytes:
    """Encode a `repeated string` field."""
    return b"".join(protobuf.message(number, value.encode()) for value in values)


def decode_texts(fields: Fields, number: int) -> tuple[str, ...]:
    """Decode a `repeated string` field; what is no UTF-8 is replaced."""
    return tuple(value.decode("utf-8", "replace") for value in fields.blobs(number))


def encode_any(message: AnyMessage) -> bytes:
    """Encode a `google.protobuf.Any`."""
    return protobuf.text(1, message.type_url) + protobuf.blob(2, message.value)


def decode_any(data: bytes) -> AnyMessage:
    """Decode a `google.protobuf.Any`."""
    fields = protobuf.decode(data)
    return AnyMessage(fields.text(1), fields.blob(2))


def encode_descriptor(descriptor: ContentDescriptor) -> bytes:
    """Encode a `types.Descriptor`."""
    return (
        protobuf.text(1, descriptor.media_type)
        + protobuf.text(2, descriptor.digest)
        + protobuf.integer(3, descriptor.size)
        + encode_map(5, descriptor.annotations)
    )


def decode_descriptor(data: bytes) -> ContentDescriptor:
    """Decode a `types.Descriptor`."""
    fields = protobuf.decode(data)
    return ContentDescriptor(
        media_type=fields.text(1),
        digest=fields.text(2),
        size=fields.integer(3),
        annotations=decode_map(fields, 5),
    )


def encode_mounts(number: int, mounts: Iterable[Mount]) -> bytes:
    """Encode a `repeated types.Mount` field."""
    return b"".join(
        protobuf.message(
            number,
            protobuf.text(1, mount.type)
            + protobuf.text(2, mount.source)
            + protobuf.text(3, mount.target)
            + encode_texts(4, mount.options),
        )
        for mount in mounts
    )


def decode_mounts(fields: Fields, number: int) -> tuple[Mount, ...]:
    """Decode a `repeated types.Mount` field."""
    found = [protobuf.decode(data) for data in fields.blobs(number)]
    return tuple(
        Mount(
            type=mount.text(1),
            source=mount.text(2),
            target=mount.text(3),
            options=decode_texts(mount, 4),
        )
        for mount in found
    )
