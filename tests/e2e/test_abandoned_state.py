"""A state that the Terraform of a killed coordinator saves while the disk is full is not lost."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.processes import running
from tests.kit.site import Site, open_site
from tests.kit.small_disk import SmallDisk, small_disk, why_no_disk
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())

# It takes no notice of the interrupt: Terraform saves its state when it lets it.
_TEMPLATE = """
resource "terraform_data" "thing" {
  provisioner "local-exec" {
    command = "trap '' INT; touch %(place)s/begun; while ! rm %(place)s/go; do sleep 0.1; done"
  }
}
"""


@dataclass(kw_only=True)
class _Slow:
    """A site on a disk of its own. Its builds say that they have begun, and wait for `go`."""

    site: Site
    disk: SmallDisk
    place: Path

    def go(self) -> None:
        (self.place / "go").touch()
        wait_until("the provisioner has ended", lambda: not (self.place / "go").exists())

    def status(self, workspace: str) -> str:
        status: str = self.site.ask("show", workspace)["latest_build"]["status"]
        return status

    def runs(self) -> list[Path]:
        return list((self.site.data / "runs").iterdir())


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Slow]:
    place, template = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("slow")
    (template / "main.tf").write_text(_TEMPLATE % {"place": place})
    with small_disk(64) as disk:
        settings = {"KLED_COORD_DATA_DIR": str(disk.root / "data")}
        with open_site(settings=settings, template=template, name="slow") as site:
            yield _Slow(site=site, disk=disk, place=place)


@pytest.mark.parametrize("began", ["before", "after"])
def test_a_killed_coordinator_and_a_full_disk_lose_no_state(slow: _Slow, began: str) -> None:
    """Whether the disk is full before the next coordinator begins, or after."""
    slow.site.kled("create", began, "--template", "slow", "--no-wait")
    wait_until("something is made", (slow.place / "begun").exists, within_s=30)
    (slow.place / "begun").unlink()
    slow.site.stop_serving(signal.SIGKILL)
    with contextlib.ExitStack() as stack:
        if began == "after":
            slow.site.serve()
        stack.enter_context(slow.disk.full())
        if began == "before":
            slow.site.serve()
        slow.go()
        wait_until(
            "Terraform has ended", lambda: not running("apply", slow.site.processes()), within_s=30
        )
    wait_until("the build has ended", lambda: slow.status(began) == "failed", within_s=30)
    wait_until("its state is saved", lambda: not slow.runs(), within_s=30)
    state = json.loads(slow.site.kled("state", "pull", began).stdout)
    assert [each["name"] for each in state["resources"]] == ["thing"]
    assert not list((slow.site.data / "errored-states").glob("*/*"))
