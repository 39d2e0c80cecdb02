"""What a workspace that is a container needs: containerd, CNI plugins, the bundle, an owner's file.

Everything is made in a namespace of containerd's own, and gone with the quickstart.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

from quick.place import Failed, Place, call, run

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "kled-quickstart"
CNI = ("/opt/cni/bin", "/usr/lib/cni")
PACKAGES = "containerd runc containernetworking-plugins iptables"
BUILD_S = 900  # a slow mirror; the packages are 30 MB
_OWNER_FILE = """\
state_directory = "{state}"
runtime_directory = "{run}"
default_handler = "runc"

[containerd]
address = "{address}"
namespace = "{namespace}"

[networks]
plugin_directories = [{plugins}]

[handlers.runc]
runtime = "io.containerd.runc.v2"

[agent_bundles]
{architecture} = "{bundle}"

[registries."{registry}"]
plain_http = {plain}
"""
# Run by the installed Python: takes away what no containerd knows any more.
_COLLECT = """
import sys, trio
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.loading import load_owner_file

async def main():
    machine = KataMachine(lambda: load_owner_file(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        await collect_leftovers(machine)
        nursery.cancel_scope.cancel()

trio.run(main)
"""


def containerd_address() -> str:
    """Its socket, as containerd's own client finds it."""
    return os.environ.get("CONTAINERD_ADDRESS", "/run/containerd/containerd.sock")


def check_machine() -> str:
    """Say what containers run on. Raises Failed where something is missing."""
    if os.geteuid() != 0:
        raise Failed("only root makes containers: run it as root, or leave --template out")
    address = containerd_address()
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address)
    except OSError as error:
        raise Failed(
            f"there is no containerd at {address}: {error.strerror} (apt install {PACKAGES})"
        ) from error
    missing = [name for name in ("runc", "ctr", "iptables") if shutil.which(name) is None]
    if not any(Path(directory, "bridge").exists() for directory in CNI):
        missing.append("the CNI plugins")
    if missing:
        raise Failed(f"{' and '.join(missing)} not installed (apt install {PACKAGES})")
    return address


def machine_address() -> str:
    """An address of this machine that containers reach too. Raises Failed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError as error:
            raise Failed(f"this machine has no address but its loopback: {error}") from error
        return str(probe.getsockname()[0])


def prepare(place: Place, image: str, bundle: Path | None) -> str:
    """Unpack the agent's bundle, built unless given, and write the owner's file."""
    packed = bundle or _build(place)
    unpacked = place.state / "bundle"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    with tarfile.open(packed) as tar:
        tar.extractall(unpacked)
    registry = image.partition("/")[0] or "localhost"
    place.kata_file.write_text(
        _OWNER_FILE.format(
            state=place.state / "kata",
            run=run_directory(place),
            address=containerd_address(),
            namespace=NAMESPACE,
            plugins=", ".join(f'"{directory}"' for directory in CNI),
            architecture=_architecture(packed),
            bundle=unpacked / "kled-agent",
            registry=registry,
            plain="true" if registry.split(":")[0] in ("localhost", "127.0.0.1") else "false",
        )
    )
    return f"bundle {packed.name}"


def run_directory(place: Place) -> Path:
    """What ends with a boot; sockets and namespaces below it want a short path."""
    return Path("/run") / f"kled-qs-{hashlib.sha256(str(place.state).encode()).hexdigest()[:8]}"


def _build(place: Place) -> Path:
    output = place.state / "built"
    shutil.rmtree(output, ignore_errors=True)
    words = [str(ROOT / "scripts/build-agent-bundle"), "--output", str(output)]
    run(words, place.environment(), timeout=BUILD_S)
    return next(output.glob("*.tar.gz"))


def _architecture(packed: Path) -> str:
    return packed.name.removesuffix(".tar.gz").rpartition("-")[2]


def clean_up_containers(place: Place) -> None:
    """Take away what is left of containers, networks and volumes. Safe at any moment."""
    if not place.kata_file.exists():
        return
    for container in _ctr("containers", "ls", "-q").split():
        _ctr("tasks", "kill", "-a", "-s", "KILL", container)
        _ctr("tasks", "rm", "-f", container)
        _ctr("containers", "rm", container)
    for image in _ctr("images", "ls", "-q").split():
        _ctr("images", "rm", "--sync", image)
    with contextlib.suppress(OSError, Failed, subprocess.SubprocessError):
        run([place.program("python"), "-c", _COLLECT, str(place.kata_file)], place.environment())
    _ctr("namespaces", "rm", NAMESPACE)
    subprocess.run(["umount", "-q", run_directory(place) / "secrets"], check=False)
    for path in (place.state / "kata", run_directory(place)):
        shutil.rmtree(path, ignore_errors=True)
    place.kata_file.unlink()


def _ctr(*words: str) -> str:
    """Containerd's own client; what it refuses is gone."""
    command = ["ctr", "-a", containerd_address(), "-n", NAMESPACE, *words]
    with contextlib.suppress(OSError, Failed):
        done = call(command, dict(os.environ), timeout=30, stdin=subprocess.DEVNULL)
        return "" if done.returncode else done.stdout
    return ""
