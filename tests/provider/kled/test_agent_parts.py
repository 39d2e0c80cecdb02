"""Scripts, variables, apps and notes: what may be said of an agent, against the real terraform."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.scripts.cron import parse_cron
from kled_coord.builds.states.applied import applied_agents
from kled_provider.kled.agent_parts import APP, METADATA, SCRIPT, AppResource, ScriptResource
from kled_provider.plugin.values import UNKNOWN, conform_object

TEMPLATE = """
data "kled_workspace" "me" {}
data "kled_owner" "me" {}
data "kled_provisioner" "me" {}
data "kled_tags" "me" { tags = { os = data.kled_provisioner.me.os } }

resource "kled_agent" "main" {
  order          = 1
  startup_script = "echo up"
  metadata {
    key      = "cpu"
    script   = "kled stat cpu"
    interval = 5
  }
  display_apps { vscode_insiders = true }
  resources_monitoring {
    memory {
      enabled   = true
      threshold = 80
    }
    volume {
      path      = "/home"
      enabled   = true
      threshold = 90
    }
  }
}
resource "kled_script" "first" {
  agent_id     = kled_agent.main.id
  display_name = "First"
  script       = "true"
  run_on_start = true
}
resource "kled_script" "second" {
  agent_id     = kled_agent.main.id
  display_name = "Second"
  script       = "true"
  cron         = "*/5 * * * *"
  after        = [kled_script.first.id]
}
resource "kled_env" "path" {
  agent_id       = kled_agent.main.id
  name           = "PATH"
  value          = "$PATH:/opt/bin"
  merge_strategy = "append"
}
resource "kled_app" "code" {
  agent_id = kled_agent.main.id
  slug     = "code"
  url      = "http://localhost:13337"
  healthcheck {
    url       = "http://localhost:13337/healthz"
    interval  = 5
    threshold = 6
  }
}
resource "kled_metadata" "note" {
  resource_id = kled_agent.main.id
  daily_cost  = 3
  item {
    key   = "owner"
    value = data.kled_owner.me.email
  }
  item {
    key       = "secret"
    value     = "x"
    sensitive = true
  }
}
output "port" { value = data.kled_workspace.me.access_port }
output "owner" { value = data.kled_owner.me.full_name }
"""


@pytest.mark.slow
async def test_all_of_it_is_applied_and_read_out_of_the_state(terraform: Any) -> None:
    terraform.write(TEMPLATE)
    output = await terraform("apply", "-auto-approve", "-no-color")
    assert "port = 443" in output
    assert 'owner = "ada"' in output
    await terraform("plan", "-detailed-exitcode")
    state = json.loads((terraform.directory / "terraform.tfstate").read_text())
    (agent,) = applied_agents(state, "b").values()
    spec = agent.spec
    assert (agent.name, spec.order, spec.thresholds[1].path) == ("main", 1, "/home")
    assert spec.env == {"PATH": "$PATH:/opt/bin"}
    assert "vscode_insiders" in spec.display_apps
    assert [script.name for script in spec.scripts] == ["Startup script", "First", "Second"]
    assert spec.scripts[2].after == (spec.scripts[1].id,)
    assert spec.apps[0].healthcheck is not None
    assert spec.metadata[0].timeout_s == 5


@pytest.mark.slow
async def test_another_script_or_metadata_changes_nothing_that_starts_the_agent(
    terraform: Any,
) -> None:
    terraform.write(
        TEMPLATE + 'resource "terraform_data" "vm" { input = kled_agent.main.init_script }'
    )
    await terraform("apply", "-auto-approve")
    terraform.write(
        TEMPLATE.replace("echo up", "echo well")
        + 'resource "terraform_data" "vm" { input = kled_agent.main.init_script }'
    )
    assert "0 to add, 1 to change, 0 to destroy" in await terraform("plan", "-no-color")


@pytest.mark.slow
async def test_mistakes_are_shown_at_their_lines(terraform: Any) -> None:
    wrong = (
        TEMPLATE.replace('slug     = "code"', 'slug     = "Not a slug"')
        .replace('cron         = "*/5 * * * *"', 'cron         = "every day"')
        .replace('name           = "PATH"', 'name           = "A B"')
        .replace("interval  = 5\n    threshold = 6", "interval  = 0\n    threshold = 6")
    )
    terraform.write(wrong)
    found = json.loads(await terraform("validate", "-json", code=1))["diagnostics"]
    assert {d["snippet"]["code"].split("=")[0].strip() for d in found} == {
        "slug",
        "cron",
        "name",
        "interval",
    }


@pytest.mark.slow
async def test_scripts_that_wait_for_each_other_are_refused(terraform: Any) -> None:
    second = "after        = [kled_script.first.id]"
    first = "run_on_start = true\n  after = [kled_script.second.id]\n"
    assert second in TEMPLATE
    terraform.write(TEMPLATE.replace("run_on_start = true\n", first))
    assert "Cycle: kled_script." in await terraform("validate", "-no-color", code=1)


@pytest.mark.slow
async def test_two_apps_of_one_slug_are_refused(terraform: Any) -> None:
    second = TEMPLATE.replace('"kled_app" "code"', '"kled_app" "other"')
    terraform.write(
        TEMPLATE + second[second.index('resource "kled_app"') : second.index('resource "kled_meta')]
    )
    output = await terraform("apply", "-auto-approve", "-no-color", code=1)
    assert "Two resources kled_app of one slug" in output


@pytest.mark.parametrize(
    ("cron", "fits"),
    [
        ("* * * * *", True),
        ("0 */5 * * * *", True),
        ("@daily", True),
        ("* * *", False),
        ("x", False),
    ],
)
def test_cron_has_five_fields_or_six(cron: str, fits: bool) -> None:
    values = {"agent_id": "a", "display_name": "x", "script": "y", "cron": cron}
    assert (
        ScriptResource("kled_script", SCRIPT).validate(conform_object(values, SCRIPT)) == []
    ) is fits


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, ()),
        ({"start_blocks_login": True, "run_on_stop": True}, ("start_blocks_login",)),
        ({"run_on_start": UNKNOWN}, None),
    ],
)
def test_a_script_has_to_run_some_day(values: dict[str, Any], path: Any) -> None:
    config = conform_object({"agent_id": "a", "display_name": "x", "script": "y", **values}, SCRIPT)
    found = ScriptResource("kled_script", SCRIPT).validate(config)
    assert [d.path for d in found] == ([] if path is None else [path])


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"url": "http://x", "command": "top"}, ("command",)),
        ({"external": True}, ("external",)),
        ({"command": "top"}, None),
        ({"slug": "a--b"}, ("slug",)),
        ({"share": "world"}, ("share",)),
    ],
)
def test_what_an_app_says_goes_together(values: dict[str, Any], path: Any) -> None:
    config = conform_object({"agent_id": "a", "slug": "x", **values}, APP)
    found = AppResource("kled_app", APP).validate(config)
    assert [d.path for d in found] == ([] if path is None else [path])


def test_a_note_has_any_number_of_items() -> None:
    assert METADATA.blocks[0].max_items == 0


FIELDS = st.text(alphabet="0123456789*/-,?monfeb", min_size=1, max_size=5)


def cron_problem(text: str) -> str | None:
    (check,) = (a.check for a in SCRIPT.attributes if a.name == "cron")
    assert check is not None
    return check(text)


def is_backwards(field: str) -> bool:
    """Whether a range ends before it begins, which takes numbers to see."""
    return any("-" in part for part in field.split(","))


@given(st.integers(0, 4), FIELDS)
def test_a_cron_is_taken_if_the_agent_knows_when_it_is_due(place: int, field: str) -> None:
    fields = ["0", "0", "1", "1", "0"]
    fields[place] = field
    text = " ".join(fields)
    try:
        parse_cron(text)
    except ValueError:
        assert is_backwards(field) or cron_problem(text) is not None
    else:
        # The agent reads `010` and a range from anything, as `?-0`, too; nobody writes those.
        is_odd = re.search(r"00|0\d\d|[*?]-", field) is not None
        assert cron_problem(text) is None or is_odd


@pytest.mark.parametrize(
    "text",
    ["99 * * * *", "* 24 * * *", "* * 0 * *", "@every 0m", "@often", "* * * *", "*/0 * * * *"],
)
def test_a_cron_that_no_time_has_is_refused(text: str) -> None:
    assert cron_problem(text) is not None
    with pytest.raises(ValueError, match="cron"):
        parse_cron(text)


@pytest.mark.parametrize("text", ["@daily", "@every 1h30m", " 5 4 * * Mon-Fri ", "*/9 0 1 1 ? *"])
def test_a_cron_of_any_form_is_taken(text: str) -> None:
    assert cron_problem(text) is None
    parse_cron(text)
