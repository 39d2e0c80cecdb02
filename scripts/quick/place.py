"""Where the quickstart keeps things, how it runs programs, and what it says."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

NAME = "quickstart"
STEP_S = 120
T = TypeVar("T")


class Failed(Exception):  # noqa: N818  # reads as what happened
    """A step did not work; the text is for the person."""


class Stopped(BaseException):
    """A signal asks us to end."""


class Place:
    """Where everything is, and which workspace is made: of a template, in `image` (containers)."""

    def __init__(self, state: Path, *, template: str = "process", image: str = "") -> None:
        self.state = state
        self.template = template
        self.image = image
        # Where the coordinator listens: containers do not reach this machine's loopback.
        self.host = "127.0.0.1"
        self.venv = state / "venv"
        self.source = state / "source"
        self.stamp = state / "installed.json"
        self.log = state / "install.log"
        self.running = state / "running.json"
        self.data = state / "data"
        self.coordinator = state / "coordinator.json"
        self.scratch = state / "check"
        # The owner's file of the provider `kata`, where the workspace is a container.
        self.kata_file = state / "kata.toml"

    @property
    def is_container(self) -> bool:
        return self.template == "containerd"

    @property
    def python_inside(self) -> str:
        """The workspace's Python: in a container, the one of the agent's bundle."""
        return "/opt/kled/bin/kled-python" if self.is_container else self.program("python")

    def creation(self) -> list[str]:
        """The words that make the workspace."""
        words = ["create", NAME, "--template", self.template]
        return [*words, "--param", f"image={self.image}"] if self.is_container else words

    def program(self, name: str) -> str:
        return str(self.venv / "bin" / name)

    def environment(self, **more: str) -> dict[str, str]:
        """Ours for every program: nothing of the user's own Kled, and loopback without a proxy."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("KLED_")}
        direct = ",".join(
            filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost", self.host))
        )
        return {
            **kept,
            "KLED_CONFIG_DIR": str(self.state / "config"),
            "KLED_KEYRING": "off",
            "KLED_COORD_DATA_DIR": str(self.data),
            "KLED_KATA_FILE": str(self.kata_file),
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
        if sys.stdout.isatty():
            print(f"        {name} …", end="\r", flush=True)  # until its own line is there
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
        with contextlib.suppress(OSError):  # the terminal may have been closed
            print(line.rstrip(), flush=True)


def run(argv: list[str], env: dict[str, str], *, timeout: float = STEP_S, **more: Any) -> str:
    """Run a program quietly; returns what it printed. Raises Failed with its last words."""
    more.setdefault("stdin", subprocess.DEVNULL)
    if "input" in more:
        del more["stdin"]
    done = call(argv, env, timeout=timeout, **more)
    if done.returncode != 0:
        words = "\n        ".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise Failed(f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}: {words}")
    return str(done.stdout).strip()


def call(
    argv: list[str], env: dict[str, str], *, timeout: float, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program quietly to its end, whatever that is. Raises Failed when there is none."""
    try:
        return subprocess.run(
            argv, env=env, timeout=timeout, capture_output=True, text=True, check=False, **more
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{Path(argv[0]).name} did not end within {timeout:.0f} s") from error
