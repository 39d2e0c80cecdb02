"""The process that holds one named session, so that it outlives every client and the agent.

It owns the terminal and the shell's process, always reads what the terminal writes into a bounded
ring (ring.py), and serves the socket in its directory (frames.py). One loop, no threads, the
standard library only: it stays small and has little that could fail. Started by directory.py with
a job on standard input; says one line of JSON when the session is there or cannot be.

In its directory: `holder.json` who it is, `s` the socket, `output` the ring. The directory is its
cwd, so a rename moves nothing, and a removed one ends the session.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from kled_agent.descendants import become_reaper, kill_descendants, start_mark
from kled_agent.sessions.ending import told_status
from kled_agent.sessions.holder.client import AttachedClient
from kled_agent.sessions.holder.frames import (
    Attach,
    Attached,
    Done,
    Ended,
    Frame,
    FrameError,
    Input,
    Kill,
    ReadLog,
    Refused,
    Rename,
    Resize,
    SendSignal,
    SessionStatus,
    Stat,
    encode,
)
from kled_agent.sessions.holder.lifetime import Lifetime, decide_size
from kled_agent.sessions.holder.picture import Pictures
from kled_agent.sessions.holder.ring import Ring
from kled_agent.sessions.holder.shell import (
    HANGUP_S,
    ShellJob,
    foreground_program,
    start_shell,
)
from kled_agent.sessions.terminal import foreground, set_size, signal_group
from kled_wire.screenmodes import ScreenModes

RECORD, SOCKET, OUTPUT, AGENT_LOCK = "holder.json", "s", "output", "agent.lock"
# Of one round's reads: keys that came meanwhile wait for so much output at most.
ROUND_BYTES: Final = 64 * 1024
READ_BYTES: Final = 16 * 1024
INPUT_BYTES: Final = 256 * 1024
# How long clients get to take the rest when the session is over.
LINGER_S: Final = 5.0
QUIET_S: Final = 0.1
REST_BYTES: Final = 1024 * 1024
CLIENTS: Final = 64
# A program redraws only when the size has really changed when it looks.
NUDGE_S: Final = 0.12
SEND_BUFFER_BYTES: Final = 4 * 1024


class Holder:
    """The session's state and its loop."""

    def __init__(
        self, job: dict[str, Any], shell: tuple[int, int], listener: socket.socket
    ) -> None:
        self.name: str = job["name"]
        self._policy = job["size_policy"]
        terminal = job["shell"]["terminal"]
        self._columns, self._rows = terminal["columns"], terminal["rows"]
        self._shell, self._terminal = shell
        self._listener = listener
        self._ring = Ring(Path(OUTPUT), job["ring_bytes"])
        self._modes = ScreenModes()
        self._lifetime = Lifetime(
            idle_s=job["idle_s"], orphan_s=job["orphan_s"], now=time.monotonic()
        )
        self._tick_s: float = job["tick_s"]
        self._clients: dict[socket.socket, AttachedClient] = {}
        self._input = bytearray()
        self._created_at = self._active_at = time.time()
        self._actions = 0
        self._ended: Ended | None = None
        self._reason = ""
        self._timers: list[tuple[float, Any]] = []
        self._selector = selectors.DefaultSelector()
        self._pictures = Pictures(self._selector)
        self._over = False

    # --- the loop

    def run(self) -> None:
        """Serve until the session is over and everybody was told."""
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        self._selector.register(woken, selectors.EVENT_READ, self._on_signals)
        self._selector.register(self._listener, selectors.EVENT_READ, self._on_connection)
        self._selector.register(self._terminal, selectors.EVENT_READ, self._on_terminal)
        self._after(self._tick_s, self._tick)
        self._reap()
        while not self._over:
            # Clients first: a key must not wait for the flood that it is to stop.
            ready = self._selector.select(self._wait_s())
            for key, mask in sorted(ready, key=lambda pair: pair[0].fileobj == self._terminal):
                if key.fileobj in self._watched():
                    key.data(key.fileobj, mask)
            self._run_timers()
            self._serve_clients()

    def _watched(self) -> Any:
        """Handlers may have closed what was ready a moment ago."""
        return {key.fileobj for key in self._selector.get_map().values()}

    def _wait_s(self) -> float:
        return max(0.0, min(at for at, _ in self._timers) - time.monotonic())

    def _after(self, seconds: float, action: Any) -> None:
        self._timers.append((time.monotonic() + seconds, action))

    def _run_timers(self) -> None:
        now = time.monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, action in due:
            action()

    def _tick(self) -> None:
        self._after(self._tick_s, self._tick)
        now = time.monotonic()
        if any(c.attached for c in self._clients.values()):
            self._lifetime.used(now)
        if _agent_is_there():
            self._lifetime.agent_seen(now)
        if not os.path.exists(SOCKET):  # noqa: PTH110 - the cwd, which may be gone
            self._end("its directory was removed")
        elif reason := self._lifetime.over(now):
            self._end(reason)

    # --- the shell and its terminal

    def _on_signals(self, woken: socket.socket, _mask: int) -> None:
        numbers = woken.recv(4096)
        if signal.SIGTERM in numbers:
            self._end("the workspace stops")
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._shell and self._ended is None:
                    self._shell_ended(os.waitstatus_to_exitcode(status))

    def _shell_ended(self, code: int) -> None:
        status, name = told_status(code)
        self._read_rest()
        self._ended = Ended(code=status, signal=name, reason=self._reason)
        if self._reason:
            kill_descendants()
        self._unwatch_terminal()
        # The name is free for the next from now on; who is attached still gets the rest.
        remove_files(self.name)
        self._after(LINGER_S, self._leave)

    def _leave(self) -> None:
        self._over = True

    def _read_rest(self) -> None:
        """What the terminal still holds; a program in the background may write for ever."""
        left = REST_BYTES
        while left > 0:
            if not _readable(self._terminal, QUIET_S):
                return
            data = self._read_terminal()
            if not data:
                return
            left -= len(data)

    def _on_terminal(self, _terminal: int, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._write_input()
        if mask & selectors.EVENT_READ:
            self._read_terminal()

    def _read_terminal(self) -> bytes:
        """Take what there is, up to ROUND_BYTES: the kernel gives at most 4 KiB at a time."""
        parts: list[bytes] = []
        try:
            while len(parts) < ROUND_BYTES // 4096:
                parts.append(os.read(self._terminal, READ_BYTES))
        except BlockingIOError:
            pass
        except OSError:  # EIO: every program has closed it; the shell's end is told by SIGCHLD
            self._unwatch_terminal()
        data = b"".join(parts)
        if not data:
            return data
        self._ring.append(data)
        self._modes.feed(data)
        self._active_at = time.time()
        self._lifetime.used(time.monotonic())
        return data

    def _unwatch_terminal(self) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._terminal)

    def _write_input(self) -> None:
        try:
            while self._input:
                sent = os.write(self._terminal, self._input[:4096])
                del self._input[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        with contextlib.suppress(KeyError):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._input else 0)
            self._selector.modify(self._terminal, wanted, self._on_terminal)

    def _end(self, reason: str) -> None:
        """Hang up the session, and kill what does not go."""
        if self._reason or self._ended is not None:
            return
        self._reason = reason
        signal_group(foreground(self._terminal, self._shell), signal.SIGHUP)
        for number in (signal.SIGHUP, signal.SIGCONT):
            signal_group(self._shell, number)
        self._after(HANGUP_S, self._kill)

    def _kill(self) -> None:
        kill_descendants()
        self._reap()

    def _resize(self) -> None:
        size = decide_size((c.viewer() for c in self._attached()), self._policy)
        if size is not None and size != (self._columns, self._rows):
            self._columns, self._rows = size
            set_size(self._terminal, *size)

    def _nudge(self) -> None:
        """Make a full-screen program draw everything: another size, and back."""
        set_size(self._terminal, self._columns, max(1, self._rows - 1))
        self._after(NUDGE_S, lambda: set_size(self._terminal, self._columns, self._rows))

    # --- clients

    def _attached(self) -> list[AttachedClient]:
        return [c for c in self._clients.values() if c.attached]

    def _on_connection(self, listener: socket.socket, _mask: int) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            if len(self._clients) >= CLIENTS:
                connection.close()
                return
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self._clients[connection] = AttachedClient()
            self._selector.register(connection, selectors.EVENT_READ, self._on_client)

    def _on_client(self, connection: socket.socket, mask: int) -> None:
        client = self._clients[connection]
        if not mask & selectors.EVENT_READ:
            return  # `_serve_clients` sends
        try:
            data = connection.recv(READ_BYTES)
            for frame in client.decoder.feed(data):
                self._handle(client, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data = b""
        if not data:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._clients.pop(connection)
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection)
        connection.close()
        self._resize()

    def _serve_clients(self) -> None:
        blocked = len(self._input) > INPUT_BYTES
        for connection, client in list(self._clients.items()):
            if client.fill(self._ring, self._modes, self.name):
                self._draw(client)
            rest = client.attached and (client.drawing or client.offset < self._ring.end)
            if self._ended is not None and not client.closing and not rest:
                client.out += encode(self._ended)
                client.closing = True
            if not self._send(connection, client):
                continue
            reading = 0 if blocked and client.attached else selectors.EVENT_READ
            more = client.out or client.wants_more(self._ring)
            self._watch(connection, reading | (selectors.EVENT_WRITE if more else 0))
        if self._ended is not None and not self._clients:
            self._over = True

    def _watch(self, connection: socket.socket, events: int) -> None:
        known = connection in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(connection)
        elif not known:
            self._selector.register(connection, events, self._on_client)
        elif self._selector.get_key(connection).events != events:
            self._selector.modify(connection, events, self._on_client)

    def _send(self, connection: socket.socket, client: AttachedClient) -> bool:
        """Send what the socket takes. False when the client is gone."""
        try:
            while client.out:
                sent = connection.send(memoryview(client.out)[: 64 * 1024].tobytes())
                del client.out[:sent]
        except BlockingIOError:
            return True
        except OSError:
            self._drop(connection)
            return False
        if client.closing:
            self._drop(connection)
            return False
        return True

    def _handle(self, client: AttachedClient, frame: Frame) -> None:
        self._actions += 1
        match frame:
            case Input() | SendSignal() | Resize():
                self._act(client, frame)
            case Attach():
                self._attach(client, frame)
            case Kill():
                client.out += encode(Done())
                self._end("it was killed")
            case Rename():
                client.out += encode(self._rename(frame.name))
            case Stat():
                client.out += encode(self._status())
            case ReadLog():
                end = self._ring.end
                client.log = max(self._ring.start, end - max(0, frame.size)), end
            case _:
                raise FrameError(f"{type(frame).__name__} is sent by the holder only")

    def _act(self, client: AttachedClient, frame: Input | SendSignal | Resize) -> None:
        if not client.attached or client.read_only:
            return
        client.active = self._actions
        self._active_at = time.time()
        if isinstance(frame, Resize):
            client.columns, client.rows = frame.columns, frame.rows
        self._resize()
        if isinstance(frame, Input):
            client.typed(frame, self._ring, self._modes, self.name)
            self._input += frame.data
            self._write_input()
        elif isinstance(frame, SendSignal):
            number = getattr(signal, f"SIG{frame.name}", None)
            if isinstance(number, signal.Signals):
                signal_group(foreground(self._terminal, self._shell), number)

    def _attach(self, client: AttachedClient, frame: Attach) -> None:
        client.attached, client.read_only = True, frame.read_only
        client.columns, client.rows = frame.columns, frame.rows
        client.active = self._actions
        client.out += encode(Attached(offset=self._ring.end))
        if frame.after is not None:
            client.offset = min(max(frame.after, self._ring.start), self._ring.end)
        drawn = self._columns, self._rows
        self._resize()
        if frame.after is None and self._ring.end:
            self._draw(client, drawn)

    def _draw(self, client: AttachedClient, drawn: tuple[int, int] | None = None) -> None:
        """A picture of what the terminal wrote at the size `drawn`, for the size it has now."""
        client.drawing = True
        client.offset = self._ring.end
        size = self._columns, self._rows
        self._pictures.ask(
            self._ring, self._modes, drawn=drawn or size, shown=size, answer=client.drawn
        )
        if self._modes.alternate and not self._pictures.whole:
            self._after(NUDGE_S, self._nudge)

    def _rename(self, name: str) -> Frame:
        try:
            if os.path.lexists(f"../{name}"):
                return Refused(code="session_exists", message=f"there is a session {name}")
            os.rename(f"../{self.name}", f"../{name}")  # noqa: PTH104 - beside the cwd
        except OSError as exc:
            return Refused(code="session_not_renamed", message=exc.strerror or str(exc))
        self.name = name
        write_record(self.name, self._shell, self._created_at)
        return Done()

    def _status(self) -> SessionStatus:
        attached = self._attached()
        watchers = sum(c.read_only for c in attached)
        return SessionStatus(
            name=self.name,
            pid=os.getpid(),
            shell_pid=self._shell,
            created_at=self._created_at,
            active_at=self._active_at,
            clients=len(attached) - watchers,
            watchers=watchers,
            columns=self._columns,
            rows=self._rows,
            output_total=self._ring.end,
            kept_bytes=self._ring.end - self._ring.start,
            program=foreground_program(self._terminal, self._shell),
        )


