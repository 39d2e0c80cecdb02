"""Files that a person names to a command, and standard input: what is read, and a secret."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kled_wire.errors import InputError

output_file_option = click.option(
    "--output-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to FILE, mode 0600.",
)


def read_line() -> str:
    """The next line of standard input, without its end."""
    return sys.stdin.readline().rstrip("\r\n")


def read_file(file: str) -> bytes:
    """All of a file, or of standard input for `-`. Raises InputError("file_unreadable")."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise InputError("file_unreadable", f"cannot read {file}: {exc.strerror}") from exc
