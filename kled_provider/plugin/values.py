"""Terraform values as Python values, which distinguish "unknown" and "null".

null is None, unknown is UNKNOWN; string and bool are str and bool, a number is an int, float or
Decimal, whichever is exact; lists and sets are lists, maps and objects are dicts. Wire format:
msgpack as cty writes it (https://github.com/zclconf/go-cty/blob/main/docs/msgpack.md), where any
extension type is an unknown value (code 12 carries refinements, which we do not need).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeGuard

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types

from kled_provider.grpc import protobuf
from kled_provider.plugin.diagnostics import DiagnosticError, MapKey, Path
from kled_provider.plugin.schema import DYNAMIC, Block, Body, NestedObject, Nesting, Type

Values = dict[str, Any]


class Unknown(enum.Enum):
    """The type of UNKNOWN, so that a type checker can tell it from other values."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

_PRIMITIVES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "bool": bool,
    "number": (int, float, Decimal),
}
# The range of 64 bits. Terraform's numbers have no limit, and ten characters can stand for a number
# of a thousand million digits.
_NUMBER_MAX: Final = 1 << 63
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
            return json.loads(fields.blob(2), parse_float=Decimal)
    except (ValueError, RecursionError, TypeError, msgpack.UnpackException) as error:
        # TypeError: a list or map used as a map key cannot be hashed.
        raise ValueFormatError(f"not a Terraform value: {error}") from error
    return None


def encode_value(value: Any) -> bytes:
    """Encode a `DynamicValue` message."""
    packed: bytes = msgpack.packb(
        value, default=_encode_special, unicode_errors="replace", use_bin_type=True
    )
    return protobuf.message(1, packed)


def _encode_special(value: object) -> Any:
    if value is UNKNOWN:
        return _ENCODED_UNKNOWN
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a Terraform value")


def decode_object(dynamic: bytes, body: Body) -> Values | None:
    """Decode an object of `body`; None where it is absent.

    Attributes it lacks become null. Raises ValueFormatError or WireError for what is no object,
    DiagnosticError for an attribute of another type.
    """
    value = decode_value(dynamic)
    return None if value is None else conform_object(value, body)


def conform_object(value: Any, body: Body) -> Values:
    """Check an object against its schema; adds what is missing as null, drops what is unknown.

    Sets come out in one order, so that equal ones are equal as lists.
    """
    if not isinstance(value, dict):
        raise ValueFormatError(f"expected an object, got {type(value).__name__}")
    return _conform_body(value, body, ())


def _conform_body(value: Any, body: Body, path: Path) -> Values:
    if not isinstance(value, dict):
        raise _wrong_type("an object", value, path)
    found: Values = {}
    for attribute in body.attributes:
        item, here = value.get(attribute.name), (*path, attribute.name)
        if attribute.nested is None:
            found[attribute.name] = _conform(item, attribute.type, here)
        else:
            found[attribute.name] = _conform_nested(item, attribute.nested, here)
    for block in body.blocks:
        item = value.get(block.name)
        if item is None and block.nesting is not Nesting.SINGLE:
            item = []  # a block that is not written is an empty list, never null
        found[block.name] = _conform_nested(item, block, (*path, block.name))
    return found


def _conform_nested(value: Any, nested: NestedObject | Block, path: Path) -> Any:
    if value is None or value is UNKNOWN:
        return value
    match nested.nesting:
        case Nesting.SINGLE:
            return _conform_element(value, nested, path)
        case Nesting.MAP if isinstance(value, dict):
            return {
                k: _conform_element(v, nested, (*path, MapKey(str(k)))) for k, v in value.items()
            }
        case Nesting.LIST | Nesting.SET if isinstance(value, list):
            items = [_conform_element(v, nested, (*path, i)) for i, v in enumerate(value)]
            return in_one_order(items) if nested.nesting is Nesting.SET else items
    raise _wrong_type(f"a {nested.nesting.value} of objects", value, path)


def _conform_element(value: Any, body: Body, path: Path) -> Any:
    return value if value is None or value is UNKNOWN else _conform_body(value, body, path)


def in_one_order(items: list[Any]) -> list[Any]:
    """Sort the elements of a set, whose order means nothing, by what they are."""
    return sorted(items, key=repr)


def _conform(value: Any, wanted: Type, path: Path) -> Any:
    if value is None or value is UNKNOWN or wanted == DYNAMIC:
        return value
    if isinstance(wanted, str):
        found = _number(value) if wanted == "number" else value
        if not _is_primitive(found, wanted):
            raise _wrong_type(wanted, value, path)
        if wanted == "number" and not -_NUMBER_MAX <= found <= _NUMBER_MAX:
            detail = f"Use one between -{_NUMBER_MAX} and {_NUMBER_MAX}."
            raise DiagnosticError.of("The number is out of range", detail, path=path)
        return found
    container, element = wanted
    if isinstance(element, Mapping):
        if isinstance(value, dict):
            return {k: _conform(value.get(k), t, (*path, k)) for k, t in element.items()}
    elif container == "map" and isinstance(value, dict):
        return {k: _conform(v, element, (*path, MapKey(str(k)))) for k, v in value.items()}
    elif container in ("list", "set") and isinstance(value, list):
        items = [_conform(v, element, (*path, i)) for i, v in enumerate(value)]
        return in_one_order(items) if container == "set" else items
    raise _wrong_type(describe_type(wanted), value, path)


def _wrong_type(wanted: str, value: Any, path: Path) -> DiagnosticError:
    return DiagnosticError.of(
        "Wrong type of value", f"Expected {wanted}, got {type(value).__name__}.", path=path
    )


def _number(value: Any) -> Any:
    """Read a number that cty has written as text, because a float would change it (0.1)."""
    try:
        return Decimal(value) if isinstance(value, str) else value
    except InvalidOperation:
        return value


def _is_primitive(value: Any, wanted: str) -> bool:
    # bool is an int in Python, and in nothing else.
    is_right_bool = isinstance(value, bool) == (wanted == "bool")
    return isinstance(value, _PRIMITIVES[wanted]) and is_right_bool


def describe_type(wanted: Type) -> str:
    """Say in words what a type is."""
    if isinstance(wanted, str):
        return wanted
    container, element = wanted
    return "object" if isinstance(element, Mapping) else f"{container} of {describe_type(element)}"


def is_known(value: Any) -> TypeGuard[Any]:
    """Whether the value and all within it is known."""
    if isinstance(value, dict):
        return all(is_known(item) for item in value.values())
    if isinstance(value, list):
        return all(is_known(item) for item in value)
    return value is not UNKNOWN


def settled(values: Values) -> Values:
    """Return the object with what is still unknown as null: state must be wholly known."""
    return {name: _settled(value) for name, value in values.items()}


def _settled(value: Any) -> Any:
    if isinstance(value, dict):
        return settled(value)
    # A list with an unknown element is unknown itself, but a block in a list is an object.
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [settled(item) for item in value]
    return value if is_known(value) else None
