"""Containers with networks, volumes and logs on a real containerd; what a killed run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.handshake import COOKIE
from kled_provider.kata.container.making.joining import Joins
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.network.attaching import ContainerNetworks
from kled_provider.kata.network.settings import network_settings
from kled_provider.kata.owner.loading import load_owner_file
from tests.kit.cni import Machine, forget, leftovers, make_machine, why_not
from tests.kit.network import open_network
from tests.kit.private_containerd import logger_pids
from tests.kit.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]
TEMPLATE = """
resource "kata_image" "base" {
  name    = "kled.test/busybox:1"
  archive = "%s/images/busybox.tar"
}
resource "kata_network" "net" {
  name = "net"
}
resource "kata_volume" "home" {
  name = "home"
}
"""
CONTAINER = """
resource "kata_container" "%(name)s" {
  name    = "%(name)s"
  image   = kata_image.base.id
  memory  = 128
  command = ["sh", "-c", "echo hello from %(name)s; echo kept >>/home/file; exec sleep 1000"]
  stop_timeout = 0
  runtime { handler = "runc" }
  %(more)s
}
"""
NETWORK = "network {\n network = kata_network.net.id \n }\n"
VOLUME = 'volume {\n volume = kata_volume.home.id \n target = "/home" \n }\n'


@pytest.fixture
def machine(platform: Any, tmp_path: Path) -> Iterator[Machine]:
    """The platform's networks are those of a namespace."""
    (tmp_path / "machine").mkdir()
    with open_network() as network:
        made = make_machine(network.add("host"), tmp_path / "machine")
        (plugins,) = made.settings.plugin_directories
        platform.write(
            f'[networks]\nplugin_directories = ["{plugins}"]\naddress_pools = ["10.78.0.0/16"]\n'
        )
        with made.namespace.entered():
            settings = network_settings(load_owner_file(str(platform.file)))
            found = Machine(made.namespace, settings)
            yield found
            forget(found)


async def test_a_container_has_its_network_volume_and_log_and_leaves_nothing(
    kata: Any, platform: Any, machine: Machine
) -> None:
    port = "port {\n internal = 80 \n external = 18099 \n }\n"
    one = CONTAINER % {"name": "one", "more": NETWORK + VOLUME + port}
    kata.write(TEMPLATE % platform.directory + one)
    await kata("init")
    await kata("apply", "-auto-approve")
    await kata("plan", "-detailed-exitcode")
    made = kata.attributes("kata_container.one")
    assert made["ip_addresses"][0].startswith("10.78.0.")
    log = Path(made["log_path"])
    wait_until("what it prints", lambda: log.exists() and log.read_text() == "hello from one\n")

    # A second writer of the volume, and a second owner of the port, are refused at their lines.
    two = CONTAINER % {"name": "two", "more": VOLUME}
    kata.write(TEMPLATE % platform.directory + one + two)
    said = await kata("apply", "-auto-approve", "-no-color", code=1)
    assert f"in use by container {made['id']}" in " ".join(said.replace("│", "").split())
    assert "volume = kata_volume.home.id" in said
    three = CONTAINER % {"name": "three", "more": NETWORK + port}
    kata.write(TEMPLATE % platform.directory + one + three)
    said = await kata("apply", "-auto-approve", "-no-color", code=1)
    assert "port 18099/tcp is in use" in " ".join(said.replace("│", "").split())
    assert "external = 18099" in said

    # Where the first is gone the second has the volume, and what the first left in it.
    kata.write(TEMPLATE % platform.directory + two)
    await kata("apply", "-auto-approve")
    (volume,) = (platform.directory / "state/data").iterdir()
    wait_until("both wrote", lambda: (volume / "file").read_text() == "kept\nkept\n")
    await kata("destroy", "-auto-approve")
    assert leftovers(machine) == []
    assert [p.name for p in (platform.directory / "run/outputs").iterdir()] == ["logger.lock"]
    assert not log.parent.exists()


async def test_what_containerd_itself_restarts_gets_no_volume_that_another_writes(
    kata: Any, platform: Any, machine: Machine
) -> None:
    """The lock is taken by each start of a task, not by the provider."""
    kata.write(TEMPLATE % platform.directory + CONTAINER % {"name": "one", "more": VOLUME})
    await kata("init")
    await kata("apply", "-auto-approve")
    made = kata.attributes("kata_container.one")["id"]
    volumes = list((platform.directory / "state/volumes").glob("*.lock"))
    assert len(volumes) == 1
    done = platform.containerd.ctr("tasks", "kill", "-s", "KILL", made)
    assert done.returncode == 0
    holder = Path("/proc/locks")
    inode = f":{volumes[0].stat().st_ino} "
    wait_until("the lock is free", lambda: inode not in holder.read_text())
    with volumes[0].open("r+") as lock:
        import fcntl  # noqa: PLC0415

        fcntl.flock(lock, fcntl.LOCK_EX)
        platform.containerd.ctr("tasks", "delete", made, check=False)
        refused = platform.containerd.ctr("tasks", "start", "-d", made, check=False)
        assert refused.returncode != 0
        assert "volume home is in use" in refused.stderr
    await kata("destroy", "-auto-approve")


