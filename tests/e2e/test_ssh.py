"""Real OpenSSH against a workspace: programs, terminals, environment, connections."""

from __future__ import annotations

import os
import shlex
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit.site import Site
from tests.kit.sockets import free_port
from tests.kit.terminal import Terminal

SESSIONS = 50


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_comes_back(site: Site, host: str, status: int) -> None:
    assert site.ssh(host, f"exit {status}", check=False).returncode == status


def test_output_and_errors_stay_apart(site: Site, host: str) -> None:
    done = site.ssh(host, "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_program_that_a_signal_ends_is_told_as_one(site: Site, host: str) -> None:
    """OpenSSH answers 255 to an exit-signal and says which with -v."""
    done = site.ssh("-v", host, "kill -TERM $$", check=False)
    assert done.returncode == 255
    assert "rtype exit-signal" in done.stderr


def test_a_command_that_does_not_exist_is_127(site: Site, host: str) -> None:
    done = site.ssh(host, "kled-no-such-command", check=False)
    assert done.returncode == 127
    assert "not found" in done.stderr


def test_input_ends_when_ours_does(site: Site, host: str) -> None:
    text = "a line\n" * 100_000
    assert site.ssh(host, "wc -c; echo done", input=text).stdout == f"{len(text)}\ndone\n"


def test_locale_and_term_are_carried_and_nothing_else(site: Site, host: str) -> None:
    sent = {"LANG": "de_DE.UTF-8", "LC_TIME": "C", "LD_PRELOAD": "", "SECRET": "x"}
    words = ["-o", "SendEnv LANG LC_* SECRET", "-tt", host]
    show = 'printf \'<%s>\' "$LANG" "$LC_TIME" "$TERM" "$SECRET"'
    done = site.ssh(*words, show, env={**sent, "TERM": "screen-256color"})
    assert done.stdout == "<de_DE.UTF-8><C><screen-256color><>"


def test_kled_is_there_inside(site: Site, host: str) -> None:
    assert "kled" in site.ssh(host, "command -v kled").stdout


def terminal_to(site: Site, *words: str, rows: int = 24, columns: int = 80) -> Terminal:
    """`ssh -t` on a terminal of ours."""
    return Terminal([*site.ssh_words(), "-t", *words], site.env, rows=rows, columns=columns)


def test_a_terminal_has_our_size_and_follows_it(site: Site, host: str) -> None:
    script = "trap 'stty size' WINCH; stty size; while :; do read -r line; echo \"<$line>\"; done"
    terminal = terminal_to(site, host, f"sh -c {shlex.quote(script)}", rows=30, columns=101)
    terminal.wait_for("30 101")
    terminal.resize(41, 77)
    # The window's change is a signal for the foreground program: ssh itself.
    os.killpg(terminal.process.pid, signal.SIGWINCH)
    terminal.type("\n")
    terminal.wait_for("41 77")
    terminal.type("\x04\x03")
    terminal.close()


def test_ctrl_c_interrupts_the_program_and_not_the_session(site: Site, host: str) -> None:
    terminal = terminal_to(site, host, "sh")
    terminal.type("echo re''ady; sleep 100; echo after=$?\n")
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.type("echo st''ill; exit 7\n")
    terminal.wait_for("still")
    assert terminal.close() == 7


def test_a_login_shell_is_one(site: Site, host: str) -> None:
    terminal = terminal_to(site, host)
    terminal.type("echo name=$0 tty=$(tty); exit 3\r")
    terminal.wait_for("name=-")
    terminal.wait_for("tty=/dev/pts/")
    assert terminal.close() == 3


def test_vs_codes_way_of_connecting(site: Site, host: str) -> None:
    """A script on standard input of `bash -s`, no terminal, and a SOCKS port beside it."""
    script = "echo marker-$((40 + 2))\nuname -s\nexit 5\n"
    port = free_port()
    done = site.ssh("-T", "-D", str(port), host, "bash", "-s", input=script, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (5, ["marker-42", os.uname().sysname])


def test_a_shared_connection_serves_many(site: Site, host: str) -> None:
    words = ["ssh", "-F", str(site.ssh_config)]
    site.run(*words, host, "true")
    assert "Master running" in site.run(*words, "-O", "check", host).stderr
    outputs = {site.run(*words, host, f"echo {n}; echo $SSH_CONNECTION").stdout for n in range(3)}
    assert len(outputs) == 3
    assert len({text.splitlines()[1] for text in outputs}) == 1
    site.run(*words, "-O", "exit", host)


def test_fifty_sessions_at_once(site: Site, host: str) -> None:
    """All of them are there together: each waits for the last one."""
    meeting = site.root / "meeting"
    meeting.mkdir()
    count = f"ls {meeting} | wc -l"
    script = f"touch {meeting}/$1; until [ $({count}) -ge {SESSIONS} ]; do sleep 0.2; done; echo $1"

    def session(number: int) -> str:
        return site.ssh(host, f"sh -c '{script}' sh {number}", timeout=100).stdout.strip()

    with ThreadPoolExecutor(SESSIONS) as pool:
        assert list(pool.map(session, range(SESSIONS))) == [str(n) for n in range(SESSIONS)]


def test_fifty_sessions_on_one_connection(site: Site, host: str) -> None:
    words = ["ssh", "-F", str(site.ssh_config)]
    site.run(*words, host, "true")

    def session(number: int) -> str:
        return site.run(*words, host, f"echo {number}", timeout=100).stdout.strip()

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(session, range(SESSIONS))) == [str(n) for n in range(SESSIONS)]
    site.run(*words, "-O", "exit", host)
