"""New directories that are built in the staging folder and renamed into place with all in them.

The staging folder is ours alone, so names below it may have several parts. Where a directory cannot
come as a whole, because one is there already or because it is to inherit something from the one
above, what was built of it is placed piece by piece.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from kled_sync.decide.operations import Do, Operation
from kled_sync.files.root import Root
from kled_sync.files.system import rename_new
from kled_sync.files.writing.placing import Placer
from kled_sync.tree.paths import split
from kled_wire.trees import discard_tree

# acl(5): what is made in a directory that has this gets it.
_INHERITED: Final = "system.posix_acl_default"
# Of a name below the staging folder; what is in it has one of up to 255 more.
_NAME_BYTES_MAX: Final = 2048


class BuiltDirectories:
    """The built directories of one job. Blocks.

    Made by the thread that stages, then for the one that places.
    """

    def __init__(
        self, staging: int, job: int, operations: Sequence[Operation], placer: Placer
    ) -> None:
        self._staging, self._placer = staging, placer
        # By path: the name below the staging folder, and whether it is in place.
        self._names: dict[bytes, bytes] = {}
        self._placed: set[bytes] = set()
        self._tops: list[tuple[bytes, bytes]] = []
        if any(o.files.names for o in operations) and not _hands_down(staging):
            for number, operation in enumerate(operations):
                if operation.do is Do.MAKE_DIRECTORY:
                    self._begin(b"%d-%d" % (job, number), operation)

    def _begin(self, own: bytes, operation: Operation) -> None:
        """`own` is its name where it is in none of the others."""
        directory, name = split(operation.path)
        above = self._names.get(directory)
        staged = own if above is None else above + b"/" + name
        if len(staged) > _NAME_BYTES_MAX:
            return
        with suppress(OSError):
            self._placer.make_directory(operation, self._staging, staged)
            self._names[operation.path] = staged
            if above is None:
                self._tops.append((operation.path, own))

    def name_of(self, path: bytes) -> bytes | None:
        """What a directory is called below the staging folder; None where it is not built here."""
        return self._names.get(path)

    def put_directory(self, root: Root, operation: Operation) -> bool:
        """Whether it is in place with all that was built in it. Raises OSError."""
        path = operation.path
        staged = self._names.get(path)
        if staged is None:
            return False
        if split(path)[0] not in self._placed and not self._rename(root, staged, path):
            return False
        self._placed.add(path)
        self._placer.note_directory(path)
        return True

    def _rename(self, root: Root, staged: bytes, path: bytes) -> bool:
        descriptor, name = root.locate(path)
        if _hands_down(descriptor):
            return False
        try:
            rename_new(self._staging, staged, descriptor, name)
        except OSError:
            return False  # something is there; or the system will say so again
        return True

    def clear(self) -> None:
        """Remove what did not come into place as a whole."""
        for path, name in self._tops:
            if path not in self._placed:
                discard_tree(name, dir_fd=self._staging)


def _hands_down(directory: int) -> bool:
    """Whether what is made in it gets its group or its access list from it."""
    if os.fstat(directory).st_mode & stat.S_ISGID:
        return True
    if not hasattr(os, "getxattr"):
        return False
    try:
        os.getxattr(directory, _INHERITED)
    except OSError:
        return False
    return True
