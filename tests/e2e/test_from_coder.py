"""A template for coder/coder, pushed as it is, by the real programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import Site
from tests.kit.waiting import wait_until

# A process of the coordinator's stands for the machine that such a template makes.
TEMPLATE = """
terraform {
  required_providers {
    coder = { source = "coder/coder", version = ">= 2.5" }
    kled  = { source = "kled/kled" }
  }
}
provider "coder" {
  feature_use_managed_variables = true
}
data "coder_workspace" "me" {}
data "coder_workspace_owner" "me" {}
data "coder_parameter" "greeting" {
  name    = "greeting"
  mutable = true
  validation {
    regex = "^[a-z]+$"
    error = "lower-case letters only"
  }
}
resource "coder_agent" "dev" {
  os                      = "linux"
  arch                    = "amd64"
  startup_script_behavior = "blocking"
  startup_script          = "echo $GREETING >MARK"
  env = {
    OWNER = data.coder_workspace_owner.me.name
    LIBS  = "/opt/lib:$USER$NOT_SET"
  }
}
resource "coder_env" "greeting" {
  agent_id = coder_agent.dev.id
  name     = "GREETING"
  value    = data.coder_parameter.greeting.value
}
resource "coder_metadata" "machine" {
  resource_id = coder_agent.dev.id
  item {
    key   = "owner"
    value = "someone"
  }
}
resource "kled_process" "machine" {
  count         = data.coder_workspace.me.start_count
  name          = "machine"
  agent_id      = coder_agent.dev.id
  env           = { CODER_AGENT_URL = data.coder_workspace.me.access_url }
  env_sensitive = { CODER_AGENT_TOKEN = coder_agent.dev.token }
}
"""


@pytest.fixture
def mark(site: Site, tmp_path: Path) -> Iterator[Path]:
    """The file that the startup script writes; the template is pushed, and its workspace goes."""
    found = tmp_path / "mark"
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "main.tf").write_text(TEMPLATE.replace("MARK", str(found)))
    site.kled("template", "push", folder, "--name", "from-coder")
    yield found
    site.kled("delete", "moved", "--yes", check=False)


def test_it_runs_unchanged_and_its_agent_is_called_as_its_resource(site: Site, mark: Path) -> None:
    words = ("create", "moved", "-t", "from-coder", "-p")
    refused = site.kled(*words, "greeting=Hello", check=False)
    assert refused.returncode != 0
    assert "lower-case letters only" in refused.stderr
    site.kled("delete", "moved", "--yes", check=False)
    site.kled(*words, "greeting=hello")
    wait_until("the script has run", lambda: mark.exists() and mark.read_text() == "hello\n")
    assert [agent["name"] for agent in site.ask("show", "moved")["agents"]] == ["dev"]
    said = "echo $OWNER-$GREETING; echo $CODER_WORKSPACE_AGENT_NAME at $CODER_AGENT_URL, $LIBS"
    shown = site.kled("exec", "moved", "--", "sh", "-c", said).stdout.splitlines()
    assert shown[0].endswith("-hello")
    assert shown[1] == f"dev at {site.url}, /opt/lib:{site.agent('moved').username()}"
    log = site.kled("logs", "moved").stdout
    assert log.count("feature_use_managed_variables does nothing here") == 1
    assert "coder_agent.dev: owner someone" in log
    site.kled("stop", "moved")
    mark.unlink()
    site.kled("start", "moved", "-p", "greeting=again")
    wait_until("it has run again", lambda: mark.exists() and mark.read_text() == "again\n")
