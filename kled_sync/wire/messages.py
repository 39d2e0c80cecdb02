"""Messages between a session, which decides, and an endpoint, which has the files. No I/O.

One CBOR list in a control block: a number for its type, then the fields in order. A message that
has `request` is answered by one with the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final, get_type_hints

import cbor2

from kled_sync.tree.entry import TreeEntry, are_plain_entries, check_entry
from kled_sync.tree.paths import are_plain_names, check_name, check_path
from kled_wire.errors import ProtocolError

_DEPTH_MAX: Final = 6
_COUNT_MAX: Final = 2_000_000
_TEXT_MAX: Final = 16 * 1024


class PathList(tuple[bytes, ...]):
    """Paths below the root."""

    __slots__ = ()


class Named(dict[bytes, TreeEntry]):
    """Entries of one directory."""

    __slots__ = ()


class Numbered(dict[int, TreeEntry]):
    """Entries of a job's files, by the place of each in the job."""

    __slots__ = ()


class FoundEntries(tuple[tuple[bytes, TreeEntry], ...]):
    """Paths with what is there."""

    __slots__ = ()


class Rows(tuple[tuple[Any, ...], ...]):
    """Lists whose parts the reader checks."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoot:
    """Take hold of a root. `options` as `endpoint.options.Options` has them."""

    request: int
    root: bytes
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootOpened:
    request: int
    root: bytes
    facts: dict[str, Any]
    # What is staged of large files already: path, bytes, their blake3.
    partial: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Look again: everywhere, or in the directories that are marked and those named here."""

    request: int
    everywhere: bool
    directories: PathList


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that is in a directory now; of the root itself where `directory` is None."""

    directory: bytes
    entries: Named


@dataclass(frozen=True, slots=True, kw_only=True)
class RootIs:
    """The root's own entry; an empty list where nothing is there."""

    entry: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """All listings of a look have been sent."""

    request: int
    entries: int
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hash:
    """Read files; what was found is in `Hashed`."""

    request: int
    paths: PathList


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    request: int
    found: FoundEntries


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Send contents for a job: item, path, digest of the version that the receiver has, and how
    much of this one, with the blake3 of that.
    """

    job: int
    urgent: bool
    items: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """All contents of a job have been sent: what each file was."""

    job: int
    items: Numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceJob:
    """Do a job's operations: what, path, new entry, old entry, source."""

    job: int
    urgent: bool
    operations: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlaced:
    """A job is done: place of each operation that was not, a code and words; how much was kept."""

    job: int
    failed: Rows
    too_large: PathList


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a job that was not done yet."""

    job: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIsNear:
    """Contents go over a link whose far end answers at once; not answered.

    Only for an endpoint that has the fact `near`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """From now on say `Dirty`."""

    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How changes are noticed, and what is to be known about it.

    `how` is `inotify`, `fanotify`, `hints` or `sweeps`.
    """

    request: int
    how: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """Something changed; a `Scan` would find it."""

    everywhere: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AskKept:
    """What was kept of a path and below it."""

    request: int
    path: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Number, time in s since the epoch, path, what became of it, bytes; newest first."""

    request: int
    versions: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Bring back what `path` was: the last version, or the first since `since_s` (0: the last).

    What is in `spared` is brought back by the other side.
    """

    request: int
    path: bytes
    since_s: float
    purge: bool
    spared: PathList


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    request: int
    paths: PathList


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAttributes:
    """Owners, special bits and, where asked for, extended attributes of paths."""

    request: int
    paths: PathList
    xattrs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributesFound:
    """`decide.attributes.FileAttributes` of the paths asked for: of the first, if it is much."""

    request: int
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAttributes:
    """`decide.attributes.AttributesToSet`s to make."""

    request: int
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributesSet:
    """Paths of which something could not be set, and words."""

    request: int
    failed: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused:
    """A request that was not done, as the error it was."""

    request: int
    status: int
    code: str
    message: str
    hint: str


_TYPES: Final = (
    OpenRoot, RootOpened, Scan, Listing, RootIs, Scanned, Hash, Hashed, Supply, Supplied, PlaceJob,
    JobPlaced, Drop, Watch, Watching, Dirty, AskKept, Kept, Undo, Undone, RequestRefused,
    AskAttributes, AttributesFound, SetAttributes, AttributesSet, LinkIsNear,
)  # fmt: skip
Message = (
    OpenRoot | RootOpened | Scan | Listing | RootIs | Scanned | Hash | Hashed | Supply | Supplied |
    PlaceJob | JobPlaced | Drop | Watch | Watching | Dirty | AskKept | Kept | Undo | Undone |
    RequestRefused | AskAttributes | AttributesFound | SetAttributes | AttributesSet | LinkIsNear
)  # fmt: skip


def encode_message(message: Message) -> bytes:
    """One control block's content."""
    values = [getattr(message, field.name) for field in fields(message)]
    return cbor2.dumps([_TYPES.index(type(message)), *map(_plain, values)])


def decode_message(data: bytes) -> Message:
    """Raises ProtocolError: "sync_message_refused", "sync_path_refused", "sync_entry_refused"."""
    try:
        value = cbor2.loads(data, max_depth=_DEPTH_MAX, strict_hashable_types=True)
    except (cbor2.CBORError, ValueError, OverflowError) as exc:
        raise ProtocolError("sync_message_refused", f"a message is not CBOR: {exc}") from exc
    if not isinstance(value, list) or not value or not _is_number(value[0], len(_TYPES) - 1):
        raise ProtocolError("sync_message_refused", "a message of no known type")
    kind, converters = _TYPES[value[0]], _CONVERTERS[value[0]]
    if len(value) != len(converters) + 1:
        raise ProtocolError("sync_message_refused", f"{kind.__name__} with {len(value)} fields")
    found: dict[str, Any] = {
        name: convert(v) for (name, convert), v in zip(converters, value[1:], strict=True)
    }
    return kind(**found)


def _plain(value: object) -> object:
    """As CBOR has it: only a map of entries is written otherwise."""
    if isinstance(value, Named | Numbered):
        return [part for pair in value.items() for part in pair]
    return value


def _is_number(value: object, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _refuse(what: str) -> ProtocolError:
    return ProtocolError("sync_message_refused", f"a message has {what}")


def _int(value: object) -> int:
    if not _is_number(value, 2**63):
        raise _refuse("a number that is none")
    assert isinstance(value, int)
    return value


def _float(value: object) -> float:
    if not isinstance(value, float | int) or isinstance(value, bool):
        raise _refuse("a time that is none")
    return float(value)


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse("neither yes nor no")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise _refuse("words that are none")
    return value


def _root(value: object) -> bytes:
    """A path as a person gave it; `Open` alone has one."""
    if not isinstance(value, bytes) or len(value) > _TEXT_MAX or b"\0" in value:
        raise _refuse("a root that cannot be")
    return value


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _refuse("options that are none")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _COUNT_MAX:
        raise _refuse("a list that is none, or too long")
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


def _converters(kind: type[Any]) -> list[tuple[str, Callable[[object], object]]]:
    hints = get_type_hints(kind)
    return [
        (field.name, _root if field.name == "root" else _CONVERTER[hints[field.name]])
        for field in fields(kind)
    ]


_CONVERTERS: Final = [_converters(kind) for kind in _TYPES]
