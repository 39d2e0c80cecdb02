"""A workspace of the template `process` in the sandbox, used as people use one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import Site, open_site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with open_site(settings={"KLED_COORD_SANDBOX": "bubblewrap"}) as site:
        yield site


def test_a_workspace_sees_its_own_home_and_keeps_it_until_it_is_deleted(
    site: Site, tmp_path: Path
) -> None:
    site.kled("create", "dev")
    data = site.root / "data"
    assert (data / "sealing.key").is_file()
    seen = site.kled("exec", "dev", "--", "sh", "-c", f"ls {data} {site.home}; ls -A ~; ls /proc")
    assert "sealing.key" not in seen.stdout
    assert site.ask("show", "dev")["sandbox"] == "bubblewrap"

    # ssh, sftp and a terminal work in it.
    (tmp_path / "notes").write_text("kept\n")
    site.kled("cp", tmp_path / "notes", "dev:notes")
    assert site.ssh("dev.kled", "cat notes").stdout == "kept\n"
    assert "/dev/pts/" in site.ssh("-tt", "dev.kled", "tty").stdout
    assert not (Path.home() / "notes").exists()
    site.kled("sync", "push", tmp_path, "dev:pushed")
    assert site.ssh("dev.kled", f"cat pushed/{tmp_path.name}/notes").stdout == "kept\n"

    site.kled("stop", "dev")
    site.kled("start", "dev")
    assert site.ssh("dev.kled", "cat notes").stdout == "kept\n"
    workspace = data / "processes" / site.ask("show", "dev")["id"]
    assert workspace.is_dir()
    site.kled("delete", "dev", "--yes")
    assert not workspace.exists()


def test_two_workspaces_do_not_see_each_other(site: Site) -> None:
    for name in ("one", "two"):
        site.kled("create", name)
    site.kled("exec", "one", "--", "sh", "-c", "echo secret > /tmp/mine; echo secret > ~/mine")
    look = "cat /tmp/mine ~/mine 2>/dev/null; cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
    seen = site.kled("exec", "two", "--", "sh", "-c", look, check=False).stdout
    assert "secret" not in seen
    ids = {name: site.ask("show", name)["id"] for name in ("one", "two")}
    assert f"KLED_WORKSPACE_ID={ids['one']}" not in seen
