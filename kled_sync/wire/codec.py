"""Encodes and decodes the messages of a sync. No I/O.

One CBOR list in a control block: a number for its type, then the fields in order. Fields at the end
that have their default values are left out: an older peer knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, get_type_hints

import cbor2

from kled_sync.tree.entry import TreeEntry, are_plain_entries, check_entry
from kled_sync.tree.paths import are_plain_names, check_name, check_path
from kled_sync.wire.messages import (
    TYPES,
    FoundEntries,
    Message,
    Named,
    Numbered,
    PathList,
    Rows,
)
from kled_wire.errors import ProtocolError

_DEPTH_MAX: Final = 6
_COUNT_MAX: Final = 2_000_000
_TEXT_MAX: Final = 16 * 1024


def encode_message(message: Message) -> bytes:
    """One control block's content."""
    number, values = TYPES.index(type(message)), list[object](message)
    names, defaults = message._fields, message._field_defaults
    while len(values) > _REQUIRED[number] and values[-1] == defaults[names[len(values) - 1]]:
        values.pop()
    return cbor2.dumps([number, *map(_plain, values)])


def decode_message(data: bytes) -> Message:
    """Raises ProtocolError: "sync_message_refused", "sync_path_refused", "sync_entry_refused"."""
    try:
        value = cbor2.loads(data, max_depth=_DEPTH_MAX, strict_hashable_types=True)
    except (cbor2.CBORError, ValueError, OverflowError) as exc:
        raise ProtocolError("sync_message_refused", f"a message is not CBOR: {exc}") from exc
    if not isinstance(value, list) or not value or not _is_number(value[0], len(TYPES) - 1):
        raise ProtocolError("sync_message_refused", "a message of no known type")
    kind, converters = TYPES[value[0]], _CONVERTERS[value[0]]
    if not _REQUIRED[value[0]] < len(value) <= len(converters) + 1:
        raise ProtocolError("sync_message_refused", f"{kind.__name__} with {len(value)} fields")
    found: list[Any] = [convert(v) for convert, v in zip(converters, value[1:], strict=False)]
    return kind(*found)


def _plain(value: object) -> object:
    """The value for CBOR: maps of entries become flat lists, all else stays as it is."""
    if isinstance(value, Named | Numbered):
        return [part for pair in value.items() for part in pair]
    return value


def _is_number(value: object, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _refuse(what: str) -> ProtocolError:
    return ProtocolError("sync_message_refused", f"a message has {what}")


def _int(value: object) -> int:
    if not _is_number(value, 2**63):
        raise _refuse("a field that is no number")
    assert isinstance(value, int)
    return value


def _float(value: object) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise _refuse("a field that is no time")
    return float(value)


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse("a field that is neither true nor false")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise _refuse("a field that is no text, or too long")
    return value


def _root(value: object) -> bytes:
    """A path as a person gave it, in `OpenRoot` and `RootOpened` only."""
    if not isinstance(value, bytes) or len(value) > _TEXT_MAX or b"\0" in value:
        raise _refuse("an invalid root")
    return value


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _refuse("a field that is no map")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _COUNT_MAX:
        raise _refuse("a field that is no list, or too long")
    return value


def _paths(value: object) -> PathList:
    return PathList(map(check_path, _list(value)))


def _pairs(value: object) -> tuple[list[object], list[object]]:
    flat = _list(value)
    if len(flat) % 2:
        raise _refuse("a name without an entry")
    return flat[::2], flat[1::2]


def _named(value: object) -> Named:
    names, entries = _pairs(value)
    checked = _entries(entries)
    if are_plain_names(names):
        return Named(zip(names, checked, strict=True))  # type: ignore[arg-type]  # just seen
    return Named(zip(map(check_name, names), checked, strict=True))


def _numbered(value: object) -> Numbered:
    numbers, entries = _pairs(value)
    return Numbered(zip(map(_int, numbers), _entries(entries), strict=True))


def _entries(values: list[object]) -> Iterable[TreeEntry]:
    if are_plain_entries(values):
        return map(TreeEntry, values)  # type: ignore[arg-type]  # just seen
    return map(check_entry, values)


def _found(value: object) -> FoundEntries:
    pairs = [_list(pair) for pair in _list(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise _refuse("a path without an entry")
    return FoundEntries((check_path(path), check_entry(entry)) for path, entry in pairs)


def _rows(value: object) -> Rows:
    return Rows(map(tuple, map(_list, _list(value))))


_CONVERTER: Final[dict[object, Callable[[object], object]]] = {
    int: _int, float: _float, bool: _bool, str: _str, bytes: check_path, dict[str, Any]: _dict,
    PathList: _paths, Named: _named, Numbered: _numbered, FoundEntries: _found, Rows: _rows,
}  # fmt: skip


def _converters(kind: type[Message]) -> list[Callable[[object], object]]:
    hints = get_type_hints(kind)
    return [_root if name == "root" else _CONVERTER[hints[name]] for name in kind._fields]


_CONVERTERS: Final = [_converters(kind) for kind in TYPES]
_REQUIRED: Final = [len(kind._fields) - len(kind._field_defaults) for kind in TYPES]
