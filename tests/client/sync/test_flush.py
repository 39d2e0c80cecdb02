"""What a flush shows while it waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from kled_client.cli import sync_flush
from kled_client.cli.context import Invocation
from kled_client.output import Output
from kled_wire.errors import UnavailableError

WAITING = {"name": "s", "state": "waiting", "reason": "dev is stopped"}
RUNNING = {"state": "running", "doing": "watching", "bytes_done": 5, "bytes_total": 9}


@pytest.mark.parametrize("up", [True, False])
def test_a_flush_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch, up: bool) -> None:
    """Once, and before it ends; the background process is the test's."""
    gone = UnavailableError("sync_background_gone", "it ended")
    looks: Iterator[Mapping[str, Any] | UnavailableError]
    looks = iter([WAITING, WAITING, RUNNING, gone])
    looked = threading.Event()

    def ask(_env: Mapping[str, str], do: str, **_: Any) -> Mapping[str, Any]:
        if do == "status":
            found = next(looks, None)
            if found is None:
                looked.set()
                return RUNNING
            if isinstance(found, UnavailableError):
                raise found
            return found
        assert looked.wait(30)
        if up:
            return {**RUNNING, "conflicts_total": 2}
        raise UnavailableError("sync_not_running", "s is not up")

    monkeypatch.setattr(sync_flush, "ask", ask)
    text = StringIO()
    output = Output(notes=Console(file=text, width=200))
    invocation = Invocation(env=os.environ, profile_name=None, output=output, verbose=False)
    if up:
        found, error = sync_flush.flush_sync(invocation, "s", look_s=0.001)
        assert (found["conflicts_total"], error and error.code) == (2, "sync_conflicts")
    else:
        with pytest.raises(UnavailableError, match="s is not up"):
            sync_flush.flush_sync(invocation, "s", look_s=0.001)
    assert text.getvalue().splitlines() == ["s is waiting: dev is stopped"]
