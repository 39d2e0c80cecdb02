from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.fake import Fake, running
from tests.client.warm import WarmKled

ROOT = Path(__file__).parents[2]
Kled = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a short path, as real ones have: ssh's control socket must fit into it."""
    with tempfile.TemporaryDirectory(prefix="kled") as path:
        yield Path(path)


@pytest.fixture
def fake(home: Path) -> Iterator[Fake]:
    with running(home) as coordinator:
        yield coordinator


@pytest.fixture
def signed_in(fake: Fake) -> Fake:
    fake.sign_in()
    return fake


@pytest.fixture(scope="session")
def warm_kled() -> Iterator[WarmKled]:
    program = WarmKled()
    yield program
    program.close()


@pytest.fixture
def kled(home: Path, warm_kled: WarmKled) -> Kled:
    """Run the real program in a process of its own, with nothing of this machine's user.

    `before` is a command that runs it.
    """

    def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        extra: dict[str, str] = options.pop("env", {})
        env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "KLED_KEYRING": "off",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            **extra,
        }
        before = options.pop("before", ())
        if not before:
            return warm_kled.run(words, env, **options)
        command = [*before, sys.executable, "-m", "kled_client", *words]
        return subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )

    return run


def one_line(output: bytes) -> str:
    """The error: a single line, no traceback."""
    text = output.decode()
    assert text.count("\n") == 1, text
    assert text.startswith("error: "), text
    return text
