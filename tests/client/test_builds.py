"""`kled builds`, `restart` and `retry` against a fake coordinator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.client.conftest import Kled
from tests.client.fake import Fake, problem, workspace

DEV = "/api/v1/workspaces/dev"
BUILDS = f"{DEV}/builds"
BY_ID = "/api/v1/workspaces/ws_00000000000000000001"
BUILD = {
    "id": "bld_1",
    "number": 1,
    "transition": "start",
    "version": 4,
    "status": "succeeded",
    "error": None,
    "queued_at": "2026-01-01T00:00:00Z",
    "started_at": "2026-01-01T00:00:02Z",
    "finished_at": "2026-01-01T00:01:07Z",
    "created_by": "alice",
}


def test_builds_are_a_table(signed_in: Fake, kled: Kled) -> None:
    waiting = {"number": 2, "status": "pending", "started_at": None, "finished_at": None}
    failed = {"number": 3, "status": "failed", "error": "no space\non the disk"}
    signed_in.routes["GET", BUILDS] = (200, [BUILD | failed, BUILD | waiting, BUILD])
    table = kled("builds", "dev").stdout.decode().splitlines()
    assert table[0].split() == [
        *("BUILD", "ACTION", "VERSION", "STATUS", "BY", "QUEUED", "WAITED", "TOOK", "ERROR")
    ]
    assert table[1].split()[-2:] == ["no", "space"]
    assert table[2].split()[-2:] == ["-", "-"]
    assert "2.0 s" in table[3]
    assert "1 min 5 s" in table[3]
    assert json.loads(kled("-o", "json", "builds", "dev").stdout)[2] == BUILD
    signed_in.routes["GET", BUILDS] = (200, [])
    assert kled("workspace", "builds", "dev").stderr == b"dev has no build\n"


def test_timings_are_of_one_build(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", BUILDS] = (200, [BUILD | {"id": "bld_7", "number": 2}, BUILD])
    steps = [
        {"kind": "queue", "name": "queue", "action": "", "started_s": 0, "duration_s": 2.0},
        {"kind": "stage", "name": "apply", "action": "", "started_s": 2.0, "duration_s": None},
        {"kind": "resource", "name": "a.b", "action": "create", "started_s": 2.5, "duration_s": 75},
    ]
    steps = [{**step, "failed": step["name"] == "a.b"} for step in steps]
    signed_in.routes["GET", "/api/v1/builds/bld_7/timings"] = (200, steps)
    lines = kled("builds", "dev", "--timings", "2").stdout.decode().splitlines()
    assert [line.split() for line in lines] == [
        ["STEP", "BEGAN", "TOOK"],
        ["queue", "+0.0", "s", "2.0", "s"],
        ["apply", "+2.0", "s", "goes", "on"],
        ["a.b", "(create)", "+2.5", "s", "1", "min", "15", "s,", "failed"],
    ]
    assert json.loads(kled("-o", "json", "builds", "dev", "--timings", "2").stdout) == steps
    assert kled("builds", "dev", "--timings", "9").returncode == 4


SIZE = {"name": "size", "before": 1, "after": 2, "hidden": None, "unknown": False, "replaces": True}
CHANGES = [
    {"address": "a.new", "action": "create", "attributes": []},
    {
        "address": "a.b",
        "action": "replace",
        "attributes": [
            SIZE,
            SIZE | {"name": "id", "unknown": True, "replaces": False},
            SIZE | {"name": "key", "hidden": "sensitive", "replaces": False},
        ],
    },
]


def test_a_plan_is_shown_and_nothing_is_queued(signed_in: Fake, kled: Kled) -> None:
    for path in (f"{BY_ID}/plan", f"{DEV}/plan"):
        signed_in.routes["POST", path] = (200, CHANGES)
    shown = kled("start", "dev", "--plan")
    assert shown.stdout.decode().splitlines() == [
        "  + a.new would be created",
        "-/+ a.b would be destroyed and created again",
        "      size: 1 → 2 (makes it anew)",
        "      id: 1 → (known afterwards)",
        "      key: (sensitive)",
    ]
    assert shown.stderr == b"1 to create, 1 to replace; nothing was built\n"
    assert json.loads(kled("-o", "json", "stop", "dev", "--plan").stdout) == CHANGES
    assert kled("delete", "dev", "--plan").returncode == 0
    assert kled("update", "dev", "--version", "3", "--plan").returncode == 0
    sent = [json.loads(r[2]) for r in signed_in.requests if r[0] == "POST"]
    assert [(body["transition"], body.get("version")) for body in sent] == [
        *(("start", None), ("stop", None), ("delete", None), ("start", 3))
    ]


def test_drift_says_so_by_its_exit_code(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["POST", f"{DEV}/drift"] = (200, [])
    same = kled("drift", "dev")
    assert (same.returncode, same.stderr) == (0, b"dev: everything is as the state says\n")
    gone = [{"address": "a.b", "action": "delete", "attributes": []}]
    signed_in.routes["POST", f"{DEV}/drift"] = (200, gone)
    other = kled("drift", "dev")
    assert (other.returncode, other.stdout) == (8, b"  - a.b is gone\n")
    assert other.stderr == b"dev: 1 resource differs from the state\n"


def test_a_rename_tells_what_follows_from_it(signed_in: Fake, kled: Kled) -> None:
    renamed = {"id": "ws_1", "name": "lab", "changes": []}
    signed_in.routes["PATCH", DEV] = (200, renamed)
    assert kled("rename", "dev", "lab").stderr == b"dev is lab now\n"
    update = {"address": "a.b", "action": "update", "attributes": []}
    signed_in.routes["PATCH", DEV] = (200, renamed | {"changes": [update]})
    told = kled("workspace", "rename", "dev", "lab")
    assert told.stdout == b"  ~ a.b would be updated in place\n"
    assert told.stderr == b"dev is lab now; the next build makes these changes\n"
    signed_in.routes["PATCH", DEV] = problem(409, "workspace_exists", "there is one already")
    assert kled("rename", "dev", "lab").returncode == 5
    assert kled("rename", "dev", "Not A Name").returncode == 2


def test_states_are_listed_pulled_and_pushed(signed_in: Fake, kled: Kled, tmp_path: Path) -> None:
    version = {"version": 2, "created_at": "2026-01-01T00:00:00Z", "build": None}
    version |= {"created_by": "root", "is_pushed": True, "size_bytes": 2048}
    signed_in.routes["GET", f"{DEV}/states"] = (200, [version])
    assert kled("state", "versions", "dev").stdout.split()[-4:] == [
        b"pushed",
        b"root",
        b"2.0",
        b"kB",
    ]
    content = {"version": 4, "serial": 3}
    signed_in.routes["GET", f"{DEV}/states/content"] = (200, content)
    assert json.loads(kled("state", "pull", "dev").stdout) == content
    file = tmp_path / "state.json"
    assert kled("state", "pull", "dev", "--output-file", str(file)).stdout == b""
    assert (json.loads(file.read_bytes()), file.stat().st_mode & 0o777) == (content, 0o600)
    signed_in.routes["POST", f"{DEV}/states/content"] = (201, {"version": 3})
    pushed = kled("state", "push", "dev", str(file))
    assert b"it is version 3 of the state of dev" in pushed.stderr
    assert kled("state", "push", "dev", "-", input=b"{}").returncode == 0
    sent = [r[2] for r in signed_in.requests if r[0] == "POST"]
    assert sent == [file.read_bytes(), b"{}"]
    assert kled("state", "push", "dev", str(tmp_path / "none")).returncode == 2


def test_update_all_updates_what_is_behind_and_reports(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/templates"] = (200, [{"name": "process", "active_version": 7}])
    behind = [workspace("dev"), workspace("off", "stopped"), workspace("new")]
    behind = [found | {"id": f"ws_{n}"} for n, found in enumerate(behind)]
    behind[2]["template_version"] = 7
    signed_in.routes["GET", "/api/v1/workspaces"] = (200, behind)
    signed_in.routes["POST", "/api/v1/workspaces/ws_0/builds"] = (202, {"id": "bld_1"})
    signed_in.routes["POST", "/api/v1/workspaces/ws_1/builds"] = problem(409, "x", "it is busy")
    done = kled("-o", "json", "update", "--all")
    assert done.returncode == 1
    report = [
        (each["workspace"], each["result"], each["error"]) for each in json.loads(done.stdout)
    ]
    assert report == [("dev", "updated", None), ("off", "failed", "it is busy")]
    sent = sorted(r[2] for r in signed_in.requests if r[0] == "POST")
    assert [json.loads(body)["transition"] for body in sent] == ["start", "stop"]
    signed_in.routes["GET", "/api/v1/workspaces"] = (200, behind[2:])
    assert kled("update", "--all").returncode == 0
    assert kled("update", "--all", "dev").returncode == 2
    assert kled("update").returncode == 2


def test_a_restart_follows_the_stop_and_the_start(signed_in: Fake, kled: Kled) -> None:
    stop = {"id": "bld_2", "transition": "stop", "restarts": True}
    signed_in.routes["POST", f"{BY_ID}/builds"] = (202, stop)
    started = workspace() | {"latest_build": BUILD | {"id": "bld_3"}}
    signed_in.routes["GET", BY_ID] = (200, started)
    done = kled("restart", "dev")
    assert (done.returncode, b"dev is ready" in done.stderr) == (0, True), done.stderr
    sent = [json.loads(r[2]) for r in signed_in.requests if r[0] == "POST" and r[2]]
    assert sent == [{"transition": "restart"}]
    followed = [r[1] for r in signed_in.requests if "/logs" in r[1]]
    assert [target.split("/")[4] for target in followed] == ["bld_2", "bld_3"]


def test_a_restart_that_was_cancelled_as_its_stop_ended_says_so(
    signed_in: Fake, kled: Kled
) -> None:
    stop = {"id": "bld_2", "transition": "stop", "restarts": True}
    signed_in.routes["POST", f"{BY_ID}/builds"] = (202, stop)
    signed_in.routes["GET", BY_ID] = (200, workspace(status="stopped") | {"latest_build": stop})
    assert kled("restart", "dev").stderr == b"dev is stopped\n"


def test_a_retry_is_of_the_latest_build(signed_in: Fake, kled: Kled) -> None:
    retry = "/api/v1/builds/bld_1/retry"
    signed_in.routes["POST", retry] = (202, BUILD | {"id": "bld_2", "number": 2})
    assert b"dev is ready" in kled("retry", "dev").stderr
    signed_in.routes["POST", retry] = (202, BUILD | {"id": "bld_2", "transition": "stop"})
    signed_in.routes["GET", BY_ID] = (
        200,
        workspace(status="stopped") | {"latest_build": {"transition": "stop"}},
    )
    assert kled("retry", "dev").stderr == b"dev is stopped\n"
    signed_in.routes["POST", retry] = problem(409, "build_not_retryable", "build 1 is running")
    assert kled("retry", "dev").returncode == 5


def test_who_follows_a_log_is_told_of_the_agents_that_have_not_connected(
    signed_in: Fake, kled: Kled
) -> None:
    def agent(name: str, state: str, advice: str) -> dict[str, Any]:
        return {"id": f"agt_{name}", "name": name, "state": state, "advice": advice}

    agents = [
        agent("main", "connecting", "its machine starts"),
        agent("late", "timed_out", "it has not come; kled show NAME"),
        agent("fine", "ready", ""),
    ]
    signed_in.routes["GET", BUILDS] = (
        200,
        [{"id": f"bld_{n}", "number": n, "transition": "start"} for n in (2, 1)],
    )
    signed_in.routes["GET", DEV] = (200, {**workspace(), "agents": agents, "agent": None})
    signed_in.log = [{"end": {"status": "succeeded", "error": None}}]
    scripts = f"{DEV}/scripts/log?build=2&follow=true"
    signed_in.routes["GET", scripts.partition("?")[0]] = (200, {})
    assert kled("logs", "-f", "dev").stderr.decode().splitlines() == [
        "agent main connecting: its machine starts",
        "agent late timed out: it has not come; kled show dev",
        "build 2 (start) succeeded",
    ]
    asked = [path for _method, path, *_ in signed_in.requests]
    assert asked.index(DEV) < asked.index(scripts)
    # What came of an older build is over; nobody waits where nobody follows.
    assert b"agent" not in kled("logs", "-f", "dev", "--build", "1").stderr
    assert b"agent" not in kled("logs", "dev").stderr
