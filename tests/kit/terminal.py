"""A terminal with a program on it, and a person who types."""

from __future__ import annotations

import contextlib
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

from tests.kit.waiting import wait_until


class Terminal:
    """A terminal of ours with a program on it."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        env: Mapping[str, str],
        *,
        rows: int = 24,
        columns: int = 80,
    ) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(
            argv,
            env={**env, "TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # one system call
        )
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.text = ""

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def wait_for(self, text: str, *, within_s: float = 20.0) -> None:
        wait_until(f"{text!r} on the terminal", lambda: self._seen(text), within_s=within_s)

    def _seen(self, text: str) -> bool:
        with contextlib.suppress(OSError):  # nothing to read yet, or the program has ended
            self.text += os.read(self.ours, 65536).decode()
        assert self.process.poll() is None or text in self.text, self.text
        return text in self.text

    def hang_up(self) -> None:
        """Close the terminal under the program."""
        os.close(self.ours)
        self.process.wait(40)

    def close(self) -> int:
        """Wait for the program's end."""
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.ours)
