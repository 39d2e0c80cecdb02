"""Under the real terraform: after any change of a configuration exactly one thing has each name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kled_provider.kled.processes import launcher
from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.running import ProcessDirectory
from tests.kit.processes import environment_of, running

pytestmark = pytest.mark.slow

AGENT = """
resource "kled_agent" "a" {
  name = "main"
}
"""
PROCESS = """
resource "kled_process" "p" {
  name     = "agent"
  agent_id = "x"
  command  = ["/bin/sleep", "300"]
}
"""
FIRST = "  lifecycle { create_before_destroy = true }\n}\n"
CHANGES = {
    "renamed": PROCESS.replace('"p"', '"q"'),
    "counted": PROCESS.replace("{", "{\n  count = 1", 1),
    "for_each": PROCESS.replace("{", '{\n  for_each = toset(["x"])', 1),
    "created_first": PROCESS.replace("300", "301").rpartition("}")[0] + FIRST,
    "renamed_created_first": PROCESS.replace('"p"', '"q"').rpartition("}")[0] + FIRST,
    "renamed_and_changed": PROCESS.replace('"p"', '"q"').replace("300", "301"),
}


def attributes(terraform: Any) -> list[dict[str, Any]]:
    """Of all instances in the state."""
    return [i["attributes"] for r in terraform.state().values() for i in r["instances"]]


def alive_of(host: Any) -> list[int]:
    """The processes whose environment says that they are this workspace's."""
    return [
        process.pid
        for process in running("/bin/sleep")
        if environment_of(process).get("KLED_AGENT_STATE_DIR", "").startswith(str(host.directory))
    ]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_process_that_changes_hands_lives_on(
    host: Any, terraform: Any, change: str
) -> None:
    terraform.write(PROCESS)
    await terraform("apply", "-auto-approve")
    terraform.write(CHANGES[change])
    await terraform("apply", "-auto-approve")
    (kept,) = attributes(terraform)
    assert alive_of(host) == [kept["pid"]]
    assert "No changes" in await terraform("plan")
    await terraform("destroy", "-auto-approve")
    assert alive_of(host) == []


async def test_a_process_that_is_replaced_is_another_one_whichever_comes_first(
    host: Any, terraform: Any
) -> None:
    """Also unchanged: whoever says `-replace` wants a new one."""
    for lifecycle in ("}\n", FIRST):
        terraform.write(PROCESS.rpartition("}")[0] + lifecycle)
        await terraform("apply", "-auto-approve")
        (before,) = attributes(terraform)
        await terraform("apply", "-auto-approve", "-replace=kled_process.p")
        (after,) = attributes(terraform)
        assert alive_of(host) == [after["pid"]] != [before["pid"]]
        assert "No changes" in await terraform("plan")
    await terraform("destroy", "-auto-approve")
    assert alive_of(host) == []


@pytest.mark.parametrize(
    "text",
    [
        AGENT.replace('"a"', '"b"'),
        AGENT.replace("{", "{\n  count = 1", 1),
        AGENT.replace('"a"', '"b"').rpartition("}")[0] + FIRST,
    ],
    ids=["renamed", "counted", "created_first"],
)
async def test_an_agent_that_changes_hands_is_not_revoked(
    host: Any, terraform: Any, text: str
) -> None:
    terraform.write(AGENT)
    await terraform("apply", "-auto-approve")
    terraform.write(text)
    await terraform("apply", "-auto-approve")
    assert list(host.generations) == [attributes(terraform)[0]["id"]]
    assert "No changes" in await terraform("plan")
    await terraform("destroy", "-auto-approve")
    assert host.generations == {}


async def test_an_agent_that_is_replaced_before_it_is_destroyed_is_not_revoked(
    host: Any, terraform: Any
) -> None:
    terraform.write(AGENT.rpartition("}")[0] + FIRST)
    await terraform("apply", "-auto-approve")
    await terraform("apply", "-auto-approve", "-replace=kled_agent.a")
    assert list(host.generations) == ["a-main"]
    assert host.released == []
    await terraform("destroy", "-auto-approve")
    assert host.generations == {}


