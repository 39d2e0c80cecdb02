"""Messages between a session, which decides, and an endpoint, which has the files. No I/O.

`codec` encodes them: the place of a type in `TYPES` is its number there. A message that has
`request` is answered by one with the same. They are named tuples since all three processes of a
copy make these types when they start: as dataclasses that takes six times as long.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kled_sync.tree.entry import TreeEntry

# `RootOpened.facts` of an endpoint that knows `Undo.until_s`.
UNTIL: Final = "undo_until"
# Among the facts of a root that is asked for them: the names in it.
NAMES_IN: Final = "names_in"
# Of an endpoint that notes what the jobs put into place that have a `PlaceJob.note`.
NOTES: Final = "notes"
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


class OpenRoot(NamedTuple):
    """Take hold of a root. `options` as `kled_sync.files.options.Options` has them."""

    request: int
    root: bytes
    options: dict[str, Any]


class RootOpened(NamedTuple):
    request: int
    root: bytes
    facts: dict[str, Any]
    # The parts of large files that are staged already: path, bytes, blake3.
    partial: Rows


class Scan(NamedTuple):
    """Look again: everywhere, or in the directories that are marked and those named here."""

    request: int
    everywhere: bool
    directories: PathList


class Listing(NamedTuple):
    """All that is in a directory now; of the root itself where `directory` is None."""

    directory: bytes
    entries: Named


class RootIs(NamedTuple):
    """The root's own entry; an empty list where nothing is there."""

    entry: Rows


class Touched(NamedTuple):
    """Paths whose owners or extended attributes may have changed; sent where `OpenRoot` asks."""

    paths: PathList


class Scanned(NamedTuple):
    """All listings of a look have been sent.

    `linked` files have several names, which is told to a session with the option `tells_links`.
    """

    request: int
    entries: int
    missed: int
    linked: int = 0


class Hash(NamedTuple):
    """Read files; what was found is in `Hashed`."""

    request: int
    paths: PathList


class Hashed(NamedTuple):
    request: int
    found: FoundEntries


class Supply(NamedTuple):
    """Send contents for a job: item, path, digest of the version that the receiver has, and how
    much of this one, with the blake3 of that. Of the files of a new directory: item of the first,
    path of the directory, names. `streams`: the receiver opens the blocks of a stream.
    """

    job: int
    urgent: bool
    items: Rows
    streams: bool = False


class Supplied(NamedTuple):
    """All contents of a job have been sent: what each file was."""

    job: int
    items: Numbered


class FilesSupplied(NamedTuple):
    """What the files of new directories were; before the `Supplied` of the job (`wire.filled`)."""

    job: int
    rows: Rows


class PlaceJob(NamedTuple):
    """Do a job's operations: what, path, new entry, old entry, source; of a directory that comes
    with files their names and size. `note`: what `AskPlaced` asks for, if the session is cut off.
    """

    job: int
    urgent: bool
    operations: Rows
    note: str = ""


class JobPlaced(NamedTuple):
    """A job is done: place of each operation that was not, a code and words; how much was kept."""

    job: int
    failed: Rows
    too_large: PathList


class Drop(NamedTuple):
    """Forget a job that was not done yet."""

    job: int


class LinkIsNear(NamedTuple):
    """Contents go over a link whose far end answers at once; not answered.

    Only for an endpoint that has the fact `near`.
    """


class Watch(NamedTuple):
    """From now on say `Dirty`."""

    request: int


class Watching(NamedTuple):
    """How changes are noticed, and what is to be known about it.

    `how` is `inotify`, `fanotify`, `hints` or `sweeps`; with `words` some changes raise no event.
    `overflow` is said where events were lost, to a session with the option `tells_overflow`.
    """

    request: int
    how: str
    words: str
    overflow: str = ""


class Dirty(NamedTuple):
    """Something changed; a `Scan` would find it."""

    everywhere: bool


class AskKept(NamedTuple):
    """What was kept of a path and below it."""

    request: int
    path: bytes


class Kept(NamedTuple):
    """Number, time in s since the epoch, path, what became of it, bytes; newest first."""

    request: int
    versions: Rows


class Undo(NamedTuple):
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


class Undone(NamedTuple):
    request: int
    paths: PathList


class AskAttributes(NamedTuple):
    """Owners, special bits and, where asked for, extended attributes of paths."""

    request: int
    paths: PathList
    xattrs: bool


class AttributesFound(NamedTuple):
    """`decide.attributes.FileAttributes` of the paths asked for: of the first, if it is much."""

    request: int
    rows: Rows


class SetAttributes(NamedTuple):
    """`decide.attributes.AttributesToSet`s to make."""

    request: int
    rows: Rows


class AttributesSet(NamedTuple):
    """Paths of which something could not be set, and words."""

    request: int
    failed: Rows


class AskPlaced(NamedTuple):
    """What the job with this `note` put into place, or was about to, other than its operations say.

    Only for an endpoint that has the fact `notes`.
    """

    request: int
    note: str


class PlacedFound(NamedTuple):
    """What came: files that were saved after they were planned; of a directory's all."""

    request: int
    found: FoundEntries


class Alive(NamedTuple):
    """It lives, and has stood still at what it does for so long; sent where `OpenRoot` asks."""

    still_s: int


class RequestRefused(NamedTuple):
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
    Touched, FilesSupplied, Alive, AskPlaced, PlacedFound,
)  # fmt: skip
Message = (
    OpenRoot | RootOpened | Scan | Listing | RootIs | Scanned | Hash | Hashed | Supply | Supplied |
    PlaceJob | JobPlaced | Drop | Watch | Watching | Dirty | AskKept | Kept | Undo | Undone |
    RequestRefused | AskAttributes | AttributesFound | SetAttributes | AttributesSet | LinkIsNear
    | Touched | FilesSupplied | Alive | AskPlaced | PlacedFound
)  # fmt: skip
