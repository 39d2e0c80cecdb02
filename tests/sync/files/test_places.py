"""The lock that holds a root for one sync at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kled_sync.files import places
from kled_sync.files.places import held
from kled_wire.errors import ConflictError

_HOLD = """
import os, signal, sys
from pathlib import Path
from kled_sync.files.places import held

with held(Path(sys.argv[1]), sys.argv[2], b"/root"):
    print("held", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_what_an_earlier_connection_left_is_ended_though_it_is_stopped(tmp_path: Path) -> None:
    state = tmp_path / "roots" / "one"
    state.mkdir(parents=True)
    command = [sys.executable, "-c", _HOLD, str(state), "mine"]
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


@pytest.mark.skipif(sys.platform != "linux", reason="proc(5)")
def test_what_a_copy_left_that_was_cut_off_is_ended_though_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that somebody still writes to, nor one of a sync that goes on."""
    monkeypatch.setattr(places, "_ENDING_S", 0.0)
    for session in ("", "theirs"):
        state = tmp_path / "roots" / f"one{session}"
        state.mkdir(parents=True)
        command = [sys.executable, "-c", _HOLD, str(state), session]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as left:
            try:
                assert left.stdin is not None
                assert left.stdout is not None
                assert left.stdout.readline() == "held\n"
                os.waitpid(left.pid, os.WUNTRACED)
                busy = pytest.raises(ConflictError, match=f"another sync.*{left.pid}")
                with busy, held(state, "", b"/root"):
                    pass
                left.stdin.write("a message that it has not read")
                left.stdin.close()
                if session:
                    with busy, held(state, "", b"/root"):
                        pass
                else:
                    with held(state, "", b"/root"):
                        pass
                    assert left.wait(10) == -signal.SIGKILL
            finally:
                left.kill()
