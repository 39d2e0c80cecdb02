"""Messages between a session, which decides, and an endpoint, which has the files. No I/O.

`codec` encodes them: the place of a type in `TYPES` is its number there. A message that has
`request` is answered by one with the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kled_sync.tree.entry import TreeEntry

# `RootOpened.facts` of an endpoint that knows `Undo.until_s`.
UNTIL: Final = "undo_until"
# So many versions `Kept` has at most: the newest.
KEPT_MAX: Final = 1000


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
    """Take hold of a root. `options` as `kled_sync.files.options.Options` has them."""

    request: int
    root: bytes
    options: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootOpened:
    request: int
    root: bytes
    facts: dict[str, Any]
    # The parts of large files that are staged already: path, bytes, blake3.
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
class Touched:
    """Paths whose owners or extended attributes may have changed; sent where `OpenRoot` asks."""

    paths: PathList


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
    much of this one, with the blake3 of that. Of the files of a new directory: item of the first,
    path of the directory, names.
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
class FilesSupplied:
    """What the files of new directories were; before the `Supplied` of the job (`wire.filled`)."""

    job: int
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceJob:
    """Do a job's operations: what, path, new entry, old entry, source; of a directory that comes
    with files their names and size.
    """

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

    What is in `spared` is brought back by the other side; of what was lost at `until_s` or later
    (0: never) nothing is.
    """

    request: int
    path: bytes
    since_s: float
    purge: bool
    spared: PathList
    until_s: float = 0.0


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


TYPES: Final = (
    OpenRoot, RootOpened, Scan, Listing, RootIs, Scanned, Hash, Hashed, Supply, Supplied, PlaceJob,
    JobPlaced, Drop, Watch, Watching, Dirty, AskKept, Kept, Undo, Undone, RequestRefused,
    AskAttributes, AttributesFound, SetAttributes, AttributesSet, LinkIsNear,
    Touched, FilesSupplied,
)  # fmt: skip
Message = (
    OpenRoot | RootOpened | Scan | Listing | RootIs | Scanned | Hash | Hashed | Supply | Supplied |
    PlaceJob | JobPlaced | Drop | Watch | Watching | Dirty | AskKept | Kept | Undo | Undone |
    RequestRefused | AskAttributes | AttributesFound | SetAttributes | AttributesSet | LinkIsNear
    | Touched | FilesSupplied
)  # fmt: skip
