"""Plans, drift, restarts, retries, apps and dotfiles, with the real Terraform and agent."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.kit.site import BIN, Site, open_site
from tests.kit.sockets import free_port
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
resource "kled_env" "config" {
  agent_id = kled_agent.main.id
  name     = "XDG_CONFIG_HOME"
  value    = "FOLDER/config"
}
resource "kled_app" "greet" {
  agent_id = kled_agent.main.id
  slug     = "greet"
  command  = "echo hello from $KLED_WORKSPACE; exit 3"
}
resource "kled_app" "page" {
  agent_id = kled_agent.main.id
  slug     = "page"
  url      = "http://localhost:PORT/page?x=1"
}
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
# What a later version has besides: it cannot be made in `lab` until something is there.
MORE = """
resource "terraform_data" "more" {
  provisioner "local-exec" {
    command     = "[ $KLED_IS != lab ] || [ -e FOLDER/mended ]"
    environment = { KLED_IS = data.kled_workspace.me.name }
  }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workspaces' programs write."""
    return tmp_path_factory.mktemp("folder")


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    """The template."""
    return TEMPLATE.replace("FOLDER", str(folder)).replace("PORT", str(free_port()))


@pytest.fixture(scope="module")
def planned(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A coordinator with the workspace `dev`, which runs."""
    template: Path = tmp_path_factory.mktemp("planned")
    (template / "main.tf").write_text(source)
    with open_site(template=template, name="planned") as opened:
        opened.kled("create", "dev")
        yield opened


def changes(site: Site, *words: str) -> dict[str, str]:
    return {each["address"]: each["action"] for each in site.ask(*words)}


def test_a_plan_shows_what_would_change_and_leaves_nothing(planned: Site) -> None:
    builds = planned.ask("builds", "dev")
    assert changes(planned, "start", "dev", "--plan") == {}
    assert changes(planned, "stop", "dev", "--plan") == {"kled_process.agent[0]": "delete"}
    assert len(changes(planned, "delete", "dev", "--plan")) == 7
    shown = planned.kled("start", "dev", "--plan", "-p", "size=2")
    assert "  ~ terraform_data.size would be updated in place" in shown.stdout
    assert shown.stderr.endswith("1 to update; nothing was built\n")
    assert "hunter2" not in shown.stdout + planned.kled("delete", "dev", "--plan").stdout
    refused = planned.kled("start", "dev", "--plan", "-p", "sise=2", check=False)
    assert (refused.returncode, "no parameter" in refused.stderr) == (2, True)
    assert planned.ask("builds", "dev") == builds
    assert not list((planned.data / "previews").iterdir())


def test_a_coordinator_that_starts_again_removes_the_plans_of_a_killed_one(planned: Site) -> None:
    planned.stop_serving(signal.SIGKILL)
    left = planned.data / "previews" / "left"
    left.mkdir()
    (left / "terraform.tfstate").write_text("{}")
    planned.serve()
    assert not left.exists()
    planned.wait_connected("dev")


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


def test_update_all_leaves_stopped_what_is_stopped_and_tells_what_fails(
    planned: Site, source: str, folder: Path, tmp_path: Path
) -> None:
    more = MORE.replace("FOLDER", str(folder))
    (tmp_path / "main.tf").write_text(source + more)
    planned.kled("template", "push", tmp_path, "--name", "planned")
    done = planned.kled("-o", "json", "update", "--all", check=False)
    assert done.returncode == 1
    report = {each["workspace"]: each["result"] for each in json.loads(done.stdout)}
    assert report == {"dev": "updated", "lab": "failed", "named": "updated"}
    found = {each["name"]: each for each in planned.ask("list")}
    versions = {name: each["template_version"] for name, each in found.items()}
    assert versions == {"dev": 2, "lab": 1, "named": 2}
    assert (found["named"]["status"], found["dev"]["status"]) == ("stopped", "running")
    # What made it fail is over: the same build goes on from the state that was saved.
    again = planned.kled("retry", "lab", check=False)
    told = "error: retrying the start of lab: main.tf"
    assert (again.returncode, told in again.stderr) == (1, True)
    (folder / "mended").touch()
    assert "lab is ready" in planned.kled("retry", "lab").stderr
    assert [each["status"] for each in planned.ask("builds", "lab")[:3]] == [
        *("succeeded", "failed", "failed")
    ]
    assert planned.ask("show", "lab")["template_version"] == 2
    assert planned.ask("update", "--all") == []
    nothing = planned.kled("retry", "lab", check=False)
    assert (nothing.returncode, "can be retried" in nothing.stderr) == (5, True)


def test_an_app_is_opened_in_this_terminal_or_forwarded_to_this_machine(
    planned: Site, tmp_path: Path
) -> None:
    ran = planned.kled("open", "app", "dev", "greet", check=False)
    assert (ran.returncode, ran.stdout) == (3, "hello from dev\n")
    (tmp_path / "page").write_text("found")
    apps = {each["slug"]: each for each in planned.ask("open", "app", "dev")}
    port = str(urlsplit(apps["page"]["url"]).port)
    serve = ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path), port]
    with planned.running(BIN / "kled", "exec", "dev", "--", *serve) as server:
        assert server.stdout is not None
        assert b"port" in server.stdout.readline()
        words = ("open", "app", "dev", "page")
        with planned.running(BIN / "kled", *words, env={"BROWSER": "true"}) as opened:
            assert opened.stdout is not None
            # The forward, then the page.
            url = [opened.stdout.readline().decode().strip() for _ in range(2)][-1]
            # The port of the app is taken on this machine, where the workspace is, too.
            assert (urlsplit(url).path, str(urlsplit(url).port) == port) == ("/page", False)
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.read() == b"found"
            opened.send_signal(signal.SIGINT)
            assert opened.wait(timeout=20) in {0, 130}


def test_dotfiles_are_installed_in_a_workspace(planned: Site, folder: Path, tmp_path: Path) -> None:
    install = tmp_path / "install.sh"
    install.write_text('#!/bin/sh\necho "$KLED_WORKSPACE" >"$XDG_CONFIG_HOME/made"\n')
    install.chmod(0o755)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "files"]):
        planned.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", tmp_path, *words)
    words = ["dotfiles", f"file://{tmp_path}", "--yes", "--workspace"]
    place = folder / "config" / "kled" / "dotfiles"
    assert planned.ask(*words, "dev") == {
        "directory": str(place), "ran": "install.sh", "linked": [], "moved": [],
    }  # fmt: skip
    assert (folder / "config" / "made").read_text() == "dev\n"
    missing = planned.kled(*words, "nope", check=False)
    assert (missing.returncode, len(missing.stderr.splitlines())) == (4, 1)


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