def _agent_is_there() -> bool:
    """Every agent of this state directory holds a shared lock for as long as it lives."""
    try:
        lock = os.open(f"../{AGENT_LOCK}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def _readable(descriptor: int, wait_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(wait_s))


def write_record(name: str, shell: int, created_at: float) -> None:
    """Who holds this session, for agents to come."""
    table = {
        "name": name,
        "pid": os.getpid(),
        "mark": start_mark(os.getpid()),
        "shell_pid": shell,
        "created_at": created_at,
    }
    made = os.open(f"{RECORD}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(made, "w", encoding="utf-8") as file:
        json.dump(table, file)
    os.replace(f"{RECORD}.new", RECORD)  # noqa: PTH105 - in the cwd


def remove_files(name: str) -> None:
    """Remove the session's directory; once it has gone this changes nothing."""
    for file in (SOCKET, OUTPUT, RECORD):
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - in the cwd
    with contextlib.suppress(OSError):
        os.rmdir(f"../{name}")  # noqa: PTH106 - beside the cwd, which leads nowhere when removed


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        # Relative: a path in a state directory may be longer than a socket's name may be.
        listener.bind(SOCKET)
    finally:
        os.umask(before)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _detach_from_agent() -> None:
    """A process of its own: what the agent started ends, and we belong to whoever reaps orphans."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def main() -> None:
    """Hold the session that the job on standard input describes."""
    job = json.load(sys.stdin)
    _detach_from_agent()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        os.chdir(job["directory"])
        become_reaper()
        shell = start_shell(ShellJob.from_json(job["shell"]))
        listener = _listen()
        holder = Holder(job, shell, listener)
        write_record(holder.name, shell[0], time.time())
    except OSError as exc:
        _say({"error": exc.strerror or str(exc), "what": exc.filename or ""})
        os._exit(1)
    _say({"pid": os.getpid(), "shell_pid": shell[0]})
    try:
        holder.run()
    finally:
        remove_files(holder.name)


if __name__ == "__main__":
    main()
