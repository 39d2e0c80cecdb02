"""Kills what makes containers at random moments, and looks whether apply converges.

A service of the provider, containerd and the shims get SIGKILL while Terraform starts and stops a
container with a network and a volume. After each, what was killed is started again and apply is
run to its end. At the end nothing may be left that was not there before.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from kled_provider.kata.serving.remote import serve_remote
from kled_provider.kled.provider import kled_provider
from kled_provider.serve import KATA, KLED
from tests.kit.cni import PLUGINS
from tests.kit.oci import busybox_image
from tests.kit.private_containerd import (
    PrivateContainerd,
    end_loggers,
    open_containerd,
    unmount_below,
)
from tests.kit.waiting import wait_until
from tests.provider.conftest import FakeHost, open_terraform

TRIES = 3
OWNER_FILE = """
state_directory = "{directory}/state"
runtime_directory = "{directory}/run"
default_handler = "runc"
[containerd]
address = "{address}"
namespace = "{namespace}"
[networks]
plugin_directories = ["{plugins}"]
address_pools = ["10.214.0.0/16"]
[handlers.runc]
runtime = "io.containerd.runc.v2"
[places.images]
path = "{directory}/images"
uses = ["import"]
"""
TEMPLATE = """
data "kled_workspace" "me" {{}}
resource "kata_image" "base" {{
  name    = "kled.test/busybox:1"
  archive = "{directory}/images/busybox.tar"
}}
resource "kata_network" "net" {{ name = "net" }}
resource "kata_volume" "home" {{ name = "home" }}
resource "kata_container" "ws" {{
  count  = data.kled_workspace.me.start_count
  name   = "ws"
  image  = kata_image.base.id
  memory = 64
  stop_timeout = 1
  network {{ network = kata_network.net.id }}
  volume {{
    volume = kata_volume.home.id
    target = "/root"
  }}
}}
"""


@dataclass(kw_only=True)
class Rig:
    """What is killed, and started again."""

    directory: Path
    containerd: PrivateContainerd
    rng: random.Random
    service: subprocess.Popen[bytes] | None = None
    killed: list[str] = field(default_factory=list)
    bridges: set[str] = field(default_factory=set)  # other tests make bridges at the same time

    @property
    def socket(self) -> str:
        """Where the service listens."""
        return str(self.directory / "service.sock")

    def prepare(self) -> None:
        """Write the owner's file, the image and the template."""
        (self.directory / "images").mkdir()
        busybox_image().save(self.directory / "images/busybox.tar", "kled.test/busybox:1")
        text = OWNER_FILE.format(
            directory=self.directory,
            address=self.containerd.address,
            namespace=self.containerd.namespace,
            plugins=PLUGINS,
        )
        (self.directory / "kata.toml").write_text(text)

    def start(self) -> None:
        """Start what does not run."""
        if self.containerd.process.poll() is not None:
            self.containerd.start()
        if self.service is None or self.service.poll() is not None:
            Path(self.socket).unlink(missing_ok=True)
            program = [sys.executable, "-m", "kled_provider.kata_program", "serve", self.socket]
            environment = {**os.environ, "KLED_KATA_FILE": str(self.directory / "kata.toml")}
            self.service = subprocess.Popen(program, env=environment)
            wait_until("the service listens", lambda: Path(self.socket).exists())

    def kill_something(self) -> None:
        """Kill the service, containerd or a shim."""
        shims = self.containerd.shims()
        choices: list[tuple[str, Callable[[], None]]] = [
            ("service", self._kill_service),
            ("containerd", self.containerd.kill),
        ]
        if shims:
            choices.append(("shim", lambda: os.kill(self.rng.choice(shims), signal.SIGKILL)))
        name, kill = self.rng.choice(choices)
        self.killed.append(name)
        kill()

    def _kill_service(self) -> None:
        assert self.service is not None
        self.service.kill()
        self.service.wait()

    def said(self) -> str:
        """How often each was killed."""
        names = sorted(set(self.killed))
        return ", ".join(f"{name} {self.killed.count(name)}" for name in names)

    def close(self) -> None:
        """End the service."""
        if self.service is not None:
            self.service.terminate()
            self.service.wait()


