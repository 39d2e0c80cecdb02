"""The background process that keeps all continuous syncs of this user going, and its socket.

A request is one line of JSON, with the version of who asks; so is its answer, and `monitor` answers
with a line for each change. Who is of another version is told so, and nothing else is done.
Only its owner reaches the socket: it is in a directory of mode 0700.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from kled_client.sync.apart import EarlierSyncs
from kled_client.sync.reach import Connect
from kled_client.sync.sessions import SessionStore, SyncSession, state_unusable
from kled_client.sync.supervise import Supervisor
from kled_sync.decide.modes import SyncSide
from kled_sync.session.continuous import ContinuousSync
from kled_sync.session.kept import Settle, history, undo, undo_on_both
from kled_sync.session.sides.side import Sides
from kled_sync.tree.paths import check_path
from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError
from kled_wire.private import make_private
from kled_wire.version import SOFTWARE_VERSION

LINE_BYTES_MAX: Final = 1024 * 1024
_Answer = dict[str, Any]
_T = TypeVar("_T")
ConnectAs = Callable[[str | None], Connect]


def of_another_version() -> UnavailableError:
    return UnavailableError(
        "sync_background_older",
        "the background process of the syncs is of another version of kled",
        hint="end `kled sync background`; the next kled sync starts it again",
    )


def socket_path(home: Path) -> Path:
    return home / "background.sock"


class Background:
    """All sessions, each with its supervisor while it is not paused."""

    def __init__(self, home: Path, env: Mapping[str, str], connect_as: ConnectAs) -> None:
        self._home, self._env, self._connect_as = home, env, connect_as
        self._store = SessionStore(home)
        self._running: dict[str, tuple[Supervisor, trio.CancelScope, trio.Event]] = {}
        self._nursery: trio.Nursery | None = None
        # Set when a sync begins again, or is stopped.
        self._begun = trio.Event()
        # Only one request at a time may open the folders of a paused or halted sync.
        self._opening = trio.Lock()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the syncs until cancelled. Raises ConflictError("sync_background_runs")."""
        make_private(self._home)
        with only_one(self._home):
            # A client that connects while the syncs end would get no answer, so the socket is
            # removed first.
            async with trio.open_nursery() as nursery, _listening(socket_path(self._home)) as sock:
                self._nursery = nursery
                for name in self._store.names():
                    with suppress(KledError):
                        session = self._store.load(name)
                        if not session.paused:
                            self._begin(session)
                task_status.started()
                await trio.serve_listeners(self._serve, [trio.SocketListener(sock)])

    def _supervisor_of(self, session: SyncSession, *, accept: bool = False) -> Supervisor:
        return Supervisor(
            session,
            self._store.directory(session.name),
            self._env,
            self._connect_as(session.profile),
            accept=accept,
            check=EarlierSyncs(self._store).check,
        )

    def _begin(self, session: SyncSession, *, accept: bool = False) -> None:
        supervisor = self._supervisor_of(session, accept=accept)
        scope, ended = trio.CancelScope(), trio.Event()
        self._running[session.name] = supervisor, scope, ended

        async def keep() -> None:
            try:
                with scope:
                    await supervisor.run()
            finally:
                ended.set()

        assert self._nursery is not None
        self._nursery.start_soon(keep)
        self._tell()

    def _tell(self) -> None:
        """Let those that follow a paused sync look again."""
        self._begun.set()
        self._begun = trio.Event()

    async def _end(self, name: str) -> None:
        found = self._running.pop(name, None)
        if found is not None:
            supervisor, scope, ended = found
            scope.cancel()
            await ended.wait()
            supervisor.end()

    # --- requests

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                line = await _read_line(stream)
                if line:
                    await self._answer(stream, line)

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        try:
            asked = json.loads(line)
            if asked["version"] != SOFTWARE_VERSION:
                raise of_another_version()
            request = asked["request"]
            do = self._requests[request["do"]]
            if do is Background._monitor:
                await self._stream_changes(stream, request)
                return
            answer = await do(self, request)
        except KledError as exc:
            answer = _refusal(exc)
        except OSError as exc:
            answer = _refusal(state_unusable(exc))
        except (ValueError, KeyError, TypeError) as exc:
            answer = {"error": {
                "status": 422, "code": "sync_request_refused", "message": repr(exc), "hint": None,
            }}  # fmt: skip
        await stream.send_all(json.dumps(answer).encode() + b"\n")

    def _supervisor(self, name: str) -> Supervisor:
        """Raises KledError."""
        found = self._running.get(name)
        if found is not None:
            return found[0]
        self._store.load(name)
        raise UnavailableError(
            "sync_not_running", f"{name} is paused", hint=f"kled sync resume {name}"
        )

    async def _with_sides(
        self,
        name: str,
        work: Callable[[Sides, Settle | None], Awaitable[_T]],
        *,
        again: bool = False,
    ) -> _T:
        """`work` on those of the running sync, which it may let settle; opened for it where that is
        paused or halted. `again` as `Supervisor.with_sync` has it.
        """
        found = self._running.get(name)
        if found is not None and found[0].state.phase != "halted":
            running = found[0]
            return await running.with_sync(lambda s: work(s.sides, s.flush), again=again)
        supervisor = self._supervisor_of(self._store.load(name))
        async with self._opening, supervisor.opened() as sides:
            return await work(sides, None)

    async def _start(self, request: _Answer) -> _Answer:
        session = replace(SyncSession(**request["session"]), began_s=time.time())
        self._store.add(session)
        self._begin(session)
        supervisor = self._running[session.name][0]
        try:
            await supervisor.begun()
        except KledError as exc:
            await self._end(session.name)
            self._store.remove(session.name)
            if exc.code == "sync_root_busy":  # nobody can stop or resume what has not begun
                exc.hint = "kled sync list shows those of this machine"
            raise
        return supervisor.status()

    async def _list(self, _request: _Answer) -> _Answer:
        rows = []
        for name in self._store.names():
            try:
                rows.append(self._status_of(name))
            except KledError as exc:
                rows.append({"name": name, "state": "damaged", "reason": exc.message})
        return {"syncs": rows}

    def _status_of(self, name: str) -> _Answer:
        found = self._running.get(name)
        if found is not None:
            return found[0].status()
        session = self._store.load(name)
        return {
            "name": name, "alpha": session.alpha, "beta": session.beta, "mode": session.mode,
            "attributes": session.attribute_words(),
            "state": "paused", "reason": "", "hint": f"kled sync resume {name}",
        }  # fmt: skip

    async def _status(self, request: _Answer) -> _Answer:
        return self._status_of(request["name"])

    async def _pause(self, request: _Answer) -> _Answer:
        session = self._store.load(request["name"])
        self._store.save(replace(session, paused=True))
        await self._end(session.name)
        return self._status_of(session.name)

    async def _resume(self, request: _Answer) -> _Answer:
        async with self._opening:
            session = replace(self._store.load(request["name"]), paused=False)
            self._store.save(session)
            await self._end(session.name)
            self._begin(session, accept=request.get("accept") is True)
        return self._status_of(session.name)

    async def _reset(self, request: _Answer) -> _Answer:
        session = self._store.load(request["name"])
        await self._end(session.name)
        self._store.forget_agreed(session.name)
        return await self._resume(request)

    async def _stop(self, request: _Answer) -> _Answer:
        name = self._store.load(request["name"]).name
        await self._end(name)
        self._store.remove(name)
        self._tell()
        return {"name": name, "state": "stopped"}

    async def _flush(self, request: _Answer) -> _Answer:
        supervisor = self._supervisor(request["name"])
        await supervisor.with_sync(ContinuousSync.flush, again=True)
        return supervisor.status()

    async def _resolve(self, request: _Answer) -> _Answer:
        path, side = check_path(os.fsencode(request["path"])), SyncSide(request["side"])
        supervisor = self._supervisor(request["name"])
        return {"changed": await supervisor.with_sync(lambda sync: sync.resolve(path, side))}

    async def _undo(self, request: _Answer) -> _Answer:
        path = check_path(os.fsencode(request["path"]))
        since_s = float(request.get("since_s") or 0)
        purge = request.get("purge") is True
        if not purge:
            _check_since(self._store.load(request["name"]), since_s)

        async def work(sides: Sides, settle: Settle | None) -> dict[SyncSide, list[bytes]]:
            if not purge:
                return await undo_on_both(sides, path, since_s=since_s, settle=settle)
            return {
                side: await undo(state, path, since_s=0, purge=True)
                for side, state in sides.items()
            }

        done = await self._with_sides(request["name"], work)
        found = {side.value: [os.fsdecode(name) for name in names] for side, names in done.items()}
        return {"undone": found}

    async def _history(self, request: _Answer) -> _Answer:
        path = check_path(os.fsencode(request["path"]))

        async def work(sides: Sides, _settle: Settle | None) -> list[_Answer]:
            return [
                {"side": side.value, **row}
                for side, state in sides.items()
                for row in await history(state, path)
            ]

        rows = await self._with_sides(request["name"], work, again=True)
        return {"versions": sorted(rows, key=lambda row: -row["at"])}

    async def _monitor(self, _request: _Answer) -> _Answer:
        return {}

    async def _stream_changes(self, stream: trio.SocketStream, request: _Answer) -> None:
        """A line for each change and each change of state, until nobody reads.

        Raises NotFoundError when the sync was stopped.
        """
        name, state = request["name"], ""
        supervisor = self._supervisor(name)
        seen = supervisor.total
        while True:
            found = self._running.get(name)
            if found is not None and found[0] is not supervisor:
                supervisor, seen = found[0], 0
            news = supervisor.changed if found is not None else self._begun
            status = self._status_of(name)
            if status["state"] != state:
                state = status["state"]
                await stream.send_all(json.dumps({"event": "state", **status}).encode() + b"\n")
            for line in supervisor.since(seen):
                await stream.send_all(json.dumps(line).encode() + b"\n")
            seen = supervisor.total
            await news.wait()

    _requests: Final[dict[str, Callable[[Background, _Answer], Awaitable[_Answer]]]] = {
        "start": _start, "list": _list, "status": _status, "pause": _pause, "resume": _resume,
        "reset": _reset, "stop": _stop, "flush": _flush, "resolve": _resolve, "undo": _undo,
        "history": _history, "monitor": _monitor,
    }  # fmt: skip


