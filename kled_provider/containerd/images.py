"""containerd's service Images: names of what the content store has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kled_provider.containerd.caller import ContainerdCaller, ContainerdError
from kled_provider.containerd.types import (
    ContentDescriptor,
    decode_descriptor,
    decode_map,
    encode_descriptor,
    encode_map,
    encode_texts,
)
from kled_provider.grpc import protobuf

_SERVICE = "/containerd.services.images.v1.Images/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A name and the manifest or index that it stands for.

    `updated_s` is when it was written last, in seconds since the epoch; containerd says it.
    """

    name: str
    target: ContentDescriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    updated_s: int = field(default=0, compare=False)


class ImageStore:
    """All methods raise ContainerdError."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    async def find(self, name: str) -> ImageRecord | None:
        """Look an image up; None where there is none of that name."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Get", protobuf.text(1, name))
        return None if reply is None else _decode(protobuf.decode(reply).blob(1))

    async def list(self, *filters: str) -> tuple[ImageRecord, ...]:
        """List the images that one of the filters takes (containerd's filters/parser.go)."""
        reply = await self._caller.call(f"{_SERVICE}List", encode_texts(1, filters))
        return tuple(_decode(data) for data in protobuf.decode(reply).blobs(1))

    async def put(self, image: ImageRecord) -> None:
        """Make the image, or let the name stand for another target."""
        encoded = protobuf.message(1, _encode(image))
        try:
            await self._caller.call(f"{_SERVICE}Create", encoded)
        except ContainerdError as error:
            if not error.is_there:
                raise
            await self._caller.call(f"{_SERVICE}Update", encoded)

    async def delete(self, name: str) -> None:
        """Forget the name, and collect at once what nothing else holds; none is no error."""
        request = protobuf.text(1, name) + protobuf.integer(2, 1)
        await self._caller.call_if_there(f"{_SERVICE}Delete", request)


def _encode(image: ImageRecord) -> bytes:
    return (
        protobuf.text(1, image.name)
        + encode_map(2, image.labels)
        + protobuf.message(3, encode_descriptor(image.target))
    )


def _decode(data: bytes) -> ImageRecord:
    fields = protobuf.decode(data)
    return ImageRecord(
        name=fields.text(1),
        labels=decode_map(fields, 2),
        target=decode_descriptor(fields.blob(3)),
        updated_s=protobuf.decode(fields.blob(8)).integer(1),  # google.protobuf.Timestamp
    )
