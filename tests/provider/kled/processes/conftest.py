from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.running import ProcessDirectory


@pytest.fixture
def place(tmp_path: Path) -> Iterator[ProcessDirectory]:
    """Where an agent's process is kept; the process is killed at the end."""
    place = ProcessDirectory(tmp_path / "w-1", "agent")
    yield place
    if (running := processes.find(place)) is not None:
        os.killpg(running.pid, signal.SIGKILL)
