"""Make the workspace, and try what `kled` does with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator

from quick.coordinator import DIRECT
from quick.place import NAME, STEP_S, Failed, Place, run
from quick.processes import child, read_until

COPIED_BYTES = 1 << 20
# Prints its port, then serves one page; run by the workspace's Python, which in a container is the
# agent's own and has no http.server.
SERVER = """
import socket, sys
page = open(sys.argv[1] + "/index.html", "rb").read()
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    peer, _ = server.accept()
    with peer:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(page) + page)
"""


def kled(place: Place, *words: str) -> str:
    """Run `kled` quietly."""
    return run([place.program("kled"), *words], place.environment())


def kled_shown(place: Place, *words: str) -> int:
    """Run `kled` on our own terminal."""
    return subprocess.run(
        [place.program("kled"), *words], env=place.environment(), check=False
    ).returncode


def create_shown(place: Place) -> None:
    """With the bar."""
    if kled_shown(place, *place.creation()):
        raise Failed("the workspace could not be made")


def copy_there_and_back(place: Place) -> str:
    """Copy a file in and out and compare."""
    original = place.scratch / "original"
    original.write_bytes(os.urandom(COPIED_BYTES))
    back = place.scratch / "back"
    with directory_inside(place) as inside:
        kled(place, "cp", str(original), f"{NAME}:{inside}/copy")
        kled(place, "cp", f"{NAME}:{inside}/copy", str(back))
        sums = {kled(place, "exec", NAME, "--", "sha256sum", f"{inside}/copy").split()[0]}
    sums |= {hashlib.sha256(p.read_bytes()).hexdigest() for p in (original, back)}
    if len(sums) != 1:
        raise Failed(f"the copies differ: {sorted(sums)}")
    return f"sha256 {sums.pop()[:16]}…"


@contextlib.contextmanager
def directory_inside(place: Place) -> Iterator[str]:
    """A directory in the workspace, which may see other files than we do (`sandbox`)."""
    path = f"/tmp/kled-quickstart-{os.getpid()}"
    kled(place, "exec", NAME, "--", "mkdir", "-m", "700", path)
    try:
        yield path
    finally:
        kled(place, "exec", NAME, "--", "rm", "-r", path)


def forward_and_fetch(place: Place) -> str:
    """Serve a page in the workspace, forward a port to it, fetch the page."""
    page = os.urandom(16).hex()
    index = place.scratch / "index.html"
    index.write_text(page)
    program, env = place.program("kled"), place.environment()
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(directory_inside(place))
        kled(place, "cp", str(index), f"{NAME}:{served}/index.html")
        server = [program, "exec", NAME, "--", place.python_inside, "-c", SERVER, served]
        serving = stack.enter_context(
            child(server, env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        port = read_until(serving, lambda text: int(text) if text.endswith("\n") else None)
        words = [program, "--output", "json", "forward", NAME, f"0:{port}"]
        forwarding = stack.enter_context(
            child(words, env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        local = read_until(forwarding, _local_port)
        with DIRECT.open(f"http://127.0.0.1:{local}/", timeout=STEP_S) as answer:
            if answer.read().decode() != page:
                raise Failed("another page than the one served")
    return f"127.0.0.1:{local} to {port} in the workspace"


def _local_port(text: str) -> int | None:
    found = re.search(r'"(?:local|listen)": "[^"]*:(\d+)"', text)
    return int(found[1]) if found else None