def _refusal(error: KledError) -> _Answer:
    return {"error": {
        "status": error.status, "code": error.code, "message": error.message, "hint": error.hint,
    }}  # fmt: skip


def _check_since(session: SyncSession, since_s: float) -> None:
    """What the first copy made would be removed, and then the originals. Raises InputError."""
    if 0 < since_s < session.began_s:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.began_s))
        raise InputError(
            "sync_undo_too_early",
            f"{session.name} began at {began}, and knows nothing from before",
            hint=f"a time since then; kled sync history {session.name} lists what is kept",
        )


async def _read_line(stream: trio.SocketStream) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < LINE_BYTES_MAX:
        part = await stream.receive_some(LINE_BYTES_MAX)
        if not part:
            break
        data += part
    return bytes(data)


@asynccontextmanager
async def _listening(path: Path) -> AsyncIterator[trio.socket.SocketType]:
    listener = _bound(path)
    sock = trio.socket.from_stdlib_socket(listener)
    try:
        yield sock
    finally:
        sock.close()
        await trio.Path(path).unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket's address has at most 107 bytes (unix(7)), a state directory may be longer.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(short_name(directory, path))
    finally:
        os.close(directory)
    listener.listen()
    return listener


def short_name(directory: int, path: Path) -> str:
    """The socket by a descriptor of its directory where the system has such names."""
    short = f"/proc/self/fd/{directory}/{path.name}"
    return short if Path("/proc/self/fd").is_dir() else str(path)


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Raises ConflictError("sync_background_runs")."""
    descriptor = os.open(home / "background.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ConflictError(
                "sync_background_runs", "the background process of the syncs runs already"
            ) from exc
        yield
    finally:
        os.close(descriptor)
