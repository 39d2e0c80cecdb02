"""Where the two roots of a continuous sync are: it halts when another directory is there.

Both are remembered between runs: a line for each side, with the number of its filesystem and, as
hexadecimal digits, which directory it is. What a side cannot tell is not compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.safety import replaced_trouble, root_trouble
from kled_sync.session.halting import Asks, HaltedError, accepts
from kled_sync.session.sides.side import Sides, SideState, filesystem_of
from kled_sync.tree.paths import ROOT
from kled_sync.tree.tree import Tree

FILE: Final = "filesystems"


class RootPlace(NamedTuple):
    """A filesystem's number, 0 where it is not known; which directory, empty where it is not."""

    filesystem: int = 0
    identity: bytes = b""


class KnownRoots:
    """Where the roots were when the sides last agreed. Blocks for a small file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self.known = self._load()

    def _load(self) -> dict[SyncSide, RootPlace]:
        try:
            lines = self._path.read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            lines = []
        found = dict.fromkeys(SyncSide, RootPlace())
        for line in lines:
            side, number, identity, *_ = [*line.split(" "), "", ""]
            if side in {known.value for known in SyncSide} and number.isdecimal():
                found[SyncSide(side)] = RootPlace(int(number), _from_hex(identity))
        return found

    def check_filesystems(self, sides: Sides, accepted: Asks | None) -> None:
        """Compare filesystems of opened sides with the known ones. Raises HaltedError, OSError."""
        now = {side: filesystem_of(state.facts) for side, state in sides.items()}
        for side, number in now.items():
            known = self.known[side].filesystem
            is_other = number not in {0, known or number}
            if is_other and not accepts(accepted, Asks.FILESYSTEM):
                where = f"the folder on the {side.value} side"
                raise HaltedError(f"{where} is in another filesystem now", Asks.FILESYSTEM)
        self._remember(
            {s: k._replace(filesystem=now[s] or k.filesystem) for s, k in self.known.items()}
        )

    def check(self, sides: Sides, agreed: Tree, accepted: Asks | None) -> None:
        """Compare the roots of scanned sides with the known ones. Raises HaltedError, OSError."""
        for side, state in sides.items():
            if not accepts(accepted, Asks.ROOT):
                self._check_one(side, state, agreed)
        self._remember(
            {s: k._replace(identity=sides[s].identity or k.identity) for s, k in self.known.items()}
        )

    def _check_one(self, side: SyncSide, state: SideState, agreed: Tree) -> None:
        entries = state.tree.directories.size(ROOT)
        trouble = root_trouble(side.value, state.tree.root, agreed, entries)
        known, now = self.known[side].identity, state.identity
        if trouble is None and known and now and known != now:
            trouble = replaced_trouble(side.value, state.tree, agreed)
        if trouble is not None:
            raise HaltedError(trouble, Asks.ROOT)

    def _remember(self, known: dict[SyncSide, RootPlace]) -> None:
        if known == self.known:
            return
        self.known = known
        temporary = self._path.with_suffix(".tmp")
        lines = (f"{s.value} {k.filesystem} {k.identity.hex()}\n" for s, k in known.items())
        temporary.write_text("".join(lines), "ascii")
        temporary.replace(self._path)


def _from_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""
