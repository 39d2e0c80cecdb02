"""From a clone to a shell in a workspace, and back to a clean machine.

Started by scripts/quickstart. Only the standard library: nothing is installed yet. Everything
lives in one directory, and everything that was started ends with this program, even when it is
killed (see `processes.guard`).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from quick.containers import (  # noqa: E402  # found by the line above
    check_machine,
    machine_address,
    prepare,
)
from quick.coordinator import start_coordinator  # noqa: E402
from quick.installing import install  # noqa: E402
from quick.place import NAME, Failed, Place, Steps, Stopped  # noqa: E402
from quick.processes import (  # noqa: E402
    ENDED_S,
    LOOK_AGAIN_S,
    clean_up,
    guard,
    living,
    remember,
)
from quick.workspace import (  # noqa: E402
    copy_there_and_back,
    create_shown,
    forward_and_fetch,
    kled,
    kled_shown,
)


def check(place: Place, steps: Steps) -> None:
    """All of it without a terminal. Raises Failed at the first step that does not work."""
    place.scratch.mkdir(exist_ok=True)
    steps.run("create the workspace", lambda: kled(place, *place.creation()) and None)
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


def parse() -> argparse.Namespace:
    """Parse the command line; exits where it cannot be followed."""
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart",
        description="Start a coordinator of your own, make a workspace and open a shell in it. "
        "When the shell ends, all of it is gone again but the installed programs, which stay for "
        "the next time in $XDG_STATE_HOME/kled/quickstart (~/.local/state/kled/quickstart).",
    )
    parser.add_argument(
        "--check", action="store_true", help="no terminal: try everything, say how long it took"
    )
    parser.add_argument("--remove", action="store_true", help="take away the programs as well")
    parser.add_argument(
        "--template",
        choices=("process", "containerd"),
        default="process",
        help="what the workspace is: a process of this machine (default), or a container of its "
        "containerd, which needs root",
    )
    parser.add_argument(
        "--image",
        default="docker.io/library/debian:12",
        help="image of the container (default: %(default)s)",
    )
    parser.add_argument(
        "--bundle", type=Path, help="the agent's bundle for the container; default: build it"
    )
    options = parser.parse_args()
    if not (options.check or options.remove) and not (sys.stdin.isatty() and sys.stdout.isatty()):
        parser.error("there is no terminal for a shell; --check does without")
    return options


def main() -> int:
    """Parse, take the lock, run, clean up."""
    options = parse()
    if not options.remove and not sys.platform.startswith("linux"):
        print(
            "error: the quickstart starts a coordinator, which runs on Linux only; "
            "run it on a Linux machine or in a Linux VM",
            file=sys.stderr,
        )
        return 1
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    place = Place(Path(base) / "kled" / NAME, template=options.template, image=options.image)
    if not options.remove:
        print(f"quickstart: Kled is installed into {place.state} and started", flush=True)
    try:
        with open_lock(place) as lock:
            take(lock, place)
            remember(place.running, os.getpid())
            if options.remove:
                return remove(place)
            return run_all(place, check if options.check else shell, options.bundle)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def open_lock(place: Place) -> IO[str]:
    """Make the directory, and the lock in it. Raises Failed."""
    try:
        place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (place.state / "lock").open("w")
    except OSError as error:
        raise Failed(
            f"{error.filename} cannot be written: {error.strerror} "
            "(XDG_STATE_HOME names another directory)"
        ) from error


def take(lock: IO[str], place: Place) -> None:
    """Take the lock; one that was killed a moment ago holds it until it has cleaned up.

    Raises Failed where another runs, or does not end.
    """
    deadline = time.monotonic() + 2 * ENDED_S
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (other := living(place.running)) is not None:
                raise Failed(
                    f"another quickstart of yours is running, process {other}; "
                    "leave its shell with `exit`, or end it with Ctrl-C"
                ) from None
            if time.monotonic() > deadline:
                raise Failed(
                    f"an earlier quickstart that was killed has not cleaned up {place.state}"
                ) from None
            if not said:
                print("waiting for an earlier quickstart to clean up", file=sys.stderr)
            said = True
            time.sleep(LOOK_AGAIN_S)
        else:
            return


def remove(place: Place) -> int:
    """Take away what the last run left for the next one. The caller has the lock."""
    clean_up(place)
    shutil.rmtree(place.state)
    print(f"quickstart: {place.state} is gone")
    return 0


def say_what_stays(place: Place) -> None:
    """The truth about a clean machine."""
    held = sum(path.lstat().st_size for path in place.state.rglob("*"))
    print(
        f"\n{held / 1e6:.0f} MB of installed programs stay in {place.state} for the next time; "
        "`scripts/quickstart --remove` takes them away",
        flush=True,
    )


def run_all(place: Place, rest: Callable[[Place, Steps], None], bundle: Path | None) -> int:
    """Everything between the lock and the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    steps = Steps()
    stopped = ""
    with guard(place):
        try:
            clean_up(place)
            if place.is_container:
                steps.run("look for containerd", check_machine)
                place.host = machine_address()
            steps.run("install", lambda: install(place))
            if place.is_container:
                steps.run("prepare containers", lambda: prepare(place, place.image, bundle))
            steps.run("start the coordinator and log in", lambda: start_coordinator(place))
            template = str(ROOT / "templates" / place.template)
            steps.run("push the template", lambda: kled(place, "template", "push", template))
            rest(place, steps)
        except Failed:
            pass  # said already
        except Stopped as signalled:
            stopped = str(signalled)
        finally:
            tear_down(place, steps)
    if stopped == "SIGHUP":
        return 129  # nobody is there to read
    if stopped:
        print(f"quickstart: stopped by {stopped}", file=sys.stderr)
    elif steps.failed:
        print(f"quickstart: failed: {', '.join(steps.failed)}", file=sys.stderr)
    say_what_stays(place)
    return 130 if stopped else 1 if steps.failed else 0


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(signal.Signals(number).name)


if __name__ == "__main__":
    sys.exit(main())
