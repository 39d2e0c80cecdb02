"""Plans of builds, drift, restarts and what follows from a state, with the real Terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.site import Site, open_site
from tests.kit.waiting import wait_until

TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
variable "size" { default = "1" }
variable "key" {
  default   = "hunter2-hunter2"
  sensitive = true
}
data "kled_workspace" "me" {}
resource "kled_agent" "main" {}
resource "terraform_data" "size" {
  input = { size = var.size, key = var.key }
}
resource "terraform_data" "volume" {
  triggers_replace = var.size == "named" ? [data.kled_workspace.me.name] : []
}
resource "kled_process" "agent" {
  count    = data.kled_workspace.me.start_count
  name     = "agent"
  agent_id = kled_agent.main.id
  env_sensitive = {
    KLED_AGENT_TOKEN     = kled_agent.main.token
    KLED_COORDINATOR_URL = data.kled_workspace.me.access_url
  }
}
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A coordinator with the workspace `dev`, which runs."""
    template: Path = tmp_path_factory.mktemp("planned")
    (template / "main.tf").write_text(TEMPLATE)
    with open_site(template=template, name="planned") as opened:
        opened.kled("create", "dev")
        yield opened


def changes(site: Site, *words: str) -> dict[str, str]:
    return {each["address"]: each["action"] for each in site.ask(*words)}


def test_a_plan_shows_what_would_change_and_leaves_nothing(planned: Site) -> None:
    builds = planned.ask("builds", "dev")
    assert changes(planned, "start", "dev", "--plan") == {}
    assert changes(planned, "stop", "dev", "--plan") == {"kled_process.agent[0]": "delete"}
    assert len(changes(planned, "delete", "dev", "--plan")) == 4
    shown = planned.kled("start", "dev", "--plan", "-p", "size=2")
    assert "  ~ terraform_data.size would be updated in place" in shown.stdout
    assert shown.stderr.endswith("1 to update; nothing was built\n")
    assert "hunter2" not in shown.stdout + planned.kled("delete", "dev", "--plan").stdout
    refused = planned.kled("start", "dev", "--plan", "-p", "sise=2", check=False)
    assert (refused.returncode, "no parameter" in refused.stderr) == (2, True)
    assert planned.ask("builds", "dev") == builds
    assert not list((planned.root / "data" / "previews").iterdir())


def test_drift_is_what_is_other_than_the_state_says(planned: Site) -> None:
    same = planned.kled("drift", "dev")
    assert same.stderr.endswith("dev: everything is as the state says\n")
    process: psutil.Process = planned.agent("dev")
    process.kill()
    wait_until("the agent is gone", lambda: not process.is_running())
    gone = planned.kled("drift", "dev", check=False)
    assert (gone.returncode, "kled_process.agent[0] is gone" in gone.stdout) == (8, True)
    assert planned.ask("show", "dev")["status"] == "running"
    planned.kled("start", "dev")
    assert planned.kled("drift", "dev").returncode == 0


def test_a_rename_is_refused_where_something_carries_the_name(planned: Site) -> None:
    planned.kled("create", "free", "--no-wait", "-p", "size=1")
    planned.kled("create", "named", "--no-wait", "-p", "size=named")
    running = planned.kled("rename", "dev", "lab", check=False)
    assert (running.returncode, "kled stop dev first" in running.stderr) == (5, True)
    for name in ("free", "named"):
        planned.wait_connected(name)
        planned.kled("stop", name)
    taken = planned.kled("rename", "free", "dev", check=False)
    assert (taken.returncode, "dev already" in taken.stderr) == (5, True)
    refused = planned.kled("rename", "named", "lab", check=False)
    assert (refused.returncode, "terraform_data.volume" in refused.stderr) == (5, True)
    assert planned.kled("rename", "free", "lab").stderr.endswith("free is lab now\n")
    assert planned.ask("show", "lab")["status"] == "stopped"
    planned.kled("start", "lab")
    assert planned.kled("ssh", "lab", "--", "true").returncode == 0


def test_a_state_goes_out_and_in_again_for_an_admin(planned: Site) -> None:
    state = json.loads(planned.kled("state", "pull", "dev").stdout)
    old = planned.kled("state", "push", "dev", "-", input=json.dumps(state), check=False)
    assert (old.returncode, "serial" in old.stderr) == (5, True)
    other = json.dumps({**state, "serial": state["serial"] + 1, "lineage": "x"})
    lineage = planned.kled("state", "push", "dev", "-", input=other, check=False)
    assert (lineage.returncode, "lineage" in lineage.stderr) == (5, True)
    newer = json.dumps({**state, "serial": state["serial"] + 1})
    planned.kled("state", "push", "dev", "-", input=newer)
    assert planned.ask("state", "versions", "dev")[0]["is_pushed"]
    assert changes(planned, "start", "dev", "--plan") == {}
    planned.kled("start", "dev")


def test_update_all_leaves_stopped_what_is_stopped(planned: Site, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(TEMPLATE + 'resource "terraform_data" "more" {}\n')
    planned.kled("template", "push", tmp_path, "--name", "planned")
    planned.kled("stop", "lab")
    report = {each["workspace"]: each["result"] for each in planned.ask("update", "--all")}
    assert report == {"dev": "updated", "lab": "updated", "named": "updated"}
    found = {each["name"]: each for each in planned.ask("list")}
    assert {name: each["template_version"] for name, each in found.items()} == dict.fromkeys(
        found, 2
    )
    assert (found["lab"]["status"], found["dev"]["status"]) == ("stopped", "running")
    assert planned.ask("update", "--all") == []


def test_a_restart_is_a_stop_and_a_start(planned: Site) -> None:
    before = planned.agent("dev").pid
    done = planned.kled("restart", "dev", "-p", "size=3")
    assert "dev is ready" in done.stderr
    assert planned.agent("dev").pid != before
    assert [each["transition"] for each in planned.ask("builds", "dev")][:2] == ["start", "stop"]
    assert planned.ask("show", "dev")["parameters"]["size"] == "3"
    number = str(planned.ask("builds", "dev")[0]["number"])
    steps = planned.ask("builds", "dev", "--timings", number)
    names = [(each["kind"], each["name"]) for each in steps]
    stages = [name for kind, name in names if kind in {"queue", "stage"}]
    assert stages == ["queue", "prepare", "init", "plan", "apply"]
    assert ("resource", "kled_process.agent[0]") in names
    assert ("agent", "main") in names
    assert all(each["duration_s"] is not None for each in steps), json.dumps(steps)
