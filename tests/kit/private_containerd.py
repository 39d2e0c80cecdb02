"""A containerd of its own for tests: root, state and socket in one directory."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kled_provider.kata.output import logger
from tests.kit.programs import need

START_S = 20.0
_RUNC = Path("/run/containerd/runc")
_CGROUPS = Path("/sys/fs/cgroup")
_CONFIG = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper",
]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.ttrpc"
[plugins."io.containerd.internal.v1.restart"]
interval = "1s"
"""


@dataclass(kw_only=True)
class PrivateContainerd:
    """A running containerd. `directory`'s path must be short: sockets lie below it."""

    directory: Path
    # runc keeps its state of every containerd in one place, by namespace and container.
    namespace: str = field(default_factory=lambda: f"kled-{secrets.token_hex(6)}")
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def address(self) -> str:
        """Its socket."""
        return f"{self.directory}/containerd.sock"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        (self.directory / "bin").mkdir(exist_ok=True)
        shim = self.directory / "bin/containerd-shim-kata-v2"
        # Without Kata its shim's name leads to runc's (docs/kata-acceptance.md).
        if not shim.is_symlink() and not os.environ.get("KLED_TEST_KATA"):
            shim.symlink_to(need("containerd-shim-runc-v2"))
        config = self.directory / "config.toml"
        config.write_text(_CONFIG.format(directory=self.directory))
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [need("containerd"), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}"},
            )
        deadline = time.monotonic() + START_S
        while self.ctr("version", check=False).returncode != 0:
            assert time.monotonic() < deadline, (self.directory / "log").read_text()[-2000:]
            assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once; what its shims run goes on."""
        self.process.kill()
        self.process.wait()

    def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ask by containerd's own client, which nobody here wrote."""
        command = [need("ctr"), "-a", self.address, "-n", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=60)

    def version(self) -> tuple[int, int]:
        """Its major and minor version."""
        found = re.search(r"containerd\S* v?(\d+)\.(\d+)", self.ctr("--version").stdout)
        assert found is not None
        return int(found[1]), int(found[2])

    def names(self, *what: str) -> list[str]:
        """What `ctr ... ls -q` lists."""
        return sorted(self.ctr(*what, "ls", "-q").stdout.split())

    def clear(self) -> None:
        """End and remove all tasks and containers, and then the images."""
        self.remove_containers()
        if images := self.names("images"):
            self.ctr("images", "rm", "--sync", *images, check=False)

    def remove_containers(self) -> None:
        """End and remove all tasks and containers."""
        for container in self.names("containers"):
            self.ctr("tasks", "kill", "-s", "KILL", "-a", container, check=False)
            self.ctr("tasks", "rm", "-f", container, check=False)
            self.ctr("containers", "rm", container, check=False)

    def shims(self) -> list[int]:
        """The pids of its shims."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.address.encode() in command and b"-id" in command:
                found.append(int(entry.name))
        return found

    def mounts(self) -> list[str]:
        """The mounts below its directory."""
        return mounts_below(self.directory)


@contextmanager
def open_containerd(directory: Path) -> Iterator[PrivateContainerd]:
    """Run one as long as the context lasts; what was made in it ends with it."""
    for program in ("containerd", "containerd-shim-runc-v2", "runc", "ctr"):
        need(program)
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    opened = PrivateContainerd(directory=directory)
    opened.start()
    try:
        yield opened
    finally:
        try:
            if opened.process.poll() is not None:
                opened.start()
            opened.clear()
        finally:
            opened.process.terminate()
            opened.process.wait(20)
            unmount_below(directory)
            forget_namespace(opened.namespace)


def forget_namespace(namespace: str) -> None:
    """Remove what runc and the kernel have of a namespace, in one place for all containerds."""
    shutil.rmtree(_RUNC / namespace, ignore_errors=True)
    for cgroup in _CGROUPS.glob(f"*/{namespace}"):
        with suppress(OSError):
            cgroup.rmdir()


def end_loggers(run_directory: Path) -> None:
    """End what writes the logs of containers: it outlives all else, as a failed test leaves it."""
    for pid in logger_pids(run_directory / "outputs"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def logger_pids(directory: Path) -> list[int]:
    """Who writes the logs of `directory`, and who stands by."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(logger.__file__) in words and os.fsencode(directory) in words:
                found.append(int(entry.name))
    return found


def unmount_below(directory: Path) -> None:
    """Take away what is mounted below a directory, so that it can be removed."""
    for path in reversed(mounts_below(directory)):
        subprocess.run(["umount", "-l", path], check=False)


def mounts_below(directory: Path) -> list[str]:
    """Where something is mounted below a directory."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [path for path in (line.split()[1] for line in lines) if f"{directory}/" in path]
