"""A whole workspace of users whose shells in passwd(5) are not sh, by the real programs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import BIN, Site
from tests.kit.terminal import Terminal
from tests.kit.waiting import wait_until

USER = "kled-shells"
TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
data "kled_workspace" "me" {}
resource "kled_agent" "main" {
  env                     = { SAID = "hello" }
  startup_script          = "echo $SAID $SHELL $(command -v coder) >~/ran"
  startup_script_behavior = "blocking"
}
resource "kled_process" "agent" {
  count    = data.kled_workspace.me.start_count
  name     = "agent"
  agent_id = kled_agent.main.id
  env = {
    KLED_COORDINATOR_URL = data.kled_workspace.me.access_url
    KLED_AGENT_USER      = "THEM"
  }
  env_sensitive = { KLED_AGENT_TOKEN = kled_agent.main.token }
}
"""


@pytest.fixture(scope="module")
def home(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the user, whose workspace is `shells`."""
    folder = tmp_path_factory.mktemp("shells")
    (folder / "main.tf").write_text(TEMPLATE.replace("THEM", USER))
    found = Path(f"/home/{USER}")
    subprocess.run(["userdel", "-r", USER], check=False, capture_output=True)
    subprocess.run(["useradd", "-m", "-d", found, USER], check=True)
    try:
        site.kled("template", "push", folder, "--name", "shells")
        site.kled("create", "shells", "-t", "shells", "--wait", "agent")
        site.kled("stop", "shells")
        yield found
        site.kled("delete", "shells", "--yes")
    finally:
        subprocess.run(["userdel", "-r", USER], check=False, capture_output=True)


@pytest.mark.parametrize("name", ["zsh", "fish", "ash", "tcsh"])
def test_sessions_scripts_and_terminals_are_of_the_users_shell(
    site: Site, home: Path, name: str
) -> None:
    shell = shutil.which(name)
    if shell is None and name != "ash":
        pytest.skip(f"needs {name}")
    if shell is None:  # busybox is the shell that it is called as
        link = home / name
        link.symlink_to(str(shutil.which("busybox")))
        shell = str(link)
    subprocess.run(["usermod", "-s", shell, USER], check=True)
    ran = home / "ran"
    ran.unlink(missing_ok=True)
    site.kled("start", "shells")
    try:
        # The start may have ended before the script has.
        *said, coder = wait_until(
            "the script ran", lambda: ran.read_text().split() if ran.exists() else []
        )
        assert (said, Path(coder).name) == (["hello", shell], "coder")
        line = "echo $SAID $SHELL; exit 3"
        for done in (
            site.kled("ssh", "shells", line, check=False),
            site.ssh("shells.kled", line, check=False),
        ):
            assert (done.returncode, done.stdout) == (3, f"hello {shell}\n")
        words = "sh", "-c", "command -v coder; echo $KLED_PATH.;"
        assert site.kled("exec", "shells", "--", *words).stdout == f"{coder}\n.\n"
        terminal = Terminal([BIN / "kled", "ssh", "shells"], site.env, columns=200)
        terminal.type(f"sh -c '{words[-1]} echo shown $(command -v coder) ${{KLED_PATH-gone}}'\r")
        terminal.wait_for(f"shown {coder} gone")
        terminal.type("exit\r")
        terminal.close()
    finally:
        site.kled("stop", "shells")


def test_who_may_not_log_in_is_told_so_and_scripts_run(site: Site, home: Path) -> None:
    subprocess.run(["usermod", "-s", "/usr/sbin/nologin", USER], check=True)
    ran = home / "ran"
    ran.unlink(missing_ok=True)
    site.kled("start", "shells")
    said = wait_until("the script ran", lambda: ran.read_text() if ran.exists() else "")
    assert said.startswith("hello /usr/sbin/nologin /")
    refused = site.kled("exec", "shells", "--", "true", check=False)
    assert (refused.returncode, "not available" in refused.stdout) == (1, True)
    site.kled("stop", "shells")
