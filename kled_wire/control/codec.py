"""CBOR (RFC 8949) to control messages and back, within limits of size and depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import cbor2

from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.agent_spec import from_plain
from kled_wire.errors import ProtocolError

_TAG: Final = "type"
_Known = messages.Message | messages.UserKey


def encode(message: messages.Message) -> bytes:
    """One CBOR map. The caller sends it as one binary WebSocket message."""
    return cbor2.dumps({_TAG: message.type, **dataclasses.asdict(message)})


def decode(data: bytes) -> messages.Message:
    """Read one message; a type not known here becomes `Unknown`.

    Raises ProtocolError: "message_too_large", "message_not_cbor", "message_malformed".
    """
    if len(data) > limits.CONTROL_MESSAGE_MAX_BYTES:
        raise ProtocolError(
            "message_too_large",
            f"a control message of {len(data)} bytes, the limit is "
            f"{limits.CONTROL_MESSAGE_MAX_BYTES}",
        )
    try:
        value = cbor2.loads(data, max_depth=limits.CONTROL_MAX_DEPTH, strict_hashable_types=True)
    except (cbor2.CBORError, ValueError, OverflowError) as exc:
        raise ProtocolError("message_not_cbor", f"a control message is not CBOR: {exc}") from exc
    if not isinstance(value, dict) or not isinstance(value.get(_TAG), str):
        raise ProtocolError("message_malformed", "a control message is not a map with a type")
    kind = messages.ALL.get(value[_TAG])
    if kind is None:
        return messages.UnknownMessage(of=value[_TAG][:64])
    return kind(**_fields(kind, kind.type, value))


def _fields(kind: type[_Known], shown: str, value: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            found[field.name] = _check(shown, field.name, str(field.type), value[field.name])
        elif field.default is dataclasses.MISSING:
            raise ProtocolError("message_malformed", f"{shown} lacks {field.name}")
    return found


def _check(shown: str, name: str, annotation: str, value: object) -> object:
    convert = _CONVERTERS[annotation]
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ProtocolError("message_malformed", f"{shown}.{name} is not {annotation}") from exc


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > limits.CONTROL_TEXT_MAX:
        raise TypeError
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) > limits.CONTROL_TEXTS_MAX:
        raise TypeError
    return tuple(_text(item) for item in value)


def _keys(value: object) -> tuple[messages.UserKey, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return tuple(_key(item) for item in value)


def _key(value: object) -> messages.UserKey:
    if not isinstance(value, dict):
        raise TypeError
    return messages.UserKey(**_fields(messages.UserKey, "a key", value))


_CONVERTERS: Final[dict[str, Callable[[object], object]]] = {
    "str": _text,
    "int": _integer,
    "float": _number,
    "bool": _flag,
    "tuple[str, ...]": _texts,
    "tuple[UserKey, ...]": _keys,
    "bytes": _bytes,
    "AgentSpec": from_plain,
}
