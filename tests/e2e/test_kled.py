"""The `kled` command end to end."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from pathlib import Path

from tests.kit.processes import command_line
from tests.kit.site import BIN, Site
from tests.kit.sockets import free_port
from tests.kit.waiting import wait_until


def test_exec_keeps_words_streams_and_status(site: Site) -> None:
    words = ["a b", "$HOME", "", "'", "*"]
    done = site.kled("exec", "dev", "--", "printf", "<%s>", *words)
    assert done.stdout == "".join(f"<{word}>" for word in words)
    script = "cat; echo err >&2; exit 9"
    done = site.kled("exec", "dev", "sh", "-c", script, input="in", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, "in", "err\n")
    done = site.kled("exec", "dev", "sh", "-c", "kill -KILL $$", check=False)
    assert done.returncode == 128 + signal.SIGKILL


def test_ssh_runs_a_line_by_the_shell(site: Site) -> None:
    done = site.kled("ssh", "dev", "--", "echo $((6 * 7)); exit 3", check=False)
    assert (done.returncode, done.stdout) == (3, "42\n")
    done = site.kled("ssh", "-t", "dev", "tty; stty size", check=False)
    assert "/dev/pts/" in done.stdout


def test_forward_reaches_a_server_inside(site: Site, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("found")
    serve = ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path), "0"]
    with site.running(BIN / "kled", "exec", "dev", "--", *serve) as server:
        assert server.stdout is not None
        found = re.search(rb"port (\d+)", server.stdout.readline())
        assert found is not None
        words = ["--output", "json", "forward", "dev", f"0:{found[1].decode()}"]
        with site.running(BIN / "kled", *words, stderr=subprocess.DEVNULL) as forward:
            assert forward.stdout is not None
            local = None
            while not local:
                line = forward.stdout.readline()
                assert line, "kled forward has ended"
                local = re.search(rb'"(?:local|listen)": "([^"]+)"', line)
            url = f"http://{local[1].decode()}/page"
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.read() == b"found"
    pattern = f"http.server.*{tmp_path}"
    wait_until("the server ended with its session", lambda: not _runs(site, pattern))


def _runs(site: Site, pattern: str) -> bool:
    return any(re.search(pattern, " ".join(command_line(p))) for p in site.processes())


def test_ping_measures_three_legs(site: Site) -> None:
    found = site.ask("ping", "dev", "-c", "3")
    assert len(found["rounds"]) == 3
    legs = ("client_coordinator_ms", "coordinator_agent_ms", "end_to_end_ms")
    assert all(0 < found["median"][leg] < 5000 for leg in legs)


def test_list_and_show_are_json_for_programs(site: Site) -> None:
    (found,) = [w for w in site.ask("list") if w["name"] == "dev"]
    assert (found["status"], found["agent"]["status"]) == ("running", "connected")
    assert (found["owner"], found["template"]) == ("admin", "process")
    assert site.ask("show", "dev")["latest_build"]["status"] == "succeeded"
    assert "dev" in site.kled("list").stdout


def test_create_is_quiet_and_verbose_on_demand(site: Site) -> None:
    quiet = site.kled("create", "quiet", "--template", "process")
    assert (quiet.stdout, quiet.stderr) == ("", "quiet is ready; next: kled ssh quiet\n")
    stopped = site.kled("--verbose", "stop", "quiet")
    assert "Terraform" in stopped.stderr
    assert "Warning" not in stopped.stderr
    site.kled("delete", "quiet", "--yes")


def test_config_ssh_is_idempotent_and_removable(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("Host other\n  User me\n")
    words: list[str | Path] = ["config-ssh", "--ssh-config-file", path]
    site.kled(*words)
    once = path.read_text()
    site.kled(*words)
    assert path.read_text() == once
    assert once.endswith("Host other\n  User me\n")
    # ssh takes the first value it meets, and the block changes nothing for other hosts.
    resolved = site.run("ssh", "-F", path, "-G", "other").stdout
    assert "user me\n" in resolved
    assert "proxycommand" not in resolved
    site.kled(*words, "--remove")
    assert path.read_text() == "Host other\n  User me\n"


def test_config_ssh_works_without_the_callers_environment(site: Site, tmp_path: Path) -> None:
    """As an IDE calls ssh: the profile is found although KLED_CONFIG_DIR is not set."""
    place = tmp_path / "own profile"
    (site.home / ".config/kled").rename(place)
    try:
        env = {"KLED_CONFIG_DIR": str(place)}
        site.kled("config-ssh", "--ssh-config-file", tmp_path / "config", env=env)
        words: list[str | Path] = ["ssh", "-F", tmp_path / "config", "-S", "none"]
        assert site.run(*words, "dev.kled", "echo here").stdout == "here\n"
    finally:
        place.rename(site.home / ".config/kled")


def test_a_stream_to_a_port_where_nobody_listens_says_so(site: Site) -> None:
    done = site.kled("stream", "dev", "--kind", "tcp", "--port", str(free_port()), check=False)
    assert done.returncode == 7
    assert "nothing in the workspace takes a connection to port" in done.stderr
