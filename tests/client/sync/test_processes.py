from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kled_client.sync.place import SyncPlace
from kled_client.sync.processes import started
from kled_wire.errors import UnavailableError
from kled_wire.names import parse_workspace_ref

_HERE = SyncPlace(path=".")
_THERE = SyncPlace(path=".", ssh=("host",))


def test_a_process_that_nobody_used_has_ended_after_the_block() -> None:
    workspace = SyncPlace(path=".", workspace=parse_workspace_ref("dev"))
    with started(_HERE, workspace, env=os.environ) as (process, none):
        assert none is None
        assert process is not None
        assert process.poll() is None
    assert process.returncode is not None


def test_one_has_ended_too_where_the_other_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen.__init__

    def note(process: subprocess.Popen[bytes], *args: object, **options: object) -> None:
        begun.append(process)
        start(process, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    monkeypatch.setenv("PATH", "/nonexistent")
    with (
        pytest.raises(UnavailableError, match="ssh cannot be started"),
        started(_HERE, _THERE, env=os.environ),
    ):
        pytest.fail("it was started")
    assert begun[0].returncode is not None


def test_a_copy_starts_them_before_it_imports_trio() -> None:
    """Its import takes as long as ssh takes to connect."""
    modules = "kled_client.cli.main, kled_client.cli.sync_copy, kled_client.cli.sync"
    code = f"import sys, {modules}; sys.exit('trio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
