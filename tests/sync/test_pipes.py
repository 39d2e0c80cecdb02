"""An endpoint makes its pipes as wide as a block, whoever made them."""

from __future__ import annotations

import fcntl
import os
import sys

import pytest

from kled_sync.endpoint.serving import run_endpoint
from kled_sync.wire.blocks import MAGIC

BLOCK_BYTES = 512 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="F_SETPIPE_SZ")
def test_an_endpoint_widens_what_sshd_gave_it() -> None:
    reader, to = os.pipe()
    back, writer = os.pipe()
    os.close(to)
    run_endpoint(reader, writer, {})
    assert os.read(back, 100) == MAGIC
    for pipe in (reader, writer):
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) > BLOCK_BYTES
    for end in (reader, back, writer):
        os.close(end)
