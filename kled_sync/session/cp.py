"""A copy as cp(1) makes it: of a file or directory, or of several names in one directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from kled_sync.decide.modes import SyncSide
from kled_sync.decide.target import CpWish, name_of
from kled_sync.files.options import Options
from kled_sync.session.once import OneSync, Plan, Result, Wish
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.side import SideState
from kled_sync.session.transfers.transfer import SyncMeter
from kled_sync.tree.entry import Kind, TreeEntry
from kled_sync.tree.paths import ROOT
from kled_sync.tree.tree import is_or_is_below
from kled_wire.errors import (
    InputError,
    KledError,
    NotFoundError,
    ProtocolError,
    UnavailableError,
    from_status,
)

# All permissions but the special bits, times of directories too. What is replaced is not kept: a
# copy has no name by which an `undo` could mean it.
_AS_CP = Options(
    links="as-is",
    mode_mask=0o777,
    gitignore=False,
    durable="none",
    directory_times=True,
    keep=False,
    transient=True,
)


@dataclass(slots=True, kw_only=True)
class CpResult:
    """What is at the destination now, and what is not."""

    files: int = 0
    content_bytes: int = 0
    # The side that is to blame, the path there, and why.
    problems: list[tuple[SyncSide, bytes, str]] = field(default_factory=list)
    # Names that have to be copied by themselves: a link is followed at one of the ends.
    apart: list[bytes] = field(default_factory=list)


class CpSync(OneSync):
    """One copy between two peers whose `run` is going on."""

    def __init__(
        self, alpha: Peer, beta: Peer, cp: CpWish, here: SyncSide, meter: SyncMeter
    ) -> None:
        self._cp = cp
        wish = Wish(
            source=cp.source,
            destination=cp.destination,
            options=replace(_AS_CP, only=b"/".join(sorted(cp.names))),
            as_cp=True,
            here=here,
        )
        super().__init__(alpha, beta, wish, meter)
        self._apart: set[bytes] = set()

    async def copy(self) -> CpResult:
        """Raises KledError where nothing of it can be copied."""
        done = await self.run(_yes)
        found = CpResult(apart=sorted(self._apart))
        troubles = [(s.side or SyncSide.BETA, s.path, s.reason) for s in done.skipped]
        for failure in done.done.failures:
            side = SyncSide.ALPHA if failure.code == "read_failed" else SyncSide.BETA
            troubles.append((side, failure.action.path, failure.words))
        for side, path, words in troubles:
            root = self._sides[side].root
            found.problems.append((side, _below(root, path), words))
        for entry in self._arrived(done):
            found.files += 1
            found.content_bytes += entry.size
        return found

    def _arrived(self, done: Result) -> Iterator[TreeEntry]:
        """The files that were copied, or were there."""
        missing = {s.path for s in done.skipped} | {f.action.path for f in done.done.failures}
        for path, entry in self._sides[SyncSide.ALPHA].tree.walk():
            if entry.is_file and not any(is_or_is_below(path, above) for above in missing):
                yield entry

    async def _open_source(self, alpha: SideState) -> None:
        cp = self._cp
        options = replace(self._wish.options, follow=bool(cp.names or cp.followed))
        await _opened(alpha, cp.source, replace(options, reads_only=True))
        if alpha.facts.get("there") is not True:
            raise NotFoundError("file_not_found", f"{alpha.peer.name}: no such file or directory")
        if not cp.names and alpha.facts.get("directory") is True and not cp.recurse:
            raise _is_a_directory(alpha.peer.name)

    async def _open_target(self, alpha: SideState, beta: SideState) -> None:
        cp, is_directory = self._cp, alpha.facts.get("directory") is True
        into = b"" if cp.names else name_of(cp.source)
        follow = alpha.facts.get("link") is not True
        await _opened(beta, cp.destination, replace(self._wish.options, into=into, follow=follow))
        there = beta.facts.get("directory" if cp.names or not into else "inside") is True
        if not there and (cp.inside or (not is_directory and cp.destination.endswith(b"/"))):
            raise NotFoundError("file_not_found", f"{beta.peer.name} is not a directory")

    def _check(self) -> None:
        """Raises NotFoundError, InputError, ProtocolError, KledError("copy_failed")."""
        alpha = self._sides[SyncSide.ALPHA]
        root = alpha.tree.root
        if not self._cp.names:
            if root is not None and root.is_directory and not self._cp.recurse:
                raise _is_a_directory(alpha.peer.name)
            return
        if root is not None and root.is_frozen:
            words = root.tail.decode("utf-8", "replace")
            raise KledError("copy_failed", f"{alpha.peer.name}: {words}")
        source = alpha.tree.children(ROOT)
        # The list of a workspace is not trusted: scp had holes of this kind.
        if not source.keys() <= self._cp.names:
            raise ProtocolError("sync_message_refused", "names that were not asked for")
        for name in sorted(self._cp.names):
            self._check_source(name, source.get(name))
        self._set_apart()

    def _check_source(self, name: bytes, entry: TreeEntry | None) -> None:
        path = f"{self._sides[SyncSide.ALPHA].peer.name.rstrip('/')}/{os.fsdecode(name)}"
        if entry is None:
            raise NotFoundError("file_not_found", f"{path}: no such file or directory")
        if entry.is_directory and not self._cp.recurse:
            raise _is_a_directory(path)

    def _set_apart(self) -> None:
        """Take out of both trees the names at which one end has a link that is followed."""
        trees = [self._sides[side].tree for side in (SyncSide.ALPHA, SyncSide.BETA)]
        source, target = (tree.children(ROOT) for tree in trees)
        for name, entry in source.items():
            there = target.get(name)
            if entry.kind is Kind.LINK:
                apart = name in self._cp.followed
            else:
                apart = there is not None and there.kind is Kind.LINK
            if apart:
                self._apart.add(name)
        for name in self._apart:
            for tree in trees:
                tree.remove(name)


async def _opened(state: SideState, path: bytes, options: Options) -> None:
    """Raises KledError, which says whose it is."""
    try:
        await state.open(path, options)
    except KledError as exc:
        text = f"{state.peer.name}: {exc.message}"
        raise from_status(exc.status, exc.code, text, exc.hint) from exc
    if state.facts.get("names") is not True:
        raise UnavailableError(
            "copy_unknown",
            f"the kled at {state.peer.name} is too old for kled cp",
            hint="restart the workspace, or use scp",
        )


async def _yes(_plan: Plan) -> bool:
    return True


def _is_a_directory(name: str) -> InputError:
    return InputError(
        "is_a_directory", f"{name} is a directory", hint="kled cp -r copies directories"
    )


def _below(root: bytes, path: bytes) -> bytes:
    return root.rstrip(b"/") + b"/" + path if path else root
