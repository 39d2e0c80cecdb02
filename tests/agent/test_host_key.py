"""The host key: made beside the agent's start-up, not in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kled_agent import host_key
from kled_agent.host_key import begin_host_key
from kled_wire.errors import ConfigError

ROOT = Path(__file__).parents[2]
_LOOK = """
import sys
from kled_agent import cli
def begin():
    print("trio" in sys.modules)
    raise SystemExit(0)
cli.begin_host_key = begin
cli.run(["run", "--coordinator-url", "http://127.0.0.1:1"])
"""


def test_a_key_is_begun_before_the_agent_imports_the_rest(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOOK],
        env={**os.environ, "KLED_AGENT_TOKEN": "x", "KLED_AGENT_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == "False\n"


def test_a_key_that_cannot_be_made_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_key, "_MAKE_KEY", "raise SystemExit('no entropy')")
    with pytest.raises(ConfigError, match="no entropy") as caught:
        begin_host_key().finish()
    assert caught.value.code == "host_key_failed"
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigError, match="No such file") as caught:
        begin_host_key()
    assert caught.value.code == "host_key_failed"


def test_a_key_that_is_given_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_key, "_MAKE_KEY", "import signal\nsignal.pause()")
    making = begin_host_key()
    making.give_up()
    with pytest.raises(ConfigError):
        making.finish()
