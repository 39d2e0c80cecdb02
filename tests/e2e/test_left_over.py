"""Whatever dies before it, after a stop or a delete nothing of the workspace is alive."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.processes import is_alive, running
from tests.kit.site import PROCESS_TEMPLATE, Site, open_site
from tests.kit.waiting import wait_until

# Runs once the agent is there, for longer than any of these tests; so does what it leaves behind.
SLOW = """
resource "terraform_data" "slow" {
  input      = kled_process.agent
  provisioner "local-exec" {
    command = "setsid sleep 301 & sleep 302 & exec sleep 303"
  }
}
"""


@pytest.fixture(scope="module")
def own() -> Iterator[Site]:
    """A site of these tests alone, with the template `slow` besides."""
    with open_site() as site, tempfile.TemporaryDirectory() as name:
        template = Path(name)
        (template / "main.tf").write_text((PROCESS_TEMPLATE / "main.tf").read_text() + SLOW)
        site.kled("template", "push", template, "--name", "slow")
        yield site


def of(site: Site, word: str) -> list[psutil.Process]:
    """The processes of the site's builds and workspaces that have `word` among their arguments."""
    return running(word, site.processes())


def begin(site: Site) -> list[int]:
    """Let a start get as far as its provisioner; pids of all that it has started."""
    site.kled("create", "left", "--template", "slow", "--no-wait")
    words = ("kled_agent", "301", "302", "303")
    wait_until("the provisioner runs", lambda: all(of(site, word) for word in words), within_s=30)
    return [p.pid for word in words for p in of(site, word)]


def kill_terraform(site: Site) -> None:
    for process in of(site, "apply"):
        process.kill()
    wait_ended(site)


def kill_coordinator(site: Site) -> None:
    site.stop_serving(signal.SIGKILL)
    site.serve()
    wait_ended(site)


def wait_ended(site: Site) -> None:
    wait_until(
        "the build has ended",
        lambda: site.ask("show", "left")["latest_build"]["status"] in {"failed", "canceled"},
        within_s=60,
    )


@pytest.mark.parametrize("die", [kill_terraform, kill_coordinator])
def test_a_start_that_was_killed_leaves_nothing(own: Site, die: Callable[[Site], None]) -> None:
    started = begin(own)
    die(own)
    agent, *others = started
    wait_until("the run is over", lambda: not [pid for pid in others if is_alive(pid)])
    assert is_alive(agent), "the next start adopts it"
    own.kled("delete", "left", "--yes")
    assert not [pid for pid in started if is_alive(pid)]
    assert not list((own.root / "data" / "runs").iterdir())


def test_a_restored_backup_does_not_know_what_runs(own: Site) -> None:
    own.kled("create", "left", "--template", "process")
    own.kled("stop", "left")
    data = own.root / "data"
    own.stop_serving()
    saved = {path: path.read_bytes() for path in data.glob("*.sqlite3*")}
    assert saved
    own.serve()
    own.kled("start", "left")
    agent = own.agent("left").pid
    own.stop_serving()
    for path in data.glob("*.sqlite3*"):
        path.unlink()
    for path, content in saved.items():
        path.write_bytes(content)
    own.serve()
    assert own.ask("show", "left")["status"] == "stopped"
    own.kled("delete", "left", "--yes")
    assert not is_alive(agent)


def test_a_killed_agent_leaves_sessions_that_the_stop_ends(own: Site) -> None:
    own.kled("create", "left", "--template", "process")
    daemon = "nohup setsid sleep 304 >/dev/null 2>&1 </dev/null & echo $!; exec sleep 305"
    with own.running(*own.ssh_words(), "left.kled", daemon, stderr=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        found = re.match(rb"\d+", client.stdout.readline())
        assert found is not None
        own.agent("left").kill()
        own.kled("stop", "left")
    assert not is_alive(int(found[0]))
    own.kled("delete", "left", "--yes")
