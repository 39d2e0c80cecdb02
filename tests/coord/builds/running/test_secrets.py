"""Everything that is secret in a workspace, from where it is sealed."""

from __future__ import annotations

import json

from kled_coord.builds.running.secrets import Secrets
from kled_coord.templates.fixing import ValuesFile
from kled_coord.templates.pushing import PushValues
from tests.coord.builds.steps import log_of, worker

MAIN = b"""
variable "own" { sensitive = true }
variable "fixed" { sensitive = true }
variable "seen" {}
variable "open" {}
"""


async def test_parameters_fixed_variables_and_what_the_state_marks_are_hidden(
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
    terraform.says = ["of the owner, of the author, made by Terraform, seen by all, open to all"]
    await worker(lite_world, tmp_path)._run(await services.queue.claim("w1"))
    told = str(await log_of(lite_world, alice, build_id))
    assert "***, ***, ***, seen by all, open to all" in told
    assert isinstance(services.secrets, Secrets)
    found = await services.secrets.values(made.workspace.id)
    assert set(found) == {"of the owner", '"of the author"', "made by Terraform"}
