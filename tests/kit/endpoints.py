"""Endpoints of a sync in threads of this process, on pipes: as quick as a test wants to be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from kled_client.sync.copy import AS_RSYNC
from kled_sync.decide.attributes import NOTHING, AttributeWish
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.reporting import Choose
from kled_sync.endpoint.serving import Hold, run_endpoint
from kled_sync.files.options import Options
from kled_sync.session.continuous import ContinuousSync, SyncWish
from kled_sync.session.halting import Asks
from kled_sync.session.once import OneSync, Plan, Result, Wish
from kled_sync.session.sides.peer import Peer
from kled_sync.session.sides.streams import PipeStream
from kled_sync.session.transfers.transfer import SyncMeter
from kled_sync.watching.choice import open_watcher


class NoStream:
    """A byte stream of a peer to which nothing is said."""

    async def receive_into(self, space: memoryview) -> int:
        raise NotImplementedError

    async def send_all(self, data: bytes | memoryview) -> None:
        raise NotImplementedError


class Pipes(PipeStream):
    """Both directions of one endpoint."""

    def __init__(self, hold: Hold = HeldRoot, choose: Choose = open_watcher) -> None:
        self.hold, self.choose = hold, choose
        theirs, self.to = os.pipe()
        self.out, ours = os.pipe()
        self.ends = (theirs, ours)
        self.reader = trio.lowlevel.FdStream(self.out)
        self.writer = trio.lowlevel.FdStream(self.to)
        super().__init__(trio.StapledStream(self.writer, self.reader))

    def serve(self, env: dict[str, str]) -> None:
        try:
            run_endpoint(*self.ends, env, self.hold, self.choose)
        finally:
            for end in self.ends:
                os.close(end)

    async def aclose(self) -> None:
        await self.writer.aclose()
        with trio.move_on_after(5):
            while await self.reader.receive_some():
                pass
        await self.reader.aclose()


@asynccontextmanager
async def two_peers(
    state: Path,
    holds: dict[SyncSide, Hold] | None = None,
    watchers: dict[SyncSide, Choose] | None = None,
) -> AsyncIterator[dict[SyncSide, Peer]]:
    """Both ends up; their state is in `state`. `holds`: what opens a side's root otherwise;
    `watchers`: what watches it.
    """
    async with trio.open_nursery() as nursery:
        pipes = {
            side: Pipes((holds or {}).get(side, HeldRoot), (watchers or {}).get(side, open_watcher))
            for side in SyncSide
        }
        peers = {side: Peer(side.value, pipes[side]) for side in SyncSide}
        for side in SyncSide:
            env = {"XDG_STATE_HOME": str(state / "state")}
            nursery.start_soon(trio.to_thread.run_sync, pipes[side].serve, env)
        try:
            async with trio.open_nursery() as reading:
                for peer in peers.values():
                    reading.start_soon(peer.run)
                yield peers
                reading.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                for pair in pipes.values():
                    await pair.aclose()


async def copy_once(
    state: Path,
    source: Path,
    target: Path,
    *,
    delete: bool = False,
    options: Options = AS_RSYNC,
    here: SyncSide | None = None,
    plans: list[Plan] | None = None,
    yes: bool = True,
    attributes: AttributeWish = NOTHING,
    meanwhile: Callable[[], None] = lambda: None,
    holds: dict[SyncSide, Hold] | None = None,
    contents: bool = True,
    meter: SyncMeter | None = None,
) -> tuple[Result, dict[SyncSide, Peer]]:
    """`kled sync push`, between two folders of this machine; `meanwhile` is called when it is
    known what is to be done. `contents`: of a folder what is in it goes to the target.
    """

    async def confirm(plan: Plan) -> bool:
        if plans is not None:
            plans.append(plan)
        meanwhile()
        return yes

    slash = b"/" if contents and source.is_dir() else b""
    wish = Wish(
        source=os.fsencode(source) + slash,
        destination=os.fsencode(target),
        options=options,
        delete=delete,
        attributes=attributes,
        preview=plans is not None,
        here=here,
    )
    async with two_peers(state, holds) as peers:
        sync = OneSync(peers[SyncSide.ALPHA], peers[SyncSide.BETA], wish, meter or SyncMeter())
        result = await sync.run(confirm)
    return result, peers


def content(root: Path) -> dict[str, object]:
    """All below `root`: links as what they say, files as bytes and executable bit."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = "directory"
        elif path.is_file():
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@asynccontextmanager
async def kept_same(
    state: Path,
    alpha: Path,
    beta: Path,
    mode: Mode = Mode.TWO_WAY_SAFE,
    options: Options | None = None,
    *,
    accept: Asks | None = None,
    holds: dict[SyncSide, Hold] | None = None,
    watchers: dict[SyncSide, Choose] | None = None,
    here: SyncSide | None = None,
    attributes: AttributeWish = NOTHING,
) -> AsyncIterator[ContinuousSync]:
    """A continuous sync of two folders of this machine, looking by itself until the block ends."""
    wish = SyncWish(
        alpha=os.fsencode(alpha),
        beta=os.fsencode(beta),
        mode=mode,
        options=options or Options(durable="none"),
        here=here,
        attributes=attributes,
    )
    async with two_peers(state, holds, watchers) as peers, trio.open_nursery() as nursery:
        sync = ContinuousSync(peers, wish, state / "session", accept=accept)
        await nursery.start(sync.run)
        yield sync
        nursery.cancel_scope.cancel()
