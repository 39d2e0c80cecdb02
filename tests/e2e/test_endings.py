"""Access that ends, ends what was opened with it: real streams, logs, agents and coordinators."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import BIN, Site, open_site
from tests.kit.terminal import Terminal
from tests.kit.waiting import wait_until

# What the person who ends somebody's access is promised.
_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with open_site() as opened:
        opened.kled("create", "dev", "--template", "process")
        yield opened


@contextlib.contextmanager
def echoing(site: Site, *argv: str | Path, **options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `cat` in the workspace that is seen to work."""
    with site.running(*argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=options) as process:
        assert says_back(process)
        yield process


def says_back(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"?")
    process.stdin.flush()
    return process.stdout.read(1) == b"?"


def test_revoking_a_token_ends_what_it_opened_and_nothing_else(site: Site) -> None:
    stolen = site.ask("token", "create", "stolen")
    env = {"KLED_TOKEN": stolen["token"]}
    resumable = (BIN / "kled", "exec", "dev", "--", "cat")
    plain = (*site.ssh_words(), "dev.kled", "cat")
    with (
        echoing(site, *resumable) as mine,
        echoing(site, *resumable, **env) as thiefs,
        echoing(site, *plain, **env) as thiefs_ssh,
    ):
        site.kled("token", "revoke", stolen["id"])
        assert thiefs.wait(_WITHIN_S) != 0
        assert thiefs_ssh.wait(_WITHIN_S) != 0
        assert says_back(mine)
        assert thiefs.stderr is not None
        assert b"revoked" in thiefs.stderr.read()
    rows = site.ask("token", "list")
    assert [row["revoked_at"] is not None for row in rows if row["id"] == stolen["id"]] == [True]


def test_an_end_reaches_streams_of_a_coordinator_that_was_killed(site: Site) -> None:
    """Its relay process has them still, and the new coordinator never heard of them."""
    with echoing(site, *site.ssh_words(), "dev.kled", "cat") as old:
        site.stop_serving(signal.SIGKILL)
        site.serve()
        site.wait_connected("dev")
        assert says_back(old)
        site.kled("user", "end-streams", "admin")
        assert old.wait(_WITHIN_S) != 0
    assert site.kled("exec", "dev", "--", "echo", "again").stdout == "again\n"


def test_an_end_reaches_an_agent_that_was_away_and_survives_the_coordinator(site: Site) -> None:
    agent = site.agent("dev")
    with echoing(site, *site.ssh_words(), "dev.kled", "cat") as old:
        site.stop_serving(signal.SIGKILL)
        site.serve()
        site.wait_connected("dev")
        agent.suspend()
        try:
            site.kled("user", "end-streams", "admin")
            site.stop_serving(signal.SIGKILL)
            site.serve()
        finally:
            agent.resume()
        wait_until("the stream has ended", lambda: old.poll() is not None, within_s=20)
    site.wait_connected("dev")
    assert site.kled("exec", "dev", "--", "echo", "again").stdout == "again\n"


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_what_ran_in_a_workspace_ends_with_its_agent_and_says_why(site: Site, killed: bool) -> None:
    """An agent that was killed is noticed, one that is stopped says so itself; nobody waits."""
    site.kled("create", "brief", "--template", "process")
    words = [(BIN / "kled", "exec", "brief", "--", "cat"), (*site.ssh_words(), "brief.kled", "cat")]
    named = Terminal([BIN / "kled", "ssh", "--session", "kept", "brief"], site.env)
    try:
        named.wait_for("attached to kept")
        with echoing(site, *words[0]) as ours, echoing(site, *words[1]) as plain:
            if killed:
                site.agent("brief").kill()
            else:
                site.kled("stop", "brief")
            assert ours.wait(_WITHIN_S) == 7
            assert plain.wait(_WITHIN_S) == 255
            assert ours.stderr is not None
            assert plain.stderr is not None
            said, plainly = ours.stderr.read().decode(), plain.stderr.read().decode()
        if killed:
            assert "the workspace's agent has ended" in said
        else:
            # The agent's own last words, which every SSH client shows.
            assert "the workspace's agent was stopped" in said
            assert "the workspace's agent was stopped" in plainly
            named.wait_for("the workspace brief is stop")
            assert named.process.wait(20) == 7
    finally:
        named.process.kill()
        named.close()
        site.kled("delete", "brief", "--yes")