TWO = {
    "processes": (PROCESS + PROCESS.replace('"p"', '"q"'), "kled_process"),
    "agents": (AGENT + AGENT.replace('"a"', '"b"'), "kled_agent"),
    "counted": (PROCESS.replace("{", "{\n  count = 2", 1), "kled_process"),
    "by_default": ('resource "kled_agent" "a" {}\nresource "kled_agent" "b" {}\n', "kled_agent"),
}


@pytest.mark.parametrize("two", TWO)
async def test_a_second_one_of_a_name_is_refused_when_it_is_planned(
    host: Any, terraform: Any, two: str
) -> None:
    text, kind = TWO[two]
    terraform.write(text)
    output = await terraform("plan", "-no-color", code=1)
    assert f"Two resources {kind} of one name" in output
    assert alive_of(host) == []
    assert host.generations == {}


async def test_a_second_one_beside_one_that_is_there_is_refused_too(
    host: Any, terraform: Any
) -> None:
    terraform.write(PROCESS)
    await terraform("apply", "-auto-approve")
    terraform.write(TWO["processes"][0])
    output = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "Two resources kled_process of one name" in output
    assert alive_of(host) == [attributes(terraform)[0]["pid"]]
    terraform.write(PROCESS)
    await terraform("destroy", "-auto-approve")


async def test_where_the_name_is_known_late_the_second_one_is_refused_then(
    host: Any, terraform: Any
) -> None:
    late = 'resource "terraform_data" "n" { input = "agent" }\n'
    two = TWO["processes"][0].replace('= "agent"', "= terraform_data.n.output")
    terraform.write(late + two)
    output = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "Two resources kled_process of one name" in output
    assert "name     = terraform_data.n.output" in output
    (one,) = [a for a in attributes(terraform) if "pid" in a]
    assert alive_of(host) == [one["pid"]]
    host.transition = "delete"
    await terraform("destroy", "-auto-approve")
    assert alive_of(host) == []


async def test_one_that_is_replaced_is_no_second_one(host: Any, terraform: Any) -> None:
    """Terraform plans it twice: for a changed attribute, and for a trigger that we are not told."""
    trigger = 'resource "terraform_data" "t" { input = "%s" }\n'
    rule = "  lifecycle { replace_triggered_by = [terraform_data.t] }\n}\n"
    text = PROCESS.rpartition("}")[0] + rule
    terraform.write(trigger % 1 + text)
    await terraform("apply", "-auto-approve")
    terraform.write(trigger % 2 + text)
    await terraform("apply", "-auto-approve")
    await terraform("apply", "-auto-approve", "-replace=kled_process.p")
    terraform.write(trigger % 2 + text.replace("300", "301"))
    await terraform("apply", "-auto-approve")
    assert len(alive_of(host)) == 1
    await terraform("destroy", "-auto-approve")


async def test_two_of_one_name_from_an_earlier_version_can_be_stopped_and_destroyed(
    host: Any, terraform: Any
) -> None:
    terraform.write(TWO["agents"][0])
    host.transition = "stop"
    await terraform("apply", "-auto-approve")
    host.transition = "delete"
    await terraform("destroy", "-auto-approve")
    assert host.generations == {}


async def test_a_process_that_an_earlier_version_started_is_found_and_ended(
    host: Any, terraform: Any
) -> None:
    terraform.write(PROCESS)
    await terraform("apply", "-auto-approve")
    place = ProcessDirectory(host.directory / "w-1", "agent")
    running = processes.find(place)
    assert running is not None
    record = place.record.read_text().replace(running.generation, "")
    place.record.write_text(record)
    file = terraform.directory / "terraform.tfstate"
    state = json.loads(file.read_text())
    del state["resources"][0]["instances"][0]["private"]
    file.write_text(json.dumps(state))
    assert "No changes" in await terraform("plan")
    await terraform("destroy", "-auto-approve")
    assert launcher.start_mark(running.pid) is None
