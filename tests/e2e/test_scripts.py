"""A template's scripts, by the real programs: waited for, followed, kept, and run before a stop."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import BIN, PROCESS_TEMPLATE, Site
from tests.kit.waiting import wait_until

AGENT = """
resource "kled_agent" "main" {
  name                    = "main"
  env                     = { FROM_TEMPLATE = "yes" }
  startup_script_behavior = "blocking"
  startup_script          = <<-EOT
    #!/bin/bash
    echo "env: $FROM_TEMPLATE token:$KLED_AGENT_TOKEN$CODER_AGENT_TOKEN"
    mkfifo GATE
    read line <GATE
    echo "the gate says $line"
  EOT
  shutdown_script = "echo gone"
  metadata {
    key          = "answer"
    display_name = "The answer"
    script       = "echo $((6 * 7))"
    interval     = 1
  }
}

resource "kled_agent" "side" {
  name = "side"
  env  = { WHO = "side" }
}

resource "kled_process" "side" {
  count         = data.kled_workspace.me.start_count
  name          = "side"
  agent_id      = kled_agent.side.id
  env           = { CODER_AGENT_URL = data.kled_workspace.me.access_url }
  env_sensitive = { CODER_AGENT_TOKEN = kled_agent.side.token }
}

resource "kled_script" "beside" {
  agent_id     = kled_agent.side.id
  display_name = "After"
  run_on_start = true
  script       = "echo beside"
}

resource "kled_script" "after" {
  agent_id     = kled_agent.main.id
  display_name = "After"
  run_on_start = true
  after        = ["startup_script"]
  script       = "printf '\\\\033[1mbold\\\\033[0m'; exit 3"
}
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A FIFO that the startup script makes, and waits at."""
    return tmp_path / "gate"


@pytest.fixture
def template(site: Site, tmp_path: Path, gate: Path) -> Iterator[str]:
    """The process template, with an agent that has scripts."""
    folder = tmp_path / "scripted"
    shutil.copytree(PROCESS_TEMPLATE, folder)
    source = next(folder.glob("*.tf"))
    text = source.read_text()
    before, _, rest = text.partition('resource "kled_agent" "main" {')
    source.write_text(before + AGENT.replace("GATE", str(gate)) + rest.partition("}")[2])
    site.kled("template", "push", folder, "--name", "scripted")
    yield "scripted"
    site.kled("delete", "box", "--yes", check=False)


def test_scripts_are_waited_for_followed_and_kept(site: Site, template: str, gate: Path) -> None:
    site.kled("create", "box", "--template", template, "--wait=agent")
    wait_until("the script runs", lambda: "running" in site.kled("show", "box").stdout)
    shown = site.kled("show", "box").stdout
    assert "starting: logins wait for Startup script; kled logs -f box shows" in shown
    words = site.kled("exec", "--no-wait", "box", "env").stdout
    assert "FROM_TEMPLATE=yes\n" in words
    assert "TOKEN" not in words
    with (
        site.running(BIN / "kled", "exec", "box", "echo", "in", stderr=subprocess.PIPE) as inside,
        site.running(BIN / "kled", "logs", "-f", "main--box") as following,
    ):
        assert inside.stderr is not None
        assert b"waiting for Startup script" in inside.stderr.readline()
        wait_until("the gate is waited at", gate.exists)
        gate.write_text("open\n")
        assert inside.communicate(timeout=30)[0] == b"in\n"
        log = following.communicate(timeout=30)[0].decode()
    lines = ["[Startup script] env: yes token:", "[Startup script] the gate says open"]
    assert log.endswith("\n".join([*lines, "[After] bold", ""]))
    start = site.kled("start", "box", check=False)
    assert start.returncode == 1
    assert "After ended with exit code 3; kled logs box" in " ".join(start.stderr.split())
    for name, printed in (("box", "\x1b[1mbold\x1b[0m"), ("side--box", "beside\n")):
        assert site.kled("logs", name, "--script", "After").stdout == printed
    assert "[After] bold" not in site.kled("logs", "side--box").stdout
    (item,) = site.ask("show", "box")["agent"]["metadata"]
    assert (item["display_name"], item["value"]) == ("The answer", "42")

    # The other agent, which has its token as Coder's agents have theirs.
    assert site.kled("exec", "side--box", "sh", "-c", "echo $WHO").stdout == "side\n"
    for host in ("side--box.kled", "side--box.admin.kled"):
        assert site.ssh(host, "echo $WHO").stdout == "side\n"
    assert site.ssh("box.kled", "echo .$WHO").stdout == ".\n"
    assert site.ask("show", "side--box")["agent"]["name"] == "side"
    refused = site.kled("exec", "nobody--box", "true", check=False)
    assert refused.returncode == 4
    assert "has no agent nobody" in refused.stderr

    site.kled("stop", "box")
    log = site.kled("logs", "box").stdout
    assert log.index("shutdown scripts of the agent main") < log.index("will be destroyed")
    assert log.endswith("[Shutdown script] gone\n")
