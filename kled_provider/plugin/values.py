"""Terraform values as Python values, with "unknown" and "null" kept apart.

null is None, unknown is UNKNOWN; string, bool and number are str, bool and int or float; lists and
sets are lists, maps and objects are dicts. Wire format: msgpack as cty writes it
(https://github.com/zclconf/go-cty/blob/main/docs/msgpack.md), where any extension type is an
unknown value (code 12 carries refinements, which we do not need).
"""

from __future__ import annotations

import enum
import json
from typing import Any, Final, TypeGuard

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from kled_provider.plugin import protobuf
from kled_provider.plugin.diagnostics import DiagnosticError, Key, Path
from kled_provider.plugin.schema import Schema, Type

Values = dict[str, Any]


class Unknown(enum.Enum):
    """The type of UNKNOWN, so that a type checker can tell it from other values."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

_ENCODED_UNKNOWN = msgpack.ExtType(0, b"\x00")


class ValueFormatError(ValueError):
    """The bytes are not a Terraform value of the type they should have."""


def decode_value(dynamic: bytes) -> Any:
    """Decode a `DynamicValue` message. Raises ValueFormatError or WireError."""
    fields = protobuf.decode(dynamic)
    try:
        if fields.has(1):
            return msgpack.unpackb(fields.blob(1), ext_hook=lambda _code, _data: UNKNOWN)
        if fields.has(2):
            return json.loads(fields.blob(2))
    except (ValueError, RecursionError, TypeError, msgpack.UnpackException) as error:
        # TypeError: a list or map used as a map key cannot be hashed.
        raise ValueFormatError(f"not a Terraform value: {error}") from error
    return None


def encode_value(value: Any) -> bytes:
    """Encode a `DynamicValue` message."""
    packed: bytes = msgpack.packb(
        value, default=_encode_unknown, unicode_errors="replace", use_bin_type=True
    )
    return protobuf.message(1, packed)


def _encode_unknown(value: object) -> Any:
    if value is UNKNOWN:
        return _ENCODED_UNKNOWN
    raise TypeError(f"{type(value).__name__} is not a Terraform value")


def decode_object(dynamic: bytes, schema: Schema) -> Values | None:
    """Decode an object of `schema`; None where it is absent.

    Attributes it lacks become null. Raises ValueFormatError or WireError for what is no object,
    DiagnosticError for an attribute of another type.
    """
    value = decode_value(dynamic)
    return None if value is None else conform_object(value, schema)


def conform_object(value: Any, schema: Schema) -> Values:
    """Check an object against its schema; adds missing attributes as null, drops unknown ones."""
    if not isinstance(value, dict):
        raise ValueFormatError(f"expected an object, got {type(value).__name__}")
    return {
        attribute.name: _conform(value.get(attribute.name), attribute.type, (attribute.name,))
        for attribute in schema.attributes
    }


def _conform(value: Any, wanted: Type, path: Path) -> Any:
    if value is None or value is UNKNOWN:
        return value
    if isinstance(wanted, tuple):
        container, element = wanted
        if container == "map" and isinstance(value, dict):
            return {k: _conform(v, element, (*path, Key(str(k)))) for k, v in value.items()}
        if container in ("list", "set") and isinstance(value, list):
            return [_conform(v, element, (*path, i)) for i, v in enumerate(value)]
    elif _is_primitive(value, wanted):
        return value
    raise DiagnosticError.of(
        "Wrong type of value",
        f"Expected {_describe(wanted)}, got {type(value).__name__}.",
        path=path,
    )


def _is_primitive(value: Any, wanted: str) -> bool:
    if wanted == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "bool": bool}[wanted])


def _describe(wanted: Type) -> str:
    return wanted if isinstance(wanted, str) else f"{wanted[0]} of {_describe(wanted[1])}"


def is_known(value: Any) -> TypeGuard[Any]:
    """Whether the value and all within it is known."""
    if isinstance(value, dict):
        return all(is_known(item) for item in value.values())
    if isinstance(value, list):
        return all(is_known(item) for item in value)
    return value is not UNKNOWN


def settled(values: Values) -> Values:
    """Return the object with what is still unknown as null: state must be wholly known."""
    return {name: value if is_known(value) else None for name, value in values.items()}
