"""Completion: what is offered, and that real shells show and insert it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.client.conftest import ROOT, Kled
from tests.client.fake import USER, Fake, problem, workspace


@pytest.fixture
def coordinator(signed_in: Fake, home: Path) -> Fake:
    found = [workspace(), workspace("devel"), workspace("web")]
    signed_in.routes["GET", "/api/v1/workspaces"] = (200, found)
    signed_in.routes["GET", "/api/v1/users"] = (200, [USER])
    signed_in.routes["GET", "/api/v1/tokens"] = (
        200,
        [{"id": "tok_1"}, {"id": "tok_2", "revoked_at": "x"}],
    )
    signed_in.routes["GET", "/api/v1/keys"] = (200, [{"id": "key_1"}])
    return signed_in


def offered(kled: Kled, line: str, **env: str) -> list[tuple[str, str]]:
    """What fish is answered for what stands before the cursor, as (kind, value)."""
    words = {"COMP_WORDS": line, "COMP_CWORD": line.rpartition(" ")[2]}
    done = kled(env={"_KLED_COMPLETE": "fish_complete", **words, **env})
    assert done.stderr == b""
    pairs = [text.split("\t")[0].split(",", 1) for text in done.stdout.decode().split("\n") if text]
    return [(kind, value) for kind, value in pairs]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("kled show de", ["dev", "devel"]),
        ("kled -o json workspace stop w", ["web"]),
        ("kled show bob/", ["bob/dev", "bob/devel", "bob/web"]),
        ("kled key add --workspace w", ["web"]),
        ("kled stream w", ["web"]),
        ("kled create new --template ", ["process"]),
        ("kled template delete p", ["process"]),
        ("kled template init k", ["kata", "kubernetes"]),
        ("kled user show al", ["alice"]),
        ("kled list --owner ", ["alice"]),
        ("kled token revoke ", ["tok_1"]),
        ("kled key remove ", ["key_1"]),
        ("kled --profile d", ["default"]),
        ("kled help sess", ["session"]),
        ("kled help session k", ["kill"]),
        ("kled temp", ["template"]),
        ("kled exec dev -- ", []),
    ],
)
def test_names_are_offered(coordinator: Fake, kled: Kled, line: str, names: list[str]) -> None:
    assert offered(kled, line) == [("plain", name) for name in names]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kled cp d", [("plain", "dev:"), ("plain", "devel:"), ("file", "d")]),
        ("kled cp ./d", [("file", "./d")]),
        ("kled cp dev:", []),
        ("kled cp dev : s", []),
        ("kled key add ", [("file", "")]),
        ("kled login --ca-file ", [("file", "")]),
        ("kled template push ", [("dir", "")]),
    ],
)
def test_files_are_offered(
    coordinator: Fake, kled: Kled, line: str, found: list[tuple[str, str]]
) -> None:
    assert offered(kled, line) == found


def test_sessions_are_those_of_the_workspace(coordinator: Fake, kled: Kled) -> None:
    """The fake agent has none, so only that it is asked, silently."""
    coordinator.stream = "ssh"
    assert offered(kled, "kled session kill dev ") == []
    assert any("/workspaces/dev/stream" in target for _, target, _ in coordinator.requests)


def test_nothing_is_said_where_nobody_answers(fake: Fake, kled: Kled) -> None:
    assert offered(kled, "kled show ") == []  # not signed in
    fake.sign_in()
    fake.routes["GET", "/api/v1/workspaces"] = problem(503, "down", "the store is down")
    assert offered(kled, "kled show ") == []
    assert offered(kled, "kled --url http://127.0.0.1:9 show ") == []
    assert offered(kled, "kled --profile ../x show ") == []


# Runs completion, and otherwise says what it was given.
PROGRAM = """\
#!/bin/sh
if [ -n "$_KLED_COMPLETE" ] || [ "$1" = completion ]; then exec {python} -m kled_client "$@"; fi
printf 'ran'; printf '<%s>' "$@"; echo .
"""
START = {
    "bash": (["bash", "--noprofile", "-i"], ".bashrc"),
    "zsh": (["zsh", "-i"], ".zshrc"),
    "fish": (["fish", "-i"], ".config/fish/config.fish"),
}


@pytest.fixture
def shell_home(coordinator: Fake, home: Path) -> Path:  # it answers
    """A home with files, and kled on its path."""
    program = home / "bin/kled"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    (home / "local file").touch()
    (home / "source").mkdir()
    # Without it fish begins to read the system's manual pages.
    (home / ".local/share/fish/generated_completions").mkdir(parents=True)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("shell", sorted(START))
def test_tab_in_a_real_shell(shell_home: Path, kled: Kled, shell: str) -> None:
    """The script as the help says to install it, in an rc file that has nothing else."""
    command, rc_file = START[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    rc_path = shell_home / rc_file
    rc_path.parent.mkdir(parents=True, exist_ok=True)
    rc_path.write_bytes(kled("completion", shell).stdout)
    with terminal(shell_home, command) as (read_until, write):
        for typed, ran in (
            ("kled show w\t", "<show><web>"),
            ("kled cp w\tx loc\t", "<cp><web:x><local file>"),
            ("kled cp ./so\tx dev:y", "<cp><./source/x><dev:y>"),
            ("kled key add loc\t", "<key><add><local file>"),
            ("kled template push so\t", "<template><push><source>"),
            ("kled -o js\tshow dev", "<-o><json><show><dev>"),
        ):
            write(typed + "\r")
            # zsh takes the slash of a directory back when the line ends.
            assert read_until("ran", ">.").replace("/>", ">") == f"ran{ran}."


@contextmanager
def terminal(
    home: Path, command: list[str]
) -> Iterator[tuple[Callable[[str, str], str], Callable[[str], None]]]:
    """A program on a terminal: what it prints from one word to another, and typing."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    env = {"HOME": str(home), "PATH": f"{home}/bin:{os.environ['PATH']}", "TERM": "xterm"}
    env |= {"KLED_KEYRING": "off", "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        cwd=home,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = ""

    def read_until(begin: str, end: str) -> str:
        nonlocal seen
        while (start := seen.find(begin)) < 0 or (stop := seen.find(end, start)) < 0:
            assert select.select([ours], [], [], 30)[0], seen
            seen += os.read(ours, 4096).decode("utf-8", "replace")
        found, seen = seen[start : stop + len(end)], seen[stop + len(end) :]
        return found

    try:
        yield read_until, lambda text: void(os.write(ours, text.encode()))
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def void(_: object) -> None:
    """For a lambda that returns nothing."""
