"""What a command has in memory before it has asked the coordinator anything."""

from __future__ import annotations

import subprocess
import sys

from tests.client.conftest import ROOT

_LOOK = """
import sys
from kled_client.cli import lifecycle
print(sorted({"httpx", "rich", "pygments", "zstandard", "brotli"} & sys.modules.keys()))
import zstandard
from kled_client.api.lean_httpx import httpx
print(httpx.Client(trust_env=False).headers["accept-encoding"])
"""


def test_a_command_that_builds_begins_with_httpx_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["['httpx']", "gzip, deflate"]
