"""The protobuf wire format, as far as tfplugin6 uses it.

Varints (wire type 0) and length-delimited fields (2); fixed-width fields (1, 5) are skipped over.
Format: https://protobuf.dev/programming-guides/encoding/. A message is built as the concatenation
of its encoded fields, and read as `Fields`. As in proto3, a field at its default is not written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_VARINT_BYTES = 10  # 64 bits in groups of seven
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


class WireError(ValueError):
    """The bytes are not the protobuf message they should be."""


def encode_varint(number: int) -> bytes:
    """Encode an int64 or uint64; negative numbers as two's complement in ten bytes."""
    if not -(1 << 63) <= number < 1 << 64:
        raise WireError(f"{number} does not fit into 64 bits")
    rest = number & (1 << 64) - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def decode_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return the unsigned varint at `offset` and the offset behind it. Raises WireError."""
    number = 0
    for position in range(MAX_VARINT_BYTES):
        if offset + position >= len(data):
            raise WireError("varint is cut off")
        byte = data[offset + position]
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if number >= 1 << 64:
                raise WireError("varint does not fit into 64 bits")
            return number, offset + position + 1
    raise WireError("varint is longer than ten bytes")


def blob(field: int, value: bytes) -> bytes:
    """Encode a bytes field; an empty one is the default and is left out."""
    return message(field, value) if value else b""


def message(field: int, encoded: bytes) -> bytes:
    """Encode a sub-message, written even when empty: its presence means something."""
    return encode_varint(field << 3 | _BYTES) + encode_varint(len(encoded)) + encoded


def text(field: int, value: str) -> bytes:
    """Encode a string field. A lone surrogate, which UTF-8 has no bytes for, becomes `?`."""
    return blob(field, value.encode("utf-8", "replace"))


def integer(field: int, value: int) -> bytes:
    """Encode an int64, bool or enum field."""
    return encode_varint(field << 3 | _VARINT) + encode_varint(value) if value else b""


def entry(field: int, key: str, encoded: bytes) -> bytes:
    """Encode one entry of a `map<string, Message>` field."""
    return message(field, text(1, key) + message(2, encoded))


@dataclass(frozen=True, slots=True)
class Fields:
    """A decoded message: each field number with all its values, in order of appearance."""

    values: dict[int, list[int | bytes]]

    def blob(self, field: int) -> bytes:
        """Return a bytes or message field; the last one counts, a missing one is empty."""
        value = self.values.get(field, [b""])[-1]
        if not isinstance(value, bytes):
            raise WireError(f"field {field} should be length-delimited")
        return value

    def has(self, field: int) -> bool:
        """Whether the field was written."""
        return field in self.values

    def text(self, field: int) -> str:
        """Return a string field. Raises WireError where it is not UTF-8."""
        try:
            return self.blob(field).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"field {field} is not UTF-8: {error}") from error

    def integer(self, field: int) -> int:
        """Return an int64 field as a signed number."""
        value = self.values.get(field, [0])[-1]
        if not isinstance(value, int):
            raise WireError(f"field {field} should be a varint")
        return value - (1 << 64) if value >= 1 << 63 else value

    def blobs(self, field: int) -> list[bytes]:
        """Return every value of a repeated bytes or message field."""
        values = self.values.get(field, [])
        found = [value for value in values if isinstance(value, bytes)]
        if len(found) != len(values):
            raise WireError(f"field {field} should be length-delimited")
        return found


def decode(data: bytes) -> Fields:
    """Split a message into its fields. Raises WireError and nothing else."""
    values: dict[int, list[int | bytes]] = {}
    for field, value in _fields(data):
        values.setdefault(field, []).append(value)
    return Fields(values)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    offset = 0
    while offset < len(data):
        tag, offset = decode_varint(data, offset)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise WireError(f"field number {field} is out of range")
        if kind == _VARINT:
            number, offset = decode_varint(data, offset)
            yield field, number
            continue
        if kind == _BYTES:
            size, offset = decode_varint(data, offset)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise WireError(f"field {field} has the unknown wire type {kind}")
        if size > len(data) - offset:
            raise WireError(f"field {field} is cut off")
        if kind == _BYTES:
            yield field, data[offset : offset + size]
        offset += size
