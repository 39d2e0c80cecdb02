"""In what order a connection is opened: the dial does not wait for what Python has to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.client.conftest import ROOT, Kled
from tests.client.fake import Fake
from tests.kit.waiting import wait_until

# Stands for asyncssh until the FIFO has a writer, then lets the real one in. (A finder that
# waits would hold up all imports.)
_HOLD = """
import sys
open({fifo!r}, "rb").close()
sys.path.remove({directory!r})
del sys.modules["asyncssh"]
import asyncssh
"""


def test_the_stream_is_dialled_before_asyncssh_is_there(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    signed_in.stream = "ssh"
    assert kled("exec", "dev", "true").returncode == 0  # has a certificate from now on
    before = len(signed_in.requests)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    held = _HOLD.format(fifo=str(fifo), directory=str(tmp_path))
    (tmp_path / "asyncssh.py").write_text(held)
    with subprocess.Popen(
        [sys.executable, "-m", "kled_client", "exec", "dev", "echo", "hi"],
        env={**signed_in.env(), "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            wait_until("the stream is asked for", lambda: len(signed_in.requests) > before)
            assert "/stream?" in signed_in.requests[before][1]
            fifo_end = os.open(fifo, os.O_WRONLY)
            assert process.stdout is not None
            assert process.stdout.read() == b"hi\n"
            os.close(fifo_end)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
