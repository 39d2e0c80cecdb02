"""Talking to a program through its pipes, and whether it is there."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable

import pytest


def need(program: str) -> str:
    """The path of a program; a test that has none is skipped, and fails where CI runs."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def say(cat: subprocess.Popen[bytes], word: bytes) -> bytes:
    """One line there and back."""
    assert cat.stdin is not None
    assert cat.stdout is not None
    cat.stdin.write(word + b"\n")
    return cat.stdout.readline()


def send_through(cat: subprocess.Popen[bytes], data: bytes, after: Callable[[int], None]) -> None:
    """All of `data` there and back, to the end; `after` is told how much is back, each time.

    What is back is compared by hash, and `cat` has to end well.
    """
    assert cat.stdout is not None

    def send() -> None:
        assert cat.stdin is not None
        cat.stdin.write(data)
        cat.stdin.close()

    sender = threading.Thread(target=send)
    sender.start()
    digest, got = hashlib.sha256(), 0
    while chunk := cat.stdout.read(1 << 20):
        digest.update(chunk)
        got += len(chunk)
        after(got)
    sender.join()
    assert got == len(data)
    assert digest.digest() == hashlib.sha256(data).digest()
    assert cat.wait(20) == 0
