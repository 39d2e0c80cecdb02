"""Paths below a root: bytes, parts joined by `/`; the root itself is empty. No I/O.

Whatever comes from a peer passes `check_path` before anything looks at it.
"""

from __future__ import annotations

import re
from typing import Final

from kled_wire.errors import ProtocolError

ROOT: Final = b""
# Linux and macOS: limits.h, NAME_MAX and PATH_MAX. A path below a root may be longer than one
# system call takes, since it is opened part by part; so deep that it is longer than this nobody
# meant.
NAME_BYTES_MAX: Final = 255
PATH_BYTES_MAX: Final = 16 * 1024
# Directories below each other: trees are gone through by recursion. What is deeper is left alone
# and said.
DEPTH_MAX: Final = 400
# Where a side keeps what it stages when nowhere else in that filesystem will do; never synced.
STAGING_NAME: Final = b".kled-sync"
_NO_NAMES: Final = frozenset({b"", b".", b"..", STAGING_NAME})
_NAME: Final = rb"(?!(?:\.\.?|%s)(?:/|\Z))[^/\0]{1,%d}" % (re.escape(STAGING_NAME), NAME_BYTES_MAX)
_is_name: Final = re.compile(_NAME).fullmatch
_is_path: Final = re.compile(rb"(?:%s(?:/%s){0,%d})?" % (_NAME, _NAME, DEPTH_MAX)).fullmatch


def check_path(path: object) -> bytes:
    """`path` as it came. Raises ProtocolError("sync_path_refused") for what leads elsewhere."""
    if not isinstance(path, bytes) or len(path) > PATH_BYTES_MAX:
        raise _refused(path)
    if not _is_path(path):
        raise _refused(path)
    return path


def check_name(name: object) -> bytes:
    """`name` as it came. Raises ProtocolError("sync_path_refused")."""
    if not isinstance(name, bytes) or not _is_name(name):
        raise _refused(name)
    return name


def are_plain_names(names: list[object]) -> bool:
    """Whether all may be names in a directory.

    A quick look at all of them at once, for a million; where it says no, each is to be checked.
    """
    if set(map(type, names)) != {bytes}:
        return False
    plain = [name for name in names if isinstance(name, bytes)]
    joined = b"/".join(plain)
    return (
        joined.count(b"/") == len(plain) - 1
        and b"\0" not in joined
        and _NO_NAMES.isdisjoint(plain)
        and max(map(len, plain)) <= NAME_BYTES_MAX
    )


def is_name(name: bytes) -> bool:
    """Whether `name` can be of something in a directory, and is not what is never synced."""
    return _is_name(name) is not None


def join(directory: bytes, name: bytes) -> bytes:
    """The path of `name` in `directory`."""
    return directory + b"/" + name if directory else name


def split(path: bytes) -> tuple[bytes, bytes]:
    """The directory of a path that is not the root, and its name there."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def is_below(path: bytes, directory: bytes) -> bool:
    """Whether `path` is inside `directory`, at any depth."""
    return path != directory and (directory == ROOT or path.startswith(directory + b"/"))


def shown(path: bytes) -> str:
    """A path for people; what is no text, or not to be seen, is escaped: no two look alike."""
    text = path.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return text or "."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _refused(path: object) -> ProtocolError:
    text = shown(path[:200]) if isinstance(path, bytes) else type(path).__name__
    return ProtocolError("sync_path_refused", f"the peer named a path that is refused: {text}")


def leads_inside(path: bytes, target: bytes) -> bool:
    """Whether a link at `path` stays below the root, as far as its words say."""
    if target.startswith(b"/"):
        return False
    depth = path.count(b"/")
    for part in target.split(b"/"):
        if part not in {b"", b"."}:
            depth += -1 if part == b".." else 1
        if depth < 0:
            return False
    return True
