"""What an image may lack, said in one sentence."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kled_agent.machine.surroundings import check_surroundings
from kled_wire.errors import ConfigError


def test_this_machine_has_all() -> None:
    check_surroundings()


def test_each_thing_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    for made, said in ((None, "/dev/null"), ("dev/null", "/proc"), ("proc", "thread")):
        if made == "dev/null":
            (tmp_path / made).symlink_to("/dev/null")
        elif made == "proc":
            (tmp_path / made).symlink_to("/proc")

            def refuse(_thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")

            monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ConfigError, match=said):
            check_surroundings(tmp_path)
