"""The coordinator, the workspace, and what is tried in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from quick.place import NAME, STEP_S, Failed, Place, run
from quick.processes import LOOK_AGAIN_S, child, read_until, remember

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
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start_coordinator(place: Place) -> str:
    """Start it and wait until it answers; returns its URL."""
    with socket.socket() as probe:
        probe.bind((place.host, 0))
        port = probe.getsockname()[1]
    url = f"http://{place.host}:{port}"
    env = place.environment(
        KLED_COORD_HOST=place.host,
        KLED_COORD_PORT=str(port),
        KLED_COORD_ACCESS_URL=url,
        KLED_COORD_DRAIN_S="2",
    )
    program = place.program("kled-coord")
    made = json.loads(run([program, "init", "--name", "me", "--output", "json"], env))
    log = place.state / "coordinator.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [program, "serve"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    remember(place.coordinator, process.pid)
    deadline = time.monotonic() + STEP_S
    while not is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            words = "\n        ".join(log.read_text().splitlines()[-8:])
            raise Failed(f"the coordinator does not answer; {log} ends with: {words}")
        time.sleep(LOOK_AGAIN_S)
    run(
        [place.program("kled"), "login", url, "--code", "-"],
        place.environment(),
        input=made["code"],
    )
    return url


def is_ready(url: str) -> bool:
    try:
        with DIRECT.open(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


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
