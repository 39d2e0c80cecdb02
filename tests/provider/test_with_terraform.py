"""The provider against the real terraform, through reattach."""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_provider.kled.processes import launcher
from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.running import ProcessDirectory

pytestmark = pytest.mark.slow

TEMPLATE = """
data "kled_workspace" "me" {}

resource "kled_agent" "main" {
  dir = "/tmp"
  env = { GREETING = "it's" }
}

resource "kled_process" "agent" {
  count         = data.kled_workspace.me.start_count
  name          = "agent"
  agent_id      = kled_agent.main.id
  command       = ["/bin/sleep", "300"]
  env           = { KLED_COORDINATOR_URL = data.kled_workspace.me.access_url }
  env_sensitive = { KLED_AGENT_TOKEN = kled_agent.main.token }
}

output "owner" { value = data.kled_workspace.me.owner }
"""
NOTE = """
resource "kled_metadata" "machine" {
  count       = data.kled_workspace.me.start_count
  resource_id = kled_process.agent[0].id
  item {
    key   = "kind"
    value = "a process"
  }
}
"""


def of_process(pid: int, file: str) -> bytes:
    return Path(f"/proc/{pid}/{file}").read_bytes()


async def test_a_workspace_starts_stays_stops_and_goes(host: Any, terraform: Any) -> None:
    terraform.write(TEMPLATE)
    await terraform("init")
    await terraform("apply", "-auto-approve")
    process = terraform.attributes("kled_process.agent")
    assert launcher.start_mark(process["pid"]) is not None
    environment = of_process(process["pid"], "environ").split(b"\0")
    assert b"KLED_AGENT_TOKEN=secret-main" in environment
    assert not [e for e in environment if e.startswith((b"TF_", b"VIRTUAL_ENV"))]
    assert b"secret" not in of_process(process["pid"], "cmdline")
    agent = terraform.attributes("kled_agent.main")
    assert "secret" not in agent["init_script"]

    assert "No changes" in await terraform("plan", "-detailed-exitcode")

    host.transition = "stop"
    await terraform("apply", "-auto-approve")
    assert launcher.start_mark(process["pid"]) is None
    assert "kled_process.agent" not in terraform.state()

    host.transition = "start"
    await terraform("apply", "-auto-approve")
    again = terraform.attributes("kled_process.agent")
    assert again["pid"] != process["pid"]
    assert terraform.attributes("kled_agent.main") == agent

    await terraform("destroy", "-auto-approve")
    assert launcher.start_mark(again["pid"]) is None
    assert host.released == ["a-main"]
    assert host.messages == ["Starting process agent", "Stopping process agent"] * 2


