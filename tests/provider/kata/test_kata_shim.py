"""Containers of Kata: by a double of its shim, which loads and judges the configuration.

With KLED_TEST_KATA=1 by Kata itself (docs/kata-acceptance.md).
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.host.shims import shim_version
from tests.kit.kata_shim import CONFIGURATION, RUNTIME, install_double

pytestmark = pytest.mark.slow

OWNER = """
[handlers.vm]
runtime = "{runtime}"
hypervisor = "clh"
[configurations.clh]
path = "{directory}/clh.toml"
"""
TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "DIRECTORY/images/busybox.tar"
}
resource "kata_runtime_config" "rs" {
  name = "dev"
  base = "clh"
  hypervisor {
    kind                       = "clh"
    overhead_memory            = 64
    reclaim_guest_freed_memory = true
  }
  agent {
    mem_agent {
      enable        = true
      compact_order = 9
    }
  }
}
resource "kata_container" "ws" {
  name    = "ws"
  image   = kata_image.base.id
  command = ["/bin/sleep", "600"]
  memory  = 512
  stop_timeout = 0
  runtime {
    handler       = "vm"
    config        = kata_runtime_config.rs.path
    config_sha256 = kata_runtime_config.rs.sha256
    annotations   = { "io.katacontainers.config.hypervisor.kernel_params" = "quiet" }
  }
}
"""


REAL = bool(os.environ.get("KLED_TEST_KATA"))
REAL_BASE = os.environ.get(
    "KLED_TEST_KATA_BASE",
    "/opt/kata/share/defaults/kata-containers/runtime-rs/configuration-clh.toml",
)


@pytest.fixture
def shims(platform: Any) -> Iterator[Path]:
    """The directory of the shims' own: /run/kata, or what stands for it."""
    if REAL:
        owner = OWNER.format(runtime="io.containerd.kata.v2", directory=platform.directory)
        platform.write(owner.replace(f"{platform.directory}/clh.toml", REAL_BASE))
        yield Path("/run/kata")
        return
    run = platform.containerd.directory / "kata"  # a socket in it: its path must be short
    install_double(platform.containerd.directory / "bin", run)
    (platform.directory / "clh.toml").write_text(CONFIGURATION)
    platform.write(OWNER.format(runtime=RUNTIME, directory=platform.directory))
    yield run
    (platform.containerd.directory / "bin/containerd-shim-katadouble-v2").unlink()


def ask(path: Path, target: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        # Kata's own answers in pieces, and keeps the connection unless it is told not to.
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: kata\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


async def test_a_container_runs_with_its_own_configuration(
    kata: Any, platform: Any, shims: Path
) -> None:
    kata.write(TEMPLATE.replace("DIRECTORY", str(platform.directory)))
    await kata("init")
    await kata("apply", "-auto-approve")
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    made = kata.attributes("kata_container.ws")
    assert (made["status"], made["guest_memory"], made["guest_vcpus"]) == ("running", 576, 2)
    sandbox = shims / made["id"]
    assert "agent" in ask(sandbox / "shim-monitor.sock", "/metrics") or not REAL
    if not REAL:
        judge_double(sandbox, made)
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("containers") == []
    assert not (sandbox / "shim-monitor.sock").exists()


def judge_double(sandbox: Path, made: dict[str, Any]) -> None:
    """It got the configuration, worked out the same size, and says what it is."""
    assert json.loads((sandbox / "sandbox.json").read_text()) == {
        "hypervisor": "clh",
        "config": made["runtime"]["config"],
        "memory_mib": 576,
        "vcpus": 2,
    }
    log = (sandbox / "log").read_text()
    assert "this is no Kata: a double of its shim for tests" in log
    assert "configuration " + made["runtime"]["config"] in log
    assert "warning: annotation" not in log
    monitor = sandbox / "shim-monitor.sock"
    assert ask(monitor, "/agent-url").endswith(f"hvsock://{sandbox}/ch-vm.sock:1024")
    assert "kata_shim_fds" in ask(monitor, "/metrics")
    assert ask(monitor, "/no").startswith("HTTP/1.1 404 ")


async def test_a_configuration_that_kata_refuses_leaves_nothing(
    kata: Any, platform: Any, shims: Path
) -> None:
    """Spoiled behind the provider's back, after the plan: the shim's own words are shown."""
    text = TEMPLATE.replace("DIRECTORY", str(platform.directory))
    kata.write(text)
    await kata("init")
    await kata("apply", "-auto-approve", "-target=kata_runtime_config.rs")
    file = next((platform.directory / "state").rglob("configuration.toml"))
    file.write_text(
        file.read_text().replace("[agent.kata.mem_agent]", "[agent.kata.mem_agent]\nperod=1")
    )
    told = await kata("apply", "-auto-approve", "-refresh=false", "-no-color", code=1)
    assert REAL or "unknown field `perod`" in " ".join(told.replace("│", " ").split())
    assert platform.containerd.names("containers") == []
    await kata("apply", "-auto-approve")  # the refresh sees it, and writes the file anew
    await kata("destroy", "-auto-approve")


@pytest.mark.skipif(REAL, reason="looks for the double's processes")
async def test_a_shim_that_is_killed_is_replaced(kata: Any, platform: Any, shims: Path) -> None:
    kata.write(TEMPLATE.replace("DIRECTORY", str(platform.directory)))
    await kata("init")
    await kata("apply", "-auto-approve")
    made = kata.attributes("kata_container.ws")
    bundles = list(platform.containerd.directory.rglob("kata-shim.pids"))
    double, real = (int(word) for word in bundles[0].read_text().split())
    assert min(double, real) > 1
    for pid in (double, real):
        os.kill(pid, signal.SIGKILL)
    await kata("apply", "-auto-approve")
    again = kata.attributes("kata_container.ws")
    assert again["status"] == "running"
    assert again["pid"] != made["pid"]
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("containers") == []


async def test_the_double_says_what_it_is(tmp_path: Path) -> None:
    install_double(tmp_path, tmp_path)
    assert await shim_version(str(tmp_path / "containerd-shim-katadouble-v2")) == "4.1.0"
