"""Compares the entries of one path: what may be equal, and how a contradiction is said. No I/O."""

from __future__ import annotations

from kled_sync.tree.entry import EXECUTABLE, TreeEntry, essence


def comparable(entry: TreeEntry | None) -> TreeEntry | None:
    """The entry to compare; a file that was not read gets a digest that no read file has."""
    if entry is None or entry.is_hashed:
        return entry
    return entry.with_digest(b"unread" + entry.size.to_bytes(8, "big"))


def may_be_equal(a: TreeEntry, b: TreeEntry | None) -> bool:
    """Whether only the contents of two files can tell them apart."""
    return b is not None and b.is_file and a.size == b.size


def differ_in_time(a: TreeEntry | None, b: TreeEntry | None) -> bool:
    """Of a directory only where both sides tell it."""
    if a is None or b is None or not (a.is_file or a.is_directory):
        return False
    return a.mtime_ns != b.mtime_ns


def looks_same(a: TreeEntry, b: TreeEntry) -> bool:
    """Rsync's quick check: size and time of files, the target of links, nothing of directories."""
    if a[0] != b[0]:
        return False
    if a.is_file:
        return a.size == b.size and a.mtime_ns == b.mtime_ns
    return a.tail == b.tail


def have_same_mode(a: TreeEntry, b: TreeEntry, mask: int) -> bool:
    """Whether the bits of `mask` are the same; a directory's count where all are copied."""
    counts = a.is_file or (a.is_directory and mask != EXECUTABLE)
    return a.mode & mask == b.mode & mask or not counts


def contradiction(a: TreeEntry | None, b: TreeEntry | None, o: TreeEntry | None, mask: int) -> str:
    """Why neither side of a conflict can simply win, for people."""
    if a is not None and b is not None and a.kind is not b.kind:
        return f"{kind_word(a)} on one side, {kind_word(b)} on the other"
    if o is None:
        return "made on both sides, and different"
    # That is a conflict in a one-way mode only.
    beta_alone = essence(a, mask) == essence(o, mask)
    return "changed on the beta side" if beta_alone else "changed on both sides"


def kind_word(entry: TreeEntry) -> str:
    """`file`, `directory` or `link`, for people."""
    return entry.kind.name.lower()