async def test_secrets_are_hidden_in_the_plan(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    output = await terraform("apply", "-auto-approve", "-no-color")
    assert "secret-main" not in output
    assert "(sensitive value)" in output
    await terraform("destroy", "-auto-approve")


async def test_a_dead_process_is_made_again(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    await terraform("apply", "-auto-approve")
    pid = terraform.attributes("kled_process.agent")["pid"]
    os.kill(pid, 9)
    assert "1 to add, 0 to change, 0 to destroy" in await terraform("plan", "-no-color")
    await terraform("apply", "-auto-approve")
    assert terraform.attributes("kled_process.agent")["pid"] != pid
    await terraform("destroy", "-auto-approve")


async def test_a_process_no_state_knows_is_adopted(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    await terraform("apply", "-auto-approve")
    pid = terraform.attributes("kled_process.agent")["pid"]
    (terraform.directory / "terraform.tfstate").unlink()
    await terraform("apply", "-auto-approve")
    assert terraform.attributes("kled_process.agent")["pid"] == pid
    await terraform("destroy", "-auto-approve")
    assert launcher.start_mark(pid) is None


async def test_a_process_has_its_name_as_id_also_where_an_older_state_has_none(
    terraform: Any,
) -> None:
    terraform.write(TEMPLATE + NOTE)
    await terraform("apply", "-auto-approve")
    assert terraform.attributes("kled_metadata.machine")["resource_id"] == "agent"
    path = terraform.directory / "terraform.tfstate"
    saved = json.loads(path.read_text())
    for resource in saved["resources"]:
        if resource["type"] == "kled_process":
            del resource["instances"][0]["attributes"]["id"]
    path.write_text(json.dumps(saved))
    assert "No changes" in await terraform("plan", "-detailed-exitcode")
    await terraform("apply", "-refresh-only", "-auto-approve")
    assert terraform.attributes("kled_process.agent")["id"] == "agent"
    # A create adopts what runs: no import is needed, and the error says so.
    await terraform("state", "rm", "kled_process.agent")
    output = await terraform("import", "-no-color", "kled_process.agent[0]", "agent", code=1)
    assert "kled_process cannot be imported" in output
    await terraform("destroy", "-auto-approve")


async def test_a_changed_environment_of_sessions_changes_only_the_script(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    await terraform("apply", "-auto-approve")
    before = terraform.attributes("kled_agent.main")
    terraform.write(TEMPLATE.replace("it's", "hello"))
    output = await terraform("apply", "-auto-approve", "-no-color")
    assert "0 added, 1 changed, 0 destroyed" in output
    after = terraform.attributes("kled_agent.main")
    assert {k for k in after if after[k] != before[k]} == {"env", "init_script"}
    await terraform("destroy", "-auto-approve")


async def test_a_changed_command_replaces_the_process(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    await terraform("apply", "-auto-approve")
    pid = terraform.attributes("kled_process.agent")["pid"]
    terraform.write(TEMPLATE.replace("300", "301"))
    output = await terraform("apply", "-auto-approve", "-no-color")
    assert "1 added, 0 changed, 1 destroyed" in output
    assert terraform.attributes("kled_process.agent")["pid"] != pid
    assert launcher.start_mark(pid) is None
    await terraform("destroy", "-auto-approve")


@pytest.mark.parametrize(
    ("wrong", "summary", "line"),
    [
        ('resource "kled_agent" "a" {\n  os = "plan9"\n}', "Invalid os", 'os = "plan9"'),
        (
            'resource "kled_process" "p" {\nname = "x"\nagent_id = "a"\nenv = {\n"A=B" = "c"\n}\n}',
            "Invalid name of an environment variable",
            '"A=B" = "c"',
        ),
        (
            'resource "kled_process" "p" {\n  name = "Not OK"\n  agent_id = "a"\n}',
            "Invalid name",
            'name = "Not OK"',
        ),
    ],
)
async def test_a_mistake_is_shown_at_its_line(
    terraform: Any, wrong: str, summary: str, line: str
) -> None:
    terraform.write(wrong)
    told = json.loads(await terraform("validate", "-json", code=1))["diagnostics"][0]
    assert told["summary"] == summary
    assert line in told["snippet"]["code"]
    assert told["range"]["filename"] == "main.tf"


async def test_a_failed_start_names_the_reason(terraform: Any) -> None:
    terraform.write(TEMPLATE.replace("/bin/sleep", "/no/such/program"))
    output = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "Could not start /no/such/program" in output
    assert "No such file or directory" in output
    assert "kled_process.agent" not in terraform.state()
    await terraform("destroy", "-auto-approve")


async def test_a_half_made_agent_is_saved_as_tainted_and_replaced(
    host: Any, terraform: Any
) -> None:
    terraform.write('resource "kled_agent" "main" {}\n')
    host.refuse_workspace = True
    output = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "the database is away" in output
    assert "Wait a moment." in output
    instance = terraform.state()["kled_agent.main"]["instances"][0]
    assert instance["status"] == "tainted"
    assert instance["attributes"]["id"] == "a-main"
    host.refuse_workspace = False
    await terraform("apply", "-auto-approve")
    assert host.released == ["a-main"]
    assert "status" not in terraform.state()["kled_agent.main"]["instances"][0]


async def test_a_create_finishes_though_terraform_is_killed(host: Any, terraform: Any) -> None:
    """The connection breaks while a process is being started; the next run adopts it."""
    terraform.write(TEMPLATE)
    killed, started = trio.Event(), trio.Event()
    progress = host.progress

    async def progress_and_wait(message: str) -> None:
        started.set()
        await killed.wait()
        await progress(message)

    host.progress = progress_and_wait
    environment = {"PATH": os.environ["PATH"], "TF_REATTACH_PROVIDERS": terraform.reattach}
    apply = functools.partial(
        trio.run_process,
        ["terraform", "apply", "-auto-approve"],
        cwd=terraform.directory,
        env={**environment, "CHECKPOINT_DISABLE": "1"},
        capture_stdout=True,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(apply)
        await started.wait()
        process.kill()
    killed.set()
    place = ProcessDirectory(host.directory / "w-1", "agent")
    with trio.fail_after(10):
        while not place.record.exists():
            await trio.sleep(0.01)
    running = processes.find(place)
    assert running is not None
    host.progress = progress
    await terraform("apply", "-auto-approve")
    assert terraform.attributes("kled_process.agent")["pid"] == running.pid
    await terraform("destroy", "-auto-approve")


async def test_import_adopts_by_name(terraform: Any) -> None:
    terraform.write('resource "kled_agent" "main" {}\n')
    await terraform("import", "kled_agent.main", "main")
    assert terraform.attributes("kled_agent.main")["id"] == "a-main"
    assert "No changes" in await terraform("plan")


async def test_stop_ends_a_hanging_create_and_keeps_the_rest(host: Any, terraform: Any) -> None:
    terraform.write('resource "kled_agent" "main" {}\n')
    await terraform("plan", "-out", "p")
    host.hang_in_ensure = trio.Event()
    environment = {"PATH": os.environ["PATH"], "TF_REATTACH_PROVIDERS": terraform.reattach}
    apply = functools.partial(
        trio.run_process,
        ["terraform", "apply", "-no-color", "p"],
        cwd=terraform.directory,
        env={**environment, "CHECKPOINT_DISABLE": "1"},
        capture_stdout=True,
        start_new_session=True,
        check=False,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(apply)
        await host.hang_in_ensure.wait()
        asked_at = time.monotonic()
        process.send_signal(2)
    assert process.returncode == 1
    assert time.monotonic() - asked_at < 3
    host.hang_in_ensure = None
    await terraform("apply", "-auto-approve")
    assert terraform.attributes("kled_agent.main")["id"] == "a-main"
