"""The lock that holds a root for one sync at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kled_sync.files.places import held
from kled_wire.errors import ConflictError

_HOLD = """
import os, signal, sys
from pathlib import Path
from kled_sync.files.places import held

with held(Path(sys.argv[1]), "mine", b"/root"):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_what_an_earlier_connection_left_is_ended_though_it_is_stopped(tmp_path: Path) -> None:
    state = tmp_path / "roots" / "one"
    state.mkdir(parents=True)
    command = [sys.executable, "-c", _HOLD, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as left:
        try:
            assert left.stdout is not None
            assert left.stdout.readline() == "held\n"
            os.waitpid(left.pid, os.WUNTRACED)
            with pytest.raises(ConflictError, match="another sync"), held(state, "other", b"/root"):
                pass
            with held(state, "mine", b"/root"):
                pass
        finally:
            left.kill()
        assert left.wait(10) == -signal.SIGKILL
