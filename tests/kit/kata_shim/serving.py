"""Passes ttrpc between containerd and the real shim, and serves the shim's HTTP socket.

ttrpc (https://github.com/containerd/ttrpc): u32 length, u32 stream, u8 type, u8 flags, protobuf.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.kata_shim.checks import RefusedError, check_create
from tests.kit.kata_shim.wire import field, fields_of

REQUEST, RESPONSE = 1, 2
TASK = b"containerd.task.v2.Task"
TASK_3 = b"containerd.task.v3.Task"  # the same messages, and what the shim of containerd 2 serves
UNKNOWN_STATUS = 2
LENGTH_MAX = 4 << 20


@dataclass(frozen=True)
class Served:
    """Our socket, the real one, the sandbox's directory, the bundle, and the real service."""

    own: Path
    real: str
    run: Path
    bundle: Path
    service: bytes = TASK

    def log(self, text: str) -> None:
        """Say something in containerd's log, by the FIFO in the bundle, and in a file of ours."""
        line = f'level=info msg={json.dumps(text)} shim="double of kata"\n'.encode()
        with contextlib.suppress(OSError), (self.run / "log").open("ab") as file:
            file.write(line)
        with contextlib.suppress(OSError):
            fifo = os.open(self.bundle / "log", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(fifo, line)
            finally:
                os.close(fifo)


def serve(served: Served, what: str, ready: Callable[[], object]) -> None:
    """Serve until the real shim has ended."""
    served.log(what)
    with contextlib.suppress(FileNotFoundError):
        served.own.unlink()
    listener = _listen(served.own)
    monitor = _listen(served.run / "shim-monitor.sock")
    watched = socket.socket(socket.AF_UNIX)
    watched.connect(served.real)
    for target, args in ((_accept, (listener, served)), (_answer, (monitor, served))):
        threading.Thread(target=target, args=args, daemon=True).start()
    ready()
    watched.recv(1)  # it says nothing unasked: this ends when the real shim does
    for path in (served.own, served.run / "shim-monitor.sock"):
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen()
    return listener


def _accept(listener: socket.socket, served: Served) -> None:
    while True:
        client, _ = listener.accept()
        real = socket.socket(socket.AF_UNIX)
        real.connect(served.real)
        lock = threading.Lock()
        for target, args in (
            (_forth, (client, real, lock, served)),
            (_back, (real, client, lock)),
        ):
            threading.Thread(target=target, args=args, daemon=True).start()


def _forth(
    client: socket.socket, real: socket.socket, lock: threading.Lock, served: Served
) -> None:
    """containerd's requests: each Create is looked at."""
    with contextlib.suppress(OSError):
        for head, body in _frames(client):
            try:
                passed = _request(body, served) if head[2] == REQUEST else body
            except RefusedError as refused:
                served.log(f"Create refused: {refused}")
                _send(client, lock, head[1], RESPONSE, 0, _status(str(refused)))
                continue
            _send(real, lock, head[1], head[2], head[3], passed)
    _end(client, real)


def _back(real: socket.socket, client: socket.socket, lock: threading.Lock) -> None:
    with contextlib.suppress(OSError):
        for (_, stream, kind, flags), body in _frames(real):
            _send(client, lock, stream, kind, flags, body)
    _end(client, real)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _request(body: bytes, served: Served) -> bytes:
    fields = dict(fields_of(body))
    payload = fields.get(3, b"")
    if fields.get(1) != TASK or isinstance(payload, int):
        return body
    passed = {1: served.service}
    if fields.get(2) == b"Create":
        passed[3] = _create(payload, served)
    return b"".join(field(number, passed.get(number, value)) for number, value in fields_of(body))


def _create(payload: bytes, served: Served) -> bytes:
    create = list(fields_of(payload))
    for line in check_create(create, served.bundle, served.run):
        served.log(line)
    return b"".join(field(number, value) for number, value in create if number != 10)


def _frames(stream: socket.socket) -> Iterator[tuple[tuple[int, int, int, int], bytes]]:
    while True:
        head = _exactly(stream, 10)
        if len(head) < 10:
            return
        length, number, kind, flags = struct.unpack(">IIBB", head)
        if length > LENGTH_MAX:
            return
        yield (length, number, kind, flags), _exactly(stream, length)


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := stream.recv(count - len(data))):
        data += more
    return data


def _send(
    to: socket.socket, lock: threading.Lock, stream: int, kind: int, flags: int, body: bytes
) -> None:
    with lock:
        to.sendall(struct.pack(">IIBB", len(body), stream, kind, flags) + body)


def _status(message: str) -> bytes:
    return field(1, field(1, UNKNOWN_STATUS) + field(2, message.encode()))


# --- HTTP on shim-monitor.sock


def _answer(monitor: socket.socket, served: Served) -> None:
    while True:
        client, _ = monitor.accept()
        with contextlib.suppress(OSError), client:
            client.settimeout(5)
            target = [*client.recv(4096).split(b" "), b"", b""][1]
            known = {b"/agent-url": _agent_url, b"/metrics": _metrics}
            code, text = (
                ("200 OK", known[target](served))
                if target in known
                else ("404 Not Found", "URL NOT FOUND")
            )
            client.sendall(f"HTTP/1.1 {code}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())


def _agent_url(served: Served) -> str:
    hypervisor = json.loads((served.run / "sandbox.json").read_text())["hypervisor"]
    if hypervisor == "qemu":
        return "vsock://3:1024"
    name = "ch-vm.sock" if hypervisor == "clh" else "root/kata.hvsock"
    return f"hvsock://{served.run}/{name}:1024"


def _metrics(_served: Served) -> str:
    fds = len(list(Path("/proc/self/fd").iterdir()))
    return (
        f"# TYPE kata_shim_threads gauge\nkata_shim_threads {threading.active_count()}\n"
        f"# TYPE kata_shim_fds gauge\nkata_shim_fds {fds}\n"
    )
