"""One continuous sync, begun again whenever a side is lost, until it is paused or halts."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from kled_client.report import only_cause
from kled_client.sync.apart import Roots
from kled_client.sync.itemize import event
from kled_client.sync.place import SyncPlace
from kled_client.sync.reach import Connect, open_peer
from kled_client.sync.sessions import SyncSession, state_unusable
from kled_sync.decide.modes import Mode, SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.session.continuous import ContinuousSync, SyncWish
from kled_sync.session.halting import Asks, HaltedError
from kled_sync.session.sides.side import Sides, SideState
from kled_sync.tree.paths import shown
from kled_sync.tree.tree import Tree
from kled_wire.errors import KledError, UnavailableError

_RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# A connection that was good for so long starts the waits anew.
_GOOD_S: Final = 60.0
# `kled sync start` tells of no more than what came until then.
_BEGIN_S: Final = 15.0
# What is asked of a sync waits for it to come up, or back: so long in total.
_AWAY_S: Final = 60.0
# The errors of a side that was lost, and may come back; the phases that nothing comes back from.
_LOST: Final = ("sync_connection_lost", "sync_not_running")
_ENDED: Final = ("halted", "paused")
# The errors of a side that is there, and of which people have to mend something.
_UNUSABLE: Final = ("sync_staging_unusable", "sync_state_unusable")
# The file with what a halted sync asks about: that alone is accepted.
_HALTED: Final = "halted"
_RECENT: Final = 200
_LOG_BYTES_MAX: Final = 8 * 1024 * 1024
_SHOWN_MAX: Final = 200
# What an endpoint does for one request takes this long where something is wrong, or much is there.
_SILENT_S: Final = 10
_T = TypeVar("_T")


@dataclass(slots=True, kw_only=True)
class SyncState:
    """Where a sync is: `running`, `connecting`, `waiting`, `paused` or `halted`, and why."""

    phase: str = "connecting"
    reason: str = ""
    hint: str = ""


class Supervisor:
    """Keeps one session going; `run` until cancelled, paused or halted."""

    def __init__(
        self,
        session: SyncSession,
        directory: Path,
        env: Mapping[str, str],
        connect: Connect,
        *,
        accept: bool = False,
        check: Callable[[SyncSession, Roots | None], None],
    ) -> None:
        """`check` raises KledError where the sync is not to run, given its roots once known."""
        self.session, self._check = session, check
        self.state = SyncState()
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT)
        # How many changes there were.
        self.total = 0
        self.changed = trio.Event()
        self._directory, self._env, self._connect = directory, env, connect
        self._accept = self._asked() if accept else None
        self.sync: ContinuousSync | None = None
        # Why it has halted, or waits.
        self.error: KledError | None = None

    async def run(self) -> None:
        """Run the sync until cancelled or halted."""
        tries = 0
        while True:
            began = trio.current_time()
            try:
                await self._once()
            except (BaseExceptionGroup, KledError, OSError) as exc:
                explained = _explained(exc)
                if explained is None:
                    raise
                error = explained
            finally:
                self.sync = None
            self.error = error
            if not isinstance(error, UnavailableError):
                self._halt(error)
                return
            if trio.current_time() - began > _GOOD_S:
                tries = 0
            self._set("waiting", error)
            await trio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1

    async def _once(self) -> None:
        """Raises KledError when it is over; never returns."""
        self.state = SyncState()
        alpha, beta = self.session.places()
        self._check(self.session, None)
        async with (
            open_peer(alpha, str(alpha), self._env, self._connect) as first,
            open_peer(beta, str(beta), self._env, self._connect) as second,
        ):
            sync = ContinuousSync(
                {SyncSide.ALPHA: first, SyncSide.BETA: second},
                self._wish(alpha, beta),
                self._directory / "agreement",
                log=self._log,
                found=self._found,
                accept=self._accept,
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(sync.run)
                self._accept = None
                (self._directory / _HALTED).unlink(missing_ok=True)
                self.sync, self.error = sync, None
                self.state = SyncState(phase="running")
                self.tell()
        raise UnavailableError("sync_connection_lost", "the sync has ended")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[dict[SyncSide, SideState]]:
        """Both folders as they are, of a sync that does not go on. Raises KledError."""
        alpha, beta = self.session.places()
        wish = self._wish(alpha, beta)
        try:
            async with (
                open_peer(alpha, str(alpha), self._env, self._connect) as first,
                open_peer(beta, str(beta), self._env, self._connect) as second,
            ):
                sides = {
                    SyncSide.ALPHA: SideState(first, Tree()),
                    SyncSide.BETA: SideState(second, Tree()),
                }
                for state, path in zip(sides.values(), (wish.alpha, wish.beta), strict=True):
                    await state.open(path, wish.options)
                    await state.scan(everywhere=True)
                yield sides
        except BaseExceptionGroup as exc:
            error = _explained(exc)
            if error is None:
                raise
            raise error from exc

    def _wish(self, alpha: SyncPlace, beta: SyncPlace) -> SyncWish:
        both_here = alpha.is_here and beta.is_here
        here = SyncSide.ALPHA if alpha.is_here else SyncSide.BETA
        return SyncWish(
            alpha=os.fsencode(alpha.path),
            beta=os.fsencode(beta.path),
            mode=Mode(self.session.mode),
            options=self.session.options(self._identity()),
            here=None if both_here else here,
            attributes=self.session.attributes(),
        )

    def _found(self, sides: Sides) -> None:
        self._check(self.session, {side: state.root for side, state in sides.items()})

    def _halt(self, error: KledError) -> None:
        if isinstance(error, HaltedError):
            (self._directory / _HALTED).write_text(error.asks, "ascii")
        elif error.code == "sync_root_moved":  # which an endpoint says of what is mounted there
            (self._directory / _HALTED).write_text(Asks.FILESYSTEM, "ascii")
        self._set("halted", error)

    def _asked(self) -> Asks | None:
        """What the sync has halted for, perhaps in an earlier process."""
        with suppress(FileNotFoundError, ValueError):
            return Asks((self._directory / _HALTED).read_text("ascii"))
        return None

    def _identity(self) -> str:
        """The same after each restart, and nobody else's."""
        path = self._directory / "identity"
        with suppress(FileNotFoundError):
            return path.read_text("ascii")
        path.write_text(os.urandom(16).hex(), "ascii")
        return path.read_text("ascii")

    def _set(self, phase: str, error: KledError) -> None:
        self.state = SyncState(phase=phase, reason=error.message, hint=error.hint or "")
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for `changed`."""
        self.changed.set()
        self.changed = trio.Event()

    def _log(self, changes: list[PathChange]) -> None:
        """Who changed what, and when: a JSON object a line."""
        now = round(time.time(), 3)
        lines = [{"at": now, **event(c), "by": c.side.other.value} for c in changes]
        self._recent.extend(lines)
        self.total += len(lines)
        path = self._directory / "changes.log"
        with suppress(OSError):
            if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
            with path.open("a", encoding="utf-8") as log:
                log.writelines(json.dumps(line) + "\n" for line in lines)
        self.tell()

    def since(self, total: int) -> list[dict[str, Any]]:
        """The changes behind the first `total`, as far as they are remembered."""
        count = min(self.total - total, len(self._recent))
        return list(self._recent)[len(self._recent) - count :]

    async def begun(self) -> None:
        """Wait until both sides were opened, or could not be, or take long. Raises KledError where
        one is refused; a halt that asks is none.
        """
        with trio.move_on_after(_BEGIN_S):
            while self.state.phase == "connecting":
                await self.changed.wait()
        error = self.error
        if error is not None and not isinstance(error, HaltedError) and self._is_over:
            raise error

    @property
    def _is_over(self) -> bool:
        """Whether it is not worth waiting for, though it may be tried again."""
        is_unusable = self.error is not None and self.error.code in _UNUSABLE
        return self.state.phase in _ENDED or is_unusable

    def end(self) -> None:
        """Tell of the end of `run`, which was cancelled or has halted."""
        self.state = SyncState(phase="paused")
        self.tell()

    async def with_sync(
        self, work: Callable[[ContinuousSync], Awaitable[_T]], *, again: bool = False
    ) -> _T:
        """What `work` returns, of the sync once it is up. Raises KledError; also where the sync
        ends before `work` does, which then is cancelled: an endpoint may never answer it.

        `again`: it is done again, from its beginning, when a side that was lost has come back.
        """
        left_s, lost = _AWAY_S, None
        while True:
            began = trio.current_time()
            sync = await self._running(left_s, lost)
            left_s -= trio.current_time() - began
            try:
                return await self._work_on(sync, work)
            except UnavailableError as exc:
                if not again or exc.code not in _LOST:
                    exc.hint = exc.hint or f"kled sync status {self.session.name}"
                    raise
            lost = sync

    async def _work_on(
        self, sync: ContinuousSync, work: Callable[[ContinuousSync], Awaitable[_T]]
    ) -> _T:
        """`with_sync` of a sync that is up."""
        found: list[_T] = []
        error: KledError | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while self.sync is sync:
                    await self.changed.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                found.append(await work(sync))
            except KledError as exc:
                error = exc
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
        if not found:
            raise self._not_running()
        return found[0]

    async def _running(self, wait_s: float, lost: ContinuousSync | None) -> ContinuousSync:
        """The sync that is up within `wait_s`, and is not `lost`. Raises KledError."""
        with trio.move_on_after(wait_s):
            while self.sync is None or self.sync is lost:
                if self._is_over:
                    break
                await self.changed.wait()
        if self.sync is None or self.sync is lost:
            raise self._not_running()
        return self.sync

    def _not_running(self) -> UnavailableError:
        state, name = self.state, self.session.name
        reason = f": {state.reason}" if state.reason else ""
        command = "resume" if state.phase in _ENDED else "status"
        return UnavailableError(
            "sync_not_running",
            f"{name} is {state.phase}{reason}",
            hint=state.hint or f"kled sync {command} {name}",
        )

    def status(self) -> dict[str, Any]:
        """For people and programs: problems and conflicts first."""
        session, sync = self.session, self.sync
        found: dict[str, Any] = {
            "name": session.name,
            "alpha": session.alpha,
            "beta": session.beta,
            "mode": session.mode,
            "attributes": session.attribute_words(),
            "state": self.state.phase,
            "reason": self.state.reason,
            "hint": self.state.hint,
        }
        if sync is not None:
            found |= _figures(sync)
        return found


def _explained(exc: BaseException) -> KledError | None:
    """What ended a sync, for people; None for a bug."""
    cause = only_cause(exc)
    if isinstance(cause, OSError):
        # The disk of what is remembered here, most likely: it is tried again.
        return state_unusable(cause)
    return cause if isinstance(cause, KledError) else None


def _figures(sync: ContinuousSync) -> dict[str, Any]:
    health, meter = sync.health, sync.meter
    conflicts, problems = health.all_conflicts(), health.all_problems()
    watching = {
        side.value: {
            "how": state.watching.how if state.watching is not None else "sweeps",
            "words": state.watching.words if state.watching is not None else "",
            "overflow": state.watching.overflow if state.watching is not None else "",
            "missed": state.missed,
            "entries": state.entries,
            "linked": state.linked,
        }
        for side, state in sync.sides.items()
    }
    return {
        "doing": ", ".join([health.phase, *_silent(sync.sides)]),
        "conflicts": _rows(conflicts),
        "conflicts_total": len(conflicts),
        "problems": _rows(problems),
        "problems_total": len(problems),
        "lacking_total": len(health.all_lacking()),
        "changes_total": health.changes,
        "in_flight": len(sync.transfer.in_flight),
        "bytes_done": meter.done_bytes,
        "bytes_total": meter.total_bytes,
        "sides": watching,
    }


def _silent(sides: Sides) -> list[str]:
    """Which sides have not answered for long: they may hang, or look at a large folder."""
    waits = ((side.value, int(state.peer.silent_s())) for side, state in sides.items())
    return [f"{side} has not answered for {s} s" for side, s in waits if s >= _SILENT_S]


def _rows(found: dict[bytes, str]) -> list[dict[str, str]]:
    first = sorted(found.items())[:_SHOWN_MAX]
    return [{"path": shown(path), "reason": reason} for path, reason in first]
