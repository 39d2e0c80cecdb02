"""Named terminals with all the real programs: `kled ssh --session`, and what they outlive."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.kit.processes import has_ended, running
from tests.kit.site import BIN, Site
from tests.kit.terminal import Terminal
from tests.kit.waiting import wait_until


def attach(site: Site, workspace: str, *words: str) -> Terminal:
    kled: list[str | Path] = [BIN / "kled", "ssh", workspace, *words]
    return Terminal(kled, site.env)


@pytest.fixture
def workspace(site: Site) -> Iterator[str]:
    """One of the test's own: agents are killed here."""
    site.kled("create", "terminals", "--template", "process")
    yield "terminals"
    site.kled("delete", "terminals", "--yes")
    assert holders(site) == []


def holders(site: Site) -> list[psutil.Process]:
    found = []
    for process in running("kled_agent.sessions.holder.process"):
        with contextlib.suppress(psutil.Error):
            if str(site.root) in process.cwd():
                found.append(process)
    return found


def sessions(site: Site, workspace: str) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(
        site.kled("--output", "json", "session", "list", workspace).stdout
    )
    return listed


def test_a_session_is_left_with_a_key_and_found_again(site: Site, workspace: str) -> None:
    one = attach(site, workspace, "--session", "main")
    one.wait_for("attached to main; ~d detaches, ~? lists keys")
    one.type("echo pid-$$-\r")
    one.wait_for("pid-")
    one.type("\r~?")
    one.wait_for("~d   detach; the session goes on")
    one.type("\r~d")
    assert one.process.wait(20) == 0
    one.wait_for("detached from main; the session goes on")
    (found,) = sessions(site, workspace)
    assert (found["name"], found["clients"]) == ("main", 0)
    again = attach(site, workspace, "--session=main")
    again.wait_for("attached to main")
    again.type(f"echo again-$(( $$ == {found['pid']} ))-\r")
    again.wait_for("again-1-")
    again.type("exit 5\r")
    assert again.process.wait(20) == 5
    again.wait_for("session main has ended (5)")


def test_sessions_are_listed_renamed_read_and_killed(site: Site, workspace: str) -> None:
    one = attach(site, workspace, "--session", "main")
    one.wait_for("attached to main")
    one.type("echo some-''text\r")
    one.wait_for("some-text")
    assert "main" in site.kled("session", "list", workspace).stdout.splitlines()[1]
    site.kled("session", "rename", workspace, "main", "work")
    assert "some-text" in site.kled("session", "log", workspace, "work").stdout
    refused = site.kled("session", "kill", workspace, "main", check=False)
    assert (refused.returncode, "there is no session main" in refused.stderr) == (4, True)
    site.kled("session", "kill", workspace, "work")
    one.wait_for("has ended: it was killed")
    assert one.process.wait(20) != 0
    assert sessions(site, workspace) == []


def test_a_session_outlives_its_agent_killed_or_restarted(site: Site, workspace: str) -> None:
    one = attach(site, workspace, "--session", "main")
    one.wait_for("attached to main")
    one.type("kept=in-the-shell\r~d")
    assert one.process.wait(20) == 0
    (before,) = sessions(site, workspace)
    for number in (signal.SIGKILL, signal.SIGUSR2):
        agent = site.agent(workspace)
        agent.send_signal(number)
        wait_until("the agent to end", partial(has_ended, agent.pid))
        (holder,) = holders(site)
        assert holder.is_running()
        site.kled("start", workspace)
        site.wait_connected(workspace)
        (after,) = sessions(site, workspace)
        assert after["pid"] == before["pid"]
        again = attach(site, workspace, "--session", "main")
        again.wait_for("attached to main")
        again.type("echo $kept''-still\r")
        again.wait_for("in-the-shell-still")
        again.type("\r~d")
        assert again.process.wait(20) == 0
    site.kled("stop", workspace)
    assert holders(site) == []


def test_who_is_attached_when_the_agent_is_restarted_is_attached_again(
    site: Site, workspace: str
) -> None:
    one = attach(site, workspace, "--session", "main")
    one.wait_for("attached to main")
    one.type("kept=in-the-shell\r")
    one.wait_for("kept=in-the-shell\r\n")
    agent = site.agent(workspace)
    agent.send_signal(signal.SIGUSR2)
    wait_until("the agent to end", partial(has_ended, agent.pid))
    one.wait_for("is lost; attaching again; Ctrl-C stops")
    one.text = ""
    site.kled("start", workspace)
    one.wait_for("attached to main", within_s=40)
    one.type("echo $kept''-still\r")
    one.wait_for("in-the-shell-still")
    one.type("exit 4\r")
    assert one.process.wait(20) == 4


def test_deleting_a_workspace_whose_agent_was_killed_leaves_no_session(site: Site) -> None:
    site.kled("create", "crashed", "--template", "process")
    one = attach(site, "crashed", "--session", "main")
    one.wait_for("attached to main")
    one.type("\r~d")
    assert one.process.wait(20) == 0
    (found,) = sessions(site, "crashed")
    site.agent("crashed").kill()
    site.kled("delete", "crashed", "--yes")
    wait_until("the holder to end", lambda: not holders(site), within_s=15)
    assert not psutil.pid_exists(int(str(found["pid"])))
    assert not list(site.root.rglob("sessions/main"))


def test_keys_are_shown_before_their_echo_and_taken_away_where_there_is_none(site: Site) -> None:
    """`--predict always`: a program echoes the first key and none of the next three."""
    program = (
        "stty raw -echo; printf '\\r\\nrea''dy'; dd bs=1 count=1 status=none; "
        "dd bs=1 count=3 status=none >/dev/null; stty sane; echo; echo o''ver; exit"
    )
    one = Terminal([BIN / "kled", "ssh", "--predict", "always", "dev"], site.env)
    one.type(f"{program}\r")
    one.wait_for("\r\nready")
    one.type("a")
    one.wait_for("readya")
    for key in "bcd":
        one.type(key)
        if key != "d":
            one.wait_for(f"\x1b[4m{key}\x1b[24m")
    one.wait_for("over")
    assert "\x1b[2D\x1b[2X" in one.text or "\x1b[3D\x1b[3X" in one.text
    assert one.close() == 0