def leftovers(rig: Rig) -> dict[str, list[str]]:
    """What of containers there is on this machine."""
    directory, containerd = rig.directory, rig.containerd
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    cgroup = Path("/sys/fs/cgroup/memory", containerd.namespace)
    snapshots = containerd.ctr("snapshots", "ls").stdout.splitlines()[1:]
    return {
        "netns": sorted(p.name for p in (directory / "run/netns").glob("*")),
        "bridges": [name for name in sorted(rig.bridges) if f" {name}: " in links],
        "snapshots": sorted(line.split()[0] for line in snapshots),
        "leases": [name for name in containerd.names("leases") if name.startswith("kled-")],
        "containers": containerd.names("containers"),
        "tasks": containerd.names("tasks"),
        "shims": sorted(map(str, containerd.shims())),
        "images": containerd.names("images"),
        "cgroups": sorted(p.name for p in cgroup.glob("ws-*")),
        "mounts": sorted(m for m in containerd.mounts() if "rootfs" in m or "/pins/" in m),
        "files": sorted(p.name for p in (directory / "run").rglob("*")
                        if not p.is_dir() and not p.name.endswith(".lock")
                        and p.name != "logger.log"),  # the machine's one, where it said something
        "volumes": sorted(p.name for p in (directory / "state").rglob("vol-*")),
    }  # fmt: skip


async def run_kills(rig: Rig, kills: int) -> None:
    """Do it `kills` times, then destroy all. Raises AssertionError."""
    rig.prepare()
    rig.start()
    before = leftovers(rig)
    work = rig.directory / "tf"
    work.mkdir()
    host = FakeHost(directory=rig.directory)
    kled = {address: kled_provider() for address in KLED.addresses}
    serve = partial(_serve, rig.socket)
    async with open_terraform(
        host, work, {**kled, **dict.fromkeys(KATA.addresses, serve)}
    ) as terraform:
        terraform.write(TEMPLATE.format(directory=rig.directory))
        for number in range(kills):
            host.transition = "start" if number % 2 == 0 else "stop"
            await _apply_killed(rig, terraform)
            await _converge(rig, terraform, "apply", "-auto-approve")
            await terraform("plan", "-detailed-exitcode")
            (network,) = terraform.state()["kata_network.net"]["instances"]
            rig.bridges.add(network["attributes"]["bridge"])
            running = rig.containerd.names("tasks")
            assert len(running) == int(host.transition == "start"), running
        host.transition = "delete"
        await _converge(rig, terraform, "destroy", "-auto-approve")
    after = leftovers(rig)
    left = {what: [n for n in names if n not in before[what]] for what, names in after.items()}
    assert not any(left.values()), f"after {rig.killed}: {left}"


async def _apply_killed(rig: Rig, terraform: Any) -> None:
    """Run apply, and kill something after a random while."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(terraform, "apply", "-auto-approve", code=None))
        await trio.sleep(rig.rng.uniform(0.2, 2.5))  # the moment is what is random here
        rig.kill_something()


async def _converge(rig: Rig, terraform: Any, *arguments: str) -> None:
    """Start again what was killed; one more apply has to do, where a shim's end takes a moment."""
    said = ""
    for _ in range(TRIES):
        rig.start()
        said = await terraform(*arguments, code=None)
        if "complete!" in said:
            return
    raise AssertionError(f"after {rig.killed}: {said}")


async def _serve(path: str, listener: Any, host: Any, *, task_status: Any) -> None:
    await serve_remote(listener, host, path, task_status=task_status)


@contextmanager
def open_rig(containerd: PrivateContainerd, directory: Path, seed: int) -> Iterator[Rig]:
    """What is killed, ended at the end."""
    rig = Rig(directory=directory, containerd=containerd, rng=random.Random(seed))
    try:
        yield rig
    finally:
        if containerd.process.poll() is not None:
            containerd.start()
        rig.close()
        end_loggers(directory / "run")
        unmount_below(directory)


def main() -> int:
    """`scripts/chaos-containers`: returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos-containers", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kc-") as name:
        directory = Path(name) / "rig"
        directory.mkdir()
        with (
            open_containerd(Path(name)) as containerd,
            open_rig(containerd, directory, arguments.seed) as rig,
        ):
            trio.run(partial(run_kills, rig, arguments.kills))
            said = f"{arguments.kills} kills, seed {arguments.seed}: nothing is left; {rig.said()}"
            sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
