"""Builds as a person sees them: places in the queue, cancels, quotas, outputs, a dead agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kit.site import Site, open_site
from tests.kit.waiting import wait_until

TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
variable "how" {}
data "kled_workspace" "me" {}
resource "kled_agent" "main" {}
resource "terraform_data" "slow" {
  count = var.how == "slow" ? data.kled_workspace.me.start_count : 0
  provisioner "local-exec" {
    command = "sleep 300"
  }
}
resource "kled_process" "agent" {
  count    = var.how == "dead" ? data.kled_workspace.me.start_count : 0
  name     = "agent"
  agent_id = kled_agent.main.id
  command  = ["/bin/sh", "-c", "echo there is no way to the moon; sleep 0.5; exit 1"]
}
output "where" {
  value = "at ${data.kled_workspace.me.name}"
}
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A coordinator that runs one build at once."""
    template: Path = tmp_path_factory.mktemp("kinds")
    (template / "main.tf").write_text(TEMPLATE)
    settings = {"KLED_COORD_WORKERS": "1", "KLED_COORD_BUILD_STOP_S": "2"}
    with open_site(settings=settings, template=template, name="kinds") as opened:
        yield opened
        opened.kled("cancel", "slow", "--force", check=False)


def refused(site: Site, *words: str) -> tuple[int, dict[str, Any]]:
    done = site.kled("--output", "json", *words, check=False)
    return done.returncode, json.loads(done.stderr)["error"]


def test_an_agent_that_has_ended_is_said_at_once_with_its_last_lines(busy: Site) -> None:
    # Within the time-out of `kled`, which is half of what is waited for an agent elsewhere.
    code, error = refused(busy, "create", "dead", "-p", "how=dead")
    assert (code, error["code"]) == (7, "agent_ended")
    assert "there is no way to the moon" in error["message"]
    shown = busy.kled("show", "dead").stdout
    assert "output where" in shown
    assert "at dead" in shown


def test_a_build_waits_its_turn_within_the_quotas_until_the_one_before_is_canceled(
    busy: Site,
) -> None:
    limits = partial(busy.kled, "user", "update", "admin")
    busy.kled("create", "slow", "-p", "how=slow", "--no-wait")
    wait_until("the first runs", lambda: _build(busy, "slow")["status"] == "running")
    limits("--max-waiting-builds", "1")
    busy.kled("create", "next", "-p", "how=none", "--no-wait")
    assert _build(busy, "next")["queue"]["position"] == 1
    assert "position 1: it is next; 1 build runs at once" in busy.kled("show", "next").stdout
    code, error = refused(busy, "create", "more", "-p", "how=none")
    assert (code, error["code"]) == (6, "waiting_build_limit")
    limits("--max-waiting-builds", "default", "--max-workspaces", "2")
    code, error = refused(busy, "create", "more", "-p", "how=none")
    assert (code, error["code"]) == (5, "workspace_limit")
    assert "may have 2" in error["message"]
    assert busy.kled("cancel", "slow").stderr == "the start of slow is canceled\n"
    wait_until("the next has run", lambda: _build(busy, "next")["status"] == "succeeded")
    assert "more" not in [found["name"] for found in busy.ask("list")]


def _build(site: Site, workspace: str) -> dict[str, Any]:
    found: dict[str, Any] = site.ask("show", workspace)["latest_build"]
    return found
