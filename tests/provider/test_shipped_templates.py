"""The templates that ship, with the real terraform and stand-ins of other people's providers."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kled_provider.kled.provider import kled_provider
from kled_provider.serve import KLED
from tests.kit.stub_providers import docker_provider, kubernetes_provider
from tests.provider.conftest import FakeHost, Terraform, open_terraform

TEMPLATES = Path(__file__).parents[2] / "templates"
PROVIDERS = {
    **{address: kled_provider() for address in KLED.addresses},
    "registry.terraform.io/kreuzwerker/docker": docker_provider(),
    "registry.terraform.io/hashicorp/kubernetes": kubernetes_provider(),
}


@pytest.fixture
async def terraform(host: FakeHost, tmp_path: Path) -> AsyncIterator[Terraform]:
    directory = tmp_path / "tf"
    directory.mkdir()
    async with open_terraform(host, directory, PROVIDERS) as it:
        yield it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "running"), [("docker", "docker_container"), ("kubernetes", "kubernetes_pod")]
)
async def test_it_starts_stops_starts_and_goes(
    host: FakeHost, terraform: Terraform, name: str, running: str
) -> None:
    shutil.copytree(TEMPLATES / name, terraform.directory, dirs_exist_ok=True)
    await terraform("init")
    for transition, there in (("start", 1), ("stop", 0), ("start", 1)):
        host.transition = transition
        await terraform("apply", "-auto-approve", "-no-color")
        await terraform("plan", "-detailed-exitcode", "-no-color")
        state = json.loads((terraform.directory / "terraform.tfstate").read_text())
        kinds = [each["type"] for each in state["resources"] if each["instances"]]
        assert kinds.count(running) == there
        assert "kled_agent" in kinds
    await terraform("destroy", "-auto-approve")
    assert host.generations == {}
