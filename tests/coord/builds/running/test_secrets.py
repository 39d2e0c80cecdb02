"""Everything that is secret in a workspace, from where it is sealed."""

from __future__ import annotations

import json

from kled_coord.builds.running.secrets import Secrets
from kled_coord.builds.states.backend import StateWriter
from kled_coord.templates.fixing import ValuesFile
from kled_coord.templates.pushing import PushValues
from kled_wire.errors import KledError
from tests.coord.builds.steps import log_of, worker

MAIN = b"""
variable "own" { sensitive = true }
variable "fixed" { sensitive = true }
variable "default" {
  sensitive = true
  default   = "of the template"
}
variable "seen" {}
variable "open" {}
"""


async def test_parameters_fixed_variables_defaults_and_what_the_state_marks_are_hidden(
    lite_world, make_tar, tmp_path
) -> None:
    services, terraform = lite_world.services, lite_world.terraform
    boss, alice = await lite_world.user("boss", "admin"), await lite_world.user("alice")
    values = PushValues(
        variables={"fixed": "of the author", "seen": "seen by all"},
        files=(ValuesFile(name="x.tfvars", content=""),),
    )
    upload = make_tar({"main.tf": MAIN})
    pushed = await services.pushing.push(boss, "plain", message="", upload=upload, values=values)
    made = await services.workspaces.create(
        alice,
        name="dev",
        version=pushed.version,
        parameters={"own": "of the owner", "open": "open to all"},
    )
    outputs = {"password": {"value": "made by Terraform", "sensitive": True}}
    state = json.dumps({"lineage": "l", "serial": 1, "resources": [], "outputs": outputs})
    build_id = made.latest_build.id
    await services.states.adopt(made.workspace.id, build_id, state.encode())
    terraform.says = [
        "of the owner, of the author, of the template, made by Terraform, seen by all, open to all"
    ]
    await worker(lite_world, tmp_path)._run(await services.queue.claim("w1"))
    told = str(await log_of(lite_world, alice, build_id))
    assert "***, ***, ***, ***, seen by all, open to all" in told
    assert isinstance(services.secrets, Secrets)
    found = await services.secrets.values(made.workspace.id)
    assert set(found) == {
        "of the owner", '"of the author"', "of the template", "made by Terraform"
    }  # fmt: skip


async def test_what_the_build_itself_makes_is_hidden_once_its_state_is_written(
    lite_world, make_tar, tmp_path
) -> None:
    """Also where the state has it no more at the end."""
    services, terraform = lite_world.services, lite_world.terraform
    boss, alice = await lite_world.user("boss", "admin"), await lite_world.user("alice")
    upload = make_tar({"main.tf": b"# nothing\n"})
    pushed = await services.pushing.push(boss, "plain", message="", upload=upload)
    made = await services.workspaces.create(
        alice, name="dev", version=pushed.version, parameters={}
    )
    build_id, told = made.latest_build.id, "it said: made in this very build"
    writer = StateWriter(workspace_id=made.workspace.id, build_id=build_id)

    async def apply() -> None:
        await services.states.lock(writer, json.dumps({"ID": "a"}).encode())
        password = {"value": "made in this very build", "sensitive": True}
        for serial, outputs in ((1, {"password": password}), (2, {})):
            state = {"lineage": "l", "serial": serial, "resources": [], "outputs": outputs}
            await services.states.write(writer, json.dumps(state).encode(), "a")
            if serial == 1:
                await terraform.reporter.line("error", told)

    terraform.while_it_runs, terraform.says = apply, [told]
    terraform.error = KledError("terraform_failed", told)
    await worker(lite_world, tmp_path)._run(await services.queue.claim("w1"))
    lines = str(await log_of(lite_world, alice, build_id))
    ended = (await services.workspaces.get(made.workspace.id)).latest_build
    assert lines.count("it said: ***") >= 2
    assert "very build" not in lines + str(ended.error)
