"""Start the quickstart's coordinator and sign in."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

from quick.place import STEP_S, Failed, Place, run
from quick.processes import LOOK_AGAIN_S, remember

# For URLs of this machine, which no proxy of the user's may answer for.
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
