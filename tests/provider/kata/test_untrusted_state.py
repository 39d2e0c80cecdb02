"""A state may say anything: a template's own programs write it, and reach the provider too."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.volume.stored import VolumeStore
from tests.kit.oci import busybox_image
from tests.provider.kata.containers import attributes, nothing_is_left, template

pytestmark = pytest.mark.slow
VOLUME = 'resource "kata_volume" "home" { name = "home" }\n'
# Of an object whose generation Terraform was not told: a delete of it asks for none.
NO_GENERATION = base64.b64encode(b'{"generation": "", "claim": "c", "data": {}}').decode()


async def test_what_is_another_workspaces_stays_as_it_is(
    kata: Any, platform: Any, host: Any
) -> None:
    host.workspace_id = "w-2"
    kata.write(VOLUME + template(platform, 'labels = { a = "1" }'))
    await kata("apply", "-auto-approve")
    theirs = attributes(kata)["id"]
    forget_generations(kata)
    host.workspace_id = "w-1"
    kata.write(VOLUME + template(platform, 'labels = { a = "2" }'))
    said = await kata("apply", "-auto-approve", "-refresh=false", "-no-color", code=1)
    assert "The container is gone" in said
    await kata("destroy", "-auto-approve", "-refresh=false")
    assert platform.containerd.names("containers") == [theirs]
    assert '"a": "1"' in platform.containerd.ctr("containers", "info", theirs).stdout
    assert platform.containerd.names("images") == ["kled.test/busybox:1"]
    (volume,) = VolumeStore(platform.directory / "state").all()
    assert (volume.workspace, volume.data.is_dir()) == ("w-2", True)
    platform.containerd.remove_containers()


async def test_no_path_in_it_leads_out_of_the_providers_directories(
    kata: Any, platform: Any
) -> None:
    directory = platform.directory
    for place in ("run/containers", "run/secrets", "state/networks", "state/volumes"):
        (directory / place).mkdir(parents=True)
    victim = directory / "victim"
    victim.mkdir()
    for name in ("file", "configuration.toml", "x.json", "x.lock"):
        (victim / name).write_text("precious")
    out = "../../victim"
    state = {
        "version": 4,
        "terraform_version": "1.5.0",
        "serial": 1,
        "lineage": "l",
        "outputs": {},
        "resources": [
            resource("kata_container", {"id": out, "name": "ws", "stop_timeout": 0}),
            resource("kata_network", {"id": out, "name": "net"}),
            resource("kata_volume", {"id": f"{out}/x", "name": "home"}),
            resource("kata_runtime_config", {"name": f"../../{out}", "form": "file"}),
        ],
    }
    kata.write("")
    (kata.directory / "terraform.tfstate").write_text(json.dumps(state))
    await kata("destroy", "-auto-approve", "-refresh=false", code=None)
    assert sorted(p.name for p in victim.iterdir()) == [
        "configuration.toml",
        "file",
        "x.json",
        "x.lock",
    ]
    kata.write("")
    await kata("apply", "-auto-approve", "-refresh=false", code=None)
    assert (victim / "file").read_text() == "precious"


async def test_an_image_that_the_owner_has_put_there_stays(kata: Any, platform: Any) -> None:
    archive = platform.directory / "owners.tar"
    busybox_image().save(archive, "kled.test/busybox:1")
    platform.containerd.ctr("images", "import", str(archive))
    kata.write(template(platform))
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("images") == ["kled.test/busybox:1"]
    nothing_is_left(platform)


def resource(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "mode": "managed",
        "type": kind,
        "name": "x",
        "provider": 'provider["registry.terraform.io/kled/kata"]',
        "instances": [{"schema_version": 0, "attributes": values, "private": NO_GENERATION}],
    }


def forget_generations(terraform: Any) -> None:
    file: Path = terraform.directory / "terraform.tfstate"
    state = json.loads(file.read_text())
    for entry in state["resources"]:
        for instance in entry["instances"]:
            instance["private"] = NO_GENERATION
    file.write_text(json.dumps(state))
