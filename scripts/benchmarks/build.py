"""Builds: from `kled create` to a shell, many at once, questions, and plans of many resources.

The peer is Terraform's own floor in the same run: the same number of `terraform_data`, by hand in
an empty directory.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from benchmarks.report import Row, percentile, progress
from benchmarks.world import World, open_world

# What a coordinator may add to Terraform's own work: a queue, a process, a stream.
ALLOWED_S = 1.0
SLOWER = 1.5
QUESTION_MS = 300.0
LISTING_MS = 250.0
PLAN_SLOWER = 4.0
_SOURCE = 'terraform {\n  required_providers {\n    kled = { source = "kled/kled" }\n  }\n}\n'
_STAGES = (("init", "initialized"), ("plan", "plan: "))
_WAIT_S = 600.0


def run(*, quick: bool) -> list[Row]:
    """Measure; raises RuntimeError, OSError."""
    with open_world(workspace=False) as world, _open_client(world) as client:
        rows = _measure_create(world, client, times=2 if quick else 6)
        rows.append(_measure_questions(world, client, times=5 if quick else 30))
        rows.append(_measure_plan(world, client, resources=20 if quick else 200))
        rows += _measure_many(world, client, number=5 if quick else 50)
    return rows


@contextmanager
def _open_client(world: World) -> Iterator[httpx.Client]:
    made = world.kled("token", "create", "bench", "--output", "json")
    token = httpx.Response(200, text=made).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{world.url}/api/v1"
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def _measure_create(world: World, client: httpx.Client, *, times: int) -> list[Row]:
    """A process workspace: the first one, which warms caches, and later ones."""
    world.push_template({})
    took, floors, stages = [], [], []
    for number in range(times):
        progress(f"create to shell, {number + 1} of {times}")
        floors.append(_floor(2))
        name = f"ws{number}"
        took.append(_seconds(partial(_create_and_enter, world, name)))
        build = _stages_of(client, name)
        stages.append({**build, "agent and client": took[-1] - sum(build.values())})
        world.kled("delete", name, "--yes")
    rows = [
        _less(f"create to shell, {which}, less {ALLOWED_S:g} s", ours, floor)
        for which, ours, floor in (
            ("cold", took[0], floors[0]),
            ("warm", statistics.median(took[1:]), statistics.median(floors[1:])),
        )
    ]
    for stage in stages[0]:
        middle = statistics.median(each[stage] for each in stages[1:])
        rows.append(Row(name=f"  of it {stage}, warm", value=middle, unit="s"))
    return rows


def _create_and_enter(world: World, name: str) -> None:
    world.kled("create", name, "--template", "bench")
    world.kled("exec", name, "--", "true")


def _answer(client: httpx.Client, url: str, body: dict[str, Any]) -> None:
    _ok(client.post(url, json=body))


def _less(name: str, ours: float, floor: float) -> Row:
    value = max(0.0, ours - ALLOWED_S)
    return Row(name=name, value=value, unit="s", peer=floor, wanted=SLOWER)


def _measure_questions(world: World, client: httpx.Client, *, times: int) -> Row:
    """A template with forty parameters, asked with one answer that differs each time."""
    blocks = (
        f'data "kled_parameter" "p{n}" {{\n  name    = "p{n}"\n  default = "a"\n}}\n'
        for n in range(40)
    )
    _push(world, "forty", _SOURCE + "".join(blocks))
    took = []
    url = "/templates/forty/parameters/evaluate"
    for number in range(times + 1):
        body = {"parameters": {"p7": f"answer {number}"}}
        took.append(_seconds(partial(_answer, client, url, body)) * 1000)
    middle = statistics.median(took[1:])  # the first one prepares
    return Row(name="a question, 40 parameters", value=middle, unit="ms", wanted=QUESTION_MS)


def _measure_plan(world: World, client: httpx.Client, *, resources: int) -> Row:
    """The plan stage of a build with so many resources of ours, and with Terraform's own."""
    agent = f'{_SOURCE}resource "kled_agent" "main" {{}}\n'
    many = (
        f'resource "kled_env" "e{n}" {{\n  agent_id = kled_agent.main.id\n'
        f'  name     = "E{n}"\n  value    = "x"\n}}\n'
        for n in range(resources - 1)
    )
    texts = {"ours": agent + "".join(many), "floor": _plain(resources)}
    found = {}
    for name, text in texts.items():
        progress(f"plan of {resources} resources, {name}")
        _push(world, name, text)
        world.kled("create", name, "--template", name, "--no-wait")
        _wait_for_builds(client)
        found[name] = _stages_of(client, name)["plan"]
    return Row(
        name=f"plan of {resources} resources",
        value=found["ours"],
        unit="s",
        peer=found["floor"],
        wanted=PLAN_SLOWER,
    )


