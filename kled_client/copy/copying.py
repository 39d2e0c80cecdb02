"""Carries out `kled cp`: over one connection, one copy after the other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kled_client.copy.plan import CopyPlan, copies, copy_of
from kled_client.sync.place import SyncPlace
from kled_client.sync.reach import open_peer
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.target import CpWish
from kled_sync.session.cp import CpResult, CpSync
from kled_sync.session.transfers.transfer import SyncMeter
from kled_sync.tree.paths import join, shown
from kled_wire.errors import KledError
from kled_wire.names import WorkspaceRef

if TYPE_CHECKING:
    import asyncssh


@dataclass(kw_only=True)
class Copying:
    """One `kled cp`: what was copied, and what was not."""

    plan: CopyPlan
    recurse: bool
    env: Mapping[str, str]
    meter: SyncMeter = field(default_factory=SyncMeter)
    files: int = 0
    content_bytes: int = 0
    problems: list[KledError] = field(default_factory=list)

    async def run(self, connection: asyncssh.SSHClientConnection) -> None:
        """Raises KledError where a source or the target is not there, or the connection ends."""
        sources = [_literal(source, here=self.plan.upload) for source in self.plan.sources]
        target = _literal(self.plan.target, here=not self.plan.upload)
        left = copies(sources, target, recurse=self.recurse)
        while left:
            wish = left.pop(0)
            done = await self._copy(connection, wish)
            self.files += done.files
            self.content_bytes += done.content_bytes
            self.problems += [self._problem(*problem) for problem in done.problems]
            left += [
                copy_of(
                    join(wish.source.rstrip(b"/"), name) + (b"/" if name in wish.followed else b""),
                    wish.destination,
                    recurse=self.recurse,
                    inside=True,
                )
                for name in done.apart
            ]

    async def _copy(self, connection: asyncssh.SSHClientConnection, wish: CpWish) -> CpResult:
        source = self._place(wish.source, SyncSide.ALPHA)
        target = self._place(wish.destination, SyncSide.BETA)

        def connect(_workspace: WorkspaceRef) -> nullcontext[asyncssh.SSHClientConnection]:
            return nullcontext(connection)

        async with (
            open_peer(source, str(source), self.env, connect) as alpha,
            open_peer(target, str(target), self.env, connect) as beta,
        ):
            here = SyncSide.ALPHA if self.plan.upload else SyncSide.BETA
            return await CpSync(alpha, beta, wish, here, self.meter).copy()

    def _is_far(self, side: SyncSide) -> bool:
        return self.plan.upload is (side is SyncSide.BETA)

    def _place(self, path: bytes, side: SyncSide) -> SyncPlace:
        return SyncPlace(
            path=os.fsdecode(path), workspace=self.plan.workspace if self._is_far(side) else None
        )

    def _problem(self, side: SyncSide, path: bytes, words: str) -> KledError:
        above = f"{self.plan.workspace}:" if self._is_far(side) else ""
        return KledError("copy_failed", f"{above}{shown(path)}: {words}")


def _literal(path: str, *, here: bool) -> bytes:
    """As an endpoint is to take it: here the shell has expanded what was to be expanded."""
    return os.fsencode(f"./{path}" if here and path.startswith("~") else path)
