"""Pipes are widened; all else stays as it is."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from kled_wire.pipes import PIPE_BYTES, widen_pipe


@pytest.mark.skipif(sys.platform != "linux", reason="F_SETPIPE_SZ")
def test_a_pipe_takes_a_large_block_at_once() -> None:
    reader, writer = os.pipe()
    widen_pipe(writer)
    assert fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
    for end in (reader, writer):
        os.close(end)


def test_what_is_no_pipe_stays_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        widen_pipe(file.fileno())
        assert file.write(b"as before")