def _measure_many(world: World, client: httpx.Client, *, number: int) -> list[Row]:
    """So many creates at once, and meanwhile somebody who looks at the list."""
    progress(f"{number} creates at once")
    _push(world, "plain", _plain(1))
    over = threading.Event()
    asked: list[float] = []

    def look() -> None:
        while not over.is_set():
            asked.append(_seconds(lambda: _ok(client.get("/workspaces"))) * 1000)

    looking = threading.Thread(target=look)
    looking.start()
    began = time.perf_counter()
    try:
        for each in range(number):
            body = {"name": f"many{each}", "template": "plain"}
            _ok(client.post("/workspaces", json=body))
        _wait_for_builds(client)
    finally:
        took = time.perf_counter() - began
        over.set()
        looking.join()
    listed = [w for w in _ok(client.get("/workspaces")).json() if w["template"] == "plain"]
    failed = sum(w["latest_build"]["status"] != "succeeded" for w in listed)
    slow = percentile(asked, 0.99)
    return [
        Row(name=f"{number} creates at once", value=number / took * 60, unit="a minute"),
        Row(name="  of them failed", value=failed, unit="", wanted=0),
        Row(name="  GET /workspaces meanwhile, p99", value=slow, unit="ms", wanted=LISTING_MS),
    ]


def _wait_for_builds(client: httpx.Client) -> None:
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        found = _ok(client.get("/workspaces")).json()
        if all(w["latest_build"]["finished_at"] for w in found):
            return
        time.sleep(0.2)
    raise RuntimeError(f"builds did not end within {_WAIT_S:.0f} s")


def _stages_of(client: httpx.Client, name: str) -> dict[str, float]:
    """How long each part of a workspace's first build took, in seconds, by its log."""
    build = _ok(client.get(f"/workspaces/{name}/builds")).json()[-1]
    lines = _ok(client.get(f"/builds/{build['id']}/logs", params={"follow": "false"})).text
    log = [line for line in map(_parsed, lines.splitlines()) if "at" in line]
    at, found = _when(build["started_at"]), {}
    found["queue"] = (at - _when(build["queued_at"])).total_seconds()
    for stage, word in _STAGES:
        ended = next((_when(line["at"]) for line in log if word in line["text"]), at)
        found[stage], at = (ended - at).total_seconds(), ended
    found["apply"] = (_when(build["finished_at"]) - at).total_seconds()
    return found


def _parsed(line: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.Response(200, text=line).json()
    return found


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _floor(resources: int) -> float:
    """Seconds of Terraform by hand: init, plan and apply of so many `terraform_data`."""
    with tempfile.TemporaryDirectory(prefix="kled-floor-") as directory:
        Path(directory, "main.tf").write_text(_plain(resources))
        environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        return _seconds(
            lambda: [
                subprocess.run(
                    ["terraform", *words],
                    cwd=directory,
                    env=environment,
                    check=True,
                    capture_output=True,
                )
                for words in (("init",), ("plan", "-out=p"), ("apply", "p"))
            ]
        )


def _plain(resources: int) -> str:
    return "".join(f'resource "terraform_data" "r{n}" {{}}\n' for n in range(resources))


def _push(world: World, name: str, text: str) -> None:
    directory = world.directory / name
    directory.mkdir()
    (directory / "main.tf").write_text(text)
    world.kled("template", "push", str(directory))


def _ok(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise RuntimeError(f"{response.request.url.path}: {response.text[:500]}")
    return response


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
