"""Containers: what the provider and the coordinator add to `ctr run` of the same image.

On a containerd of its own, with runc and an image of busybox. The peer is containerd's own client
in the same run; that of a plan is Terraform's own `terraform_data`.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from benchmarks.report import Row, progress

from tests.kit.container_site import (
    ContainerSite,
    make_bundle,
    open_container_site,
    unpack_bundle,
)
from tests.kit.oci import busybox_image

ADDED_S = 2.0
SLOWER = 1.5
AGENT_MB = 40.0
_PEER_IMAGE = "kled.test/peer:1"
_MANY = """
terraform {{
  required_providers {{
    kled = {{ source = "kled/kled" }}
    kata = {{ source = "kled/kata" }}
  }}
}}
data "kled_workspace" "me" {{}}
resource "kled_agent" "main" {{ name = "main" }}
resource "kata_image" "base" {{ name = "{image}" }}
resource "kata_container" "many" {{
  count        = data.kled_workspace.me.start_count * {number}
  name         = "many-${{count.index}}"
  image        = kata_image.base.id
  command      = ["/bin/sleep", "1000"]
  memory       = 64
  stop_timeout = 0
}}
"""


def run(*, quick: bool) -> list[Row]:
    """Measure; raises RuntimeError, OSError."""
    with tempfile.TemporaryDirectory(prefix="kled-bundle-") as name:
        progress("the agent's bundle")
        bundle = unpack_bundle(make_bundle(Path(name) / "made"), Path(name))
        with open_container_site(bundle) as made:
            _take_peer_image(made)
            rows = _create(made, times=2 if quick else 5)
            rows += _many(made, number=4 if quick else 20)
    return rows


def _take_peer_image(made: ContainerSite) -> None:
    archive = busybox_image().save(made.site.root / "peer.tar", _PEER_IMAGE)
    made.containerd.ctr("images", "import", str(archive))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _run_peer(made: ContainerSite, name: str) -> None:
    made.containerd.ctr("run", "-d", _PEER_IMAGE, name, "/bin/sleep", "1000")


def _remove_peer(made: ContainerSite, name: str) -> None:
    made.containerd.ctr("tasks", "rm", "-f", name)
    made.containerd.ctr("containers", "rm", name)


def _create(made: ContainerSite, *, times: int) -> list[Row]:
    """From `kled create` to a shell, less what `ctr run` takes."""
    ours, peers, memory = [], [], []
    for number in range(times):
        progress(f"create to shell, {number + 1} of {times}")
        peers.append(_seconds(lambda: _run_peer(made, "peer")))
        _remove_peer(made, "peer")
        created = _seconds(lambda: _create_box(made))
        memory.append(_agent_mb(made))
        ours.append(created + _seconds(lambda: made.site.kled("exec", "box", "--", "true")))
        made.site.kled("delete", "box", "--yes")
    added = [mine - peer for mine, peer in zip(ours[1:], peers[1:], strict=True)]
    return [
        Row(name="create to shell, cold", value=ours[0], unit="s"),
        Row(
            name="create to shell less `ctr run`, warm",
            value=statistics.median(added),
            unit="s",
            wanted=ADDED_S,
        ),
        Row(
            name="memory of the agent in its container, idle",
            value=statistics.median(memory),
            unit="MB",
            wanted=AGENT_MB,
        ),
    ]


def _create_box(made: ContainerSite) -> None:
    made.site.kled("create", "box", "--template", "containerd", "--param", f"image={made.image}")


def _agent_mb(made: ContainerSite) -> float:
    """Of what runs in the container the agent itself, which is connected and has served nobody."""
    (container,) = made.containerd.names("containers")
    rows = made.containerd.ctr("tasks", "ls").stdout.splitlines()
    first = next(int(row.split()[1]) for row in rows if row.startswith(container))
    agents = psutil.Process(first).children(recursive=True)
    return max(process.memory_info().rss for process in agents) / 1e6


def _many(made: ContainerSite, *, number: int) -> list[Row]:
    """Many at once, both without a network."""
    template = made.site.root / "many"
    template.mkdir()
    (template / "main.tf").write_text(_MANY.format(image=made.image, number=number))
    made.site.kled("template", "push", template, "--name", "many")
    progress(f"{number} containers at once")
    peer = _seconds(lambda: _at_once(made, number))
    for index in range(number):
        _remove_peer(made, f"peer-{index}")
    ours = _seconds(
        lambda: made.site.kled("create", "many", "--template", "many", "--no-wait", timeout=300)
    )
    ours += _seconds(lambda: _until_there(made, number))
    made.site.kled("delete", "many", "--yes", timeout=300)
    return [
        Row(
            name=f"{number} containers, from `kled create` to all running",
            value=ours,
            unit="s",
            peer=peer,
            wanted=SLOWER,
        )
    ]


def _at_once(made: ContainerSite, number: int) -> None:
    threads = [
        threading.Thread(target=_run_peer, args=(made, f"peer-{index}")) for index in range(number)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _until_there(made: ContainerSite, number: int) -> None:
    deadline = time.monotonic() + 300
    while made.containerd.ctr("tasks", "ls").stdout.count("RUNNING") < number:
        if time.monotonic() > deadline:
            raise RuntimeError("the containers do not run")
        time.sleep(0.02)
