"""Templates for coder/coder, unchanged, with the real terraform."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kled_coord.builds.states.applied import applied_agents
from kled_provider.coder.provider import coder_provider
from kled_provider.serve import CODER
from tests.kit.stub_providers import docker_provider, kubernetes_provider
from tests.provider.conftest import FakeHost, Terraform, open_terraform

TEMPLATES = Path(__file__).parent / "templates"
PROVIDERS = {
    **{address: coder_provider() for address in CODER.addresses},
    "registry.terraform.io/kreuzwerker/docker": docker_provider(),
    "registry.terraform.io/hashicorp/kubernetes": kubernetes_provider(),
}


INSTANCE_IDENTITY = """
resource "coder_agent" "a" {
  os   = "linux"
  arch = "amd64"
  auth = "aws-instance-identity"
}
"""


@pytest.fixture
async def terraform(host: FakeHost, tmp_path: Path) -> AsyncIterator[Terraform]:
    directory = tmp_path / "tf"
    directory.mkdir()
    async with open_terraform(host, directory, PROVIDERS) as it:
        yield it


async def start(terraform: Terraform, name: str) -> dict[str, Any]:
    """Apply a template and return its state; a plan after that has to be empty."""
    shutil.copytree(TEMPLATES / name, terraform.directory, dirs_exist_ok=True)
    await terraform("init")
    await terraform("apply", "-auto-approve", "-no-color")
    await terraform("plan", "-detailed-exitcode", "-no-color")
    state: dict[str, Any] = json.loads((terraform.directory / "terraform.tfstate").read_text())
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docker", "kubernetes", "older", "everything", "modular"])
async def test_a_template_starts_stops_starts_and_goes(
    host: FakeHost, terraform: Terraform, name: str
) -> None:
    state = await start(terraform, name)
    agents = applied_agents(state, "b")
    assert set(agents) == set(host.generations)
    host.transition = "stop"
    await terraform("apply", "-auto-approve", "-no-color")
    host.transition = "start"
    again = await start(terraform, name)
    assert set(applied_agents(again, "b")) == set(agents)
    await terraform("destroy", "-auto-approve")
    assert host.generations == {}


@pytest.mark.slow
async def test_what_older_templates_say_means_what_it_meant(
    host: FakeHost, terraform: Terraform
) -> None:
    (agent,) = applied_agents(await start(terraform, "older"), "b").values()
    assert agent.name == "dev"
    assert agent.spec.directory == "/home/ada"
    assert agent.spec.env == {
        "OWNER": "ada@kled.example",
        "ID": "u-1",
        "TOKEN": "",
        "OIDC": "",
        "GROUPS": "",
        "NAME": "ada",
        "VERSION": "process-3",
    }
    assert [(s.name, s.blocks_login) for s in agent.spec.scripts] == [("Startup script", True)]
    assert agent.spec.apps[0].slug == "novnc"
    assert not agent.spec.apps[0].subdomain
    told = {note.split(" does nothing")[0] for note in host.notes}
    assert told == {
        "provider coder: url",
        "provider coder: feature_use_managed_variables",
        "coder_agent: api_key_scope",
        "coder_agent: startup_script_timeout",
        "coder_agent: shutdown_script_timeout",
        "coder_parameter: legacy_variable",
        "coder_parameter: legacy_variable_name",
    }
    assert len(host.notes) == len(set(host.notes))


@pytest.mark.slow
async def test_the_agents_environment_is_not_in_its_script(terraform: Terraform) -> None:
    state = await start(terraform, "older")
    (agent,) = (r for r in state["resources"] if r["type"] == "coder_agent")
    assert "ada@kled.example" not in agent["instances"][0]["attributes"]["init_script"]


@pytest.mark.slow
async def test_scripts_and_apps_of_modules_belong_to_the_agent(
    host: FakeHost, terraform: Terraform
) -> None:
    host.parameters = {"dotfiles_uri": "https://example.com/d"}
    (agent,) = applied_agents(await start(terraform, "modular"), "b").values()
    assert [script.name for script in agent.spec.scripts] == ["Dotfiles", "editor"]
    assert "https://example.com/d" in agent.spec.scripts[0].script
    assert [app.slug for app in agent.spec.apps] == ["editor"]


@pytest.mark.slow
async def test_no_credential_of_the_owner_is_in_a_state(terraform: Terraform) -> None:
    state = await start(terraform, "everything")
    kept = {
        (found["type"], name): values[name]
        for found in state["resources"]
        for values in [found["instances"][0]["attributes"]]
        for name in values
        if re.search("session_token|access_token|private_key", name) or name == "value"
    }
    assert kept.pop(("coder_parameter", "value")) == "false"
    assert len(kept) == 7
    assert set(kept.values()) == {""}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ('resource "coder_agent" "a" {\nos = "windows"\narch = "amd64"\n}', 'os = "windows"'),
        (INSTANCE_IDENTITY, 'auth = "aws-instance-identity"'),
        ('data "coder_external_auth" "a" {\nid = "github"\n}', 'id = "github"'),
    ],
)
async def test_what_cannot_be_done_is_an_error_at_its_line(
    terraform: Terraform, wrong: str, line: str
) -> None:
    terraform.write(wrong)
    output = await terraform("plan", "-no-color", code=1)
    assert re.search(rf"\d+:\s+{re.escape(line)}", output)


# All there are in the provider of May 2026, and one from before 2.0.
TYPES = """
    coder_agent coder_agent_instance coder_ai_task coder_app coder_devcontainer coder_env
    coder_external_agent coder_metadata coder_script
    coder_external_auth coder_git_auth coder_parameter coder_provisioner coder_secret coder_task
    coder_workspace coder_workspace_owner coder_workspace_preset coder_workspace_tags
"""


def test_every_block_type_that_people_write_is_known() -> None:
    provider = coder_provider()
    known = {r.type_name for r in provider.resources} | {d.type_name for d in provider.data_sources}
    assert set(TYPES.split()) == known
