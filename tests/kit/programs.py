"""Talking to a program through its pipes."""

from __future__ import annotations

import subprocess


def say(cat: subprocess.Popen[bytes], word: bytes) -> bytes:
    """One line there and back."""
    assert cat.stdin is not None
    assert cat.stdout is not None
    cat.stdin.write(word + b"\n")
    return cat.stdout.readline()