_KILLED = """
import os, signal, sys, trio
from kled_provider.kata.container.making.directory import container_directory
from kled_provider.kata.container.making.joining import Joins
from kled_provider.kata.network.attaching import NetworkAttachment
from kled_provider.kata.owner.loading import load_owner_file

async def main():
    owner = load_owner_file(sys.argv[1])
    joins = Joins(owner)
    await joins.outputs.open("ghost")
    await joins.networks.attach("ghost", "w-1", [NetworkAttachment(network="w-1.net")])
    directory = container_directory(owner.runtime_directory, "ghost")
    directory.write_etc({"hosts": ""})
    directory.keep({})
    os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_what_a_killed_run_left_is_collected_by_the_next(
    kata: Any, platform: Any, machine: Machine
) -> None:
    one = CONTAINER % {"name": "other", "more": NETWORK}
    kata.write(TEMPLATE % platform.directory + one)
    await kata("init")
    await kata("apply", "-auto-approve")
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", _KILLED, str(platform.file)], check=False, cwd=root)
    assert (machine.settings.netns_directory / "kled-ghost").exists()
    on_machine = KataMachine(lambda: load_owner_file(str(platform.file)))
    async with trio.open_nursery() as nursery:
        await nursery.start(on_machine.serve)
        assert set(await collect_leftovers(on_machine)) == {"ghost"}
        nursery.cancel_scope.cancel()
    assert not list(Path(platform.directory, "run").rglob("ghost*"))
    made = kata.attributes("kata_container.other")["id"]
    await ContainerNetworks(machine.settings).check(made)
    assert made in Joins(load_owner_file(str(platform.file))).outputs.recorded()
    # Never under the id of one before, after which containerd still cleans up.
    await kata("apply", "-auto-approve", "-replace=kata_container.other")
    other = kata.attributes("kata_container.other")["id"]
    assert other != made
    assert platform.containerd.names("containers") == [other]
    await kata("destroy", "-auto-approve")
    assert leftovers(machine) == []


async def test_a_plugin_that_refuses_a_detach_hinders_nothing_else(
    host: Any, kata: Any, platform: Any, machine: Machine
) -> None:
    one = CONTAINER % {"name": "one", "more": NETWORK}
    kata.write(TEMPLATE % platform.directory + one)
    await kata("init")
    await kata("apply", "-auto-approve")
    made = kata.attributes("kata_container.one")["id"]
    (plugins,) = machine.settings.plugin_directories
    bridge = plugins / "bridge"
    as_it_was = bridge.read_text()
    bridge.write_text('#!/bin/sh\n[ "$CNI_COMMAND" != DEL ] || exit 1\n' + as_it_was)
    # A stop: all but the traces is gone, and the state says so at once.
    await kata("destroy", "-auto-approve", "-target=kata_container.one")
    assert platform.containerd.names("containers") == []
    assert not list((platform.directory / "run/outputs").glob(f"{made}*"))
    assert any("traces of its network are left" in said for said in host.notes), host.notes
    assert "kata_container.one" not in kata.state()
    # A start and a delete go on, whatever is left.
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    bridge.write_text(as_it_was)
    on_machine = KataMachine(lambda: load_owner_file(str(platform.file)))
    async with trio.open_nursery() as nursery:
        await nursery.start(on_machine.serve)
        assert made in await collect_leftovers(on_machine)
        nursery.cancel_scope.cancel()
    assert leftovers(machine) == []


async def test_where_there_is_no_owners_file_or_containerd_nothing_is_collected(
    tmp_path: Path,
) -> None:
    machine = KataMachine(lambda: load_owner_file(str(tmp_path / "none.toml")))
    assert await collect_leftovers(machine) == []


async def test_a_provider_that_terraform_starts_by_hand_begins_with_it_too(
    kata: Any, platform: Any
) -> None:
    kata.write(TEMPLATE % platform.directory + CONTAINER % {"name": "one", "more": ""})
    await kata("init")
    await kata("apply", "-auto-approve", "-target=kata_container.one")
    outputs = platform.directory / "run/outputs"
    while pids := logger_pids(outputs):  # where one is left it makes the other again
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    environment = {**os.environ, COOKIE[0]: COOKIE[1], "KLED_KATA_FILE": str(platform.file)}
    program = [sys.executable, "-m", "kled_provider.kata_program"]
    with subprocess.Popen(  # noqa: ASYNC220 - it only has to be there
        program, env=environment, stdout=subprocess.DEVNULL
    ) as provider:
        try:
            wait_until("the log is read again", lambda: logger_pids(outputs))
        finally:
            provider.kill()
    await kata("destroy", "-auto-approve")
