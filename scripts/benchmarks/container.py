"""Containers: what the provider and the coordinator add to `ctr run` of the same image.

On a containerd of its own, with runc and an image of busybox. The peer is containerd's own client
in the same run; that of a plan is Terraform's own `terraform_data`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
PLAN_SLOWER = 3.0
AGENT_MB = 40.0
_PARALLEL = 10  # what Terraform does at a time by default; so does the peer
_STAGES = ("queue", "prepare", "init", "plan", "apply")
_PEER_IMAGE = "kled.test/peer:1"
_MANY = """
terraform {{
  required_providers {{
    kled = {{ source = "kled/kled" }}
    kata = {{ source = "kled/kata" }}
  }}
}}
data "kled_workspace" "me" {{}}
resource "kata_image" "base" {{ name = "{image}" }}
resource "kata_container" "many" {{
  count        = data.kled_workspace.me.start_count * {number}
  name         = "many-${{count.index}}"
  image        = kata_image.base.id
  command      = ["/bin/sleep", "1000"]
  memory       = 64
  must_run     = false
  stop_timeout = 0
}}
"""
_PLAIN = 'resource "terraform_data" "many" {{\n  count = {number}\n}}\n'


def run(*, quick: bool) -> list[Row]:
    """Measure; raises RuntimeError, OSError."""
    with tempfile.TemporaryDirectory(prefix="kled-bundle-") as name:
        progress("the agent's bundle")
        bundle = unpack_bundle(make_bundle(Path(name) / "made"), Path(name))
        with open_container_site(bundle) as made:
            _take_peer_image(made)
            rows = _create(made, times=2 if quick else 5)
            rows += _many(made, number=4 if quick else 20)
            rows.append(_plan(made, number=10 if quick else 50))
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
    ours, peers, memory, stages = [], [], [], []
    for number in range(times):
        progress(f"create to shell, {number + 1} of {times}")
        peers.append(_seconds(lambda: _run_peer(made, "peer")))
        _remove_peer(made, "peer")
        created = _seconds(lambda: _create_box(made))
        memory.append(_agent_mb(made))
        ours.append(created + _seconds(lambda: made.site.kled("exec", "box", "--", "true")))
        spent = _stages_of(made, "box")
        stages.append({**spent, "agent and client": ours[-1] - sum(spent.values())})
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
        *(
            Row(
                name=f"  of it {stage}, warm",
                value=statistics.median(each[stage] for each in stages[1:]),
                unit="s",
            )
            for stage in stages[0]
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
    _push(made, "many", _MANY.format(image=made.image, number=number))
    progress(f"{number} containers at once")
    peer = _seconds(lambda: _at_once(made, number))
    for index in range(number):
        _remove_peer(made, f"peer-{index}")
    ours = _seconds(lambda: _build(made, "many"))
    applied = _stages_of(made, "many")["apply"]
    made.site.kled("delete", "many", "--yes", timeout=300)
    return [
        Row(
            name=f"apply of {number} containers at once",
            value=applied,
            unit="s",
            peer=peer,
            wanted=SLOWER,
        ),
        Row(name="  from `kled create` to the end of the build", value=ours, unit="s"),
    ]


def _at_once(made: ContainerSite, number: int) -> None:
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for done in [pool.submit(_run_peer, made, f"peer-{index}") for index in range(number)]:
            done.result()


def _plan(made: ContainerSite, *, number: int) -> Row:
    """The plan of so many, with nothing to read, and of as many of Terraform's own resources."""
    progress(f"plan of {number}")
    texts = {
        "planned": _MANY.format(image=made.image, number=number),
        "plain": _PLAIN.format(number=number),
    }
    took = {}
    for name, text in texts.items():
        _push(made, name, text)
        _build(made, name)
        took[name] = _stages_of(made, name)["plan"]
        made.site.kled("delete", name, "--yes", timeout=300)
    return Row(
        name=f"plan of {number} kata_container, `terraform_data` beside it",
        value=took["planned"],
        unit="s",
        peer=took["plain"],
        wanted=PLAN_SLOWER,
    )


def _build(made: ContainerSite, name: str) -> None:
    """Create a workspace without an agent, and wait for the end of its build."""
    made.site.kled("create", name, "--template", name, "--no-wait")
    made.site.kled("logs", name, "--follow", timeout=300)


def _push(made: ContainerSite, name: str, text: str) -> None:
    template = made.site.root / name
    template.mkdir()
    (template / "main.tf").write_text(text)
    made.site.kled("template", "push", template, "--name", name)


def _stages_of(made: ContainerSite, workspace: str) -> dict[str, float]:
    """How long each part of a workspace's first build took, in seconds."""
    steps = made.site.ask("builds", workspace, "--timings", "1")
    found = {s["name"]: s["duration_s"] for s in steps if s["kind"] in ("queue", "stage")}
    return {stage: found.get(stage) or 0.0 for stage in _STAGES}
