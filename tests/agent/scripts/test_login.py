"""PATH after a profile that has set it anew, in each shell that sources the file for it."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kled_agent.machine.users import load_user
from kled_agent.scripts.login import (
    ScriptDirectory,
    install_command,
    script_command,
    script_input,
)
from kled_agent.sessions.terminal import take_terminal

SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELLS = [s for s in ("dash", "bash", "zsh", "busybox") if shutil.which(s)]


@pytest.fixture
def place(tmp_path: Path) -> ScriptDirectory:
    found = ScriptDirectory(directory=f"{tmp_path}/place")
    subprocess.run(install_command(found, python=sys.executable, shell="/bin/sh"), check=True)
    return found


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("given", "after_profile", "expected"),
    [
        (f"/go/bin:{SYSTEM}:/p/bin:/p/lib", SYSTEM, f"/go/bin:{SYSTEM}:/p/bin:/p/lib"),
        # What the user's own profile puts first stays first.
        (f"/venv/bin:{SYSTEM}:/p/lib", f"/home/me/bin:{SYSTEM}", "/home/me/bin:/venv/bin:"),
        (f"/a b:{SYSTEM}:/c*", "/usr/bin:/bin", "/a b:/usr/bin:/bin:/c*"),
        (f"{SYSTEM}:/p/lib", f"{SYSTEM}:/p/lib", f"{SYSTEM}:/p/lib"),
        ("/only", "/other", "/other:/only"),
        ("/only", "", "/only"),
    ],
)
def test_path_has_again_what_a_profile_left_out(
    place: ScriptDirectory, shell: str, given: str, after_profile: str, expected: str
) -> None:
    code = 'PATH="$2"; . "$1"; . "$1"; echo "$PATH ${KLED_PATH-unset}" ${_kled_one-}'
    argv = [shutil.which(shell), *(["sh"] if shell == "busybox" else []), "-c", code, "x"]
    done = subprocess.run(
        [*map(str, argv), place.path_file, after_profile],
        env={"KLED_PATH": given, "PATH": SYSTEM},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found, _, left = done.stdout.rstrip("\n").rpartition(" ")
    assert left == "unset"
    if expected.endswith(":"):
        assert found.startswith(expected)
        assert found.endswith(":/p/lib")
    else:
        assert found == expected


def typed_into(argv: Sequence[str], keys: bytes, **options: Any) -> bytes:
    """What a program shows on its terminal that gets these keys and then ends."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: take_terminal(0),  # noqa: PLW1509  # fish needs one of its own
        **options,
    ) as process:
        os.close(theirs)
        os.write(ours, keys)
        printed = b""
        try:
            while data := os.read(ours, 4096):
                printed += data
        except OSError:
            pass  # the terminal is closed with its last program
        process.wait()
    os.close(ours)
    return printed


# What sets PATH anew, whatever /etc/profile says; of zsh each file is read, as without us.
PROFILES = {
    ".profile": "PATH=/usr/bin:/bin\n",
    ".zshenv": "ONE=1\n",
    ".zprofile": "PATH=/usr/bin:/bin\n",
    ".zshrc": "precmd() { TWO=$ONE }\n",
    ".config/fish/config.fish": "set -gx PATH /usr/bin /bin\n",
}


@pytest.mark.parametrize("shell", [s for s in ("bash", "dash", "zsh", "fish") if shutil.which(s)])
def test_an_interactive_login_shell_finds_what_the_image_and_scripts_have(
    place: ScriptDirectory, shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in PROFILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PATH", f"/go/bin:{SYSTEM}")
    user = load_user(None, shell=shutil.which(shell))
    object.__setattr__(user, "home", str(tmp_path))
    object.__setattr__(user, "programs", (place.bin, place.ours))
    object.__setattr__(user, "path_file", place.path_file)
    printed = typed_into(
        user.login_shell(),
        b"sh -c 'echo \"[$PATH]${KLED_PATH-gone}${ZDOTDIR-}\"'; command -v coder\n"
        b"echo two $TWO; exit\n",
        executable=user.shell,
        env={**user.login_environment(), "TERM": "dumb"},
        cwd=tmp_path,
    )
    assert b"[/go/bin:/usr/bin:/bin:" in printed
    assert f":{place.bin}:{place.ours}]gone".encode() in printed
    assert f"{place.ours}/coder".encode() in printed
    assert (b"two 1\r\n" in printed) == (shell == "zsh")


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("echo hello\nexport ZDOTDIR=${ZDOTDIR:-$HOME/own}\n", b"[/go/bin:/usr/bin:/bin:"),
        # Whoever says it for all leaves PATH to the profile, as without us.
        ("export ZDOTDIR=$HOME/own\n", b"[/usr/bin:/bin]"),
    ],
)
def test_zsh_reads_the_users_files_where_the_system_says_they_are(
    place: ScriptDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, found: bytes
) -> None:
    (tmp_path / "own").mkdir()
    for name in (".zshenv", ".zprofile", ".zshrc"):
        (tmp_path / "own" / name).write_text(PROFILES[name])
    (tmp_path / "zshenv").write_text(says)
    inside = ["bwrap", "--dev-bind", "/", "/", "--bind"]
    inside += [str(tmp_path / "zshenv"), "/etc/zsh/zshenv"]
    monkeypatch.setenv("PATH", f"/go/bin:{SYSTEM}")
    zsh = str(shutil.which("zsh"))
    install = install_command(place, python=sys.executable, shell=zsh)
    subprocess.run([*inside, *install], check=True, env={**os.environ, "HOME": str(tmp_path)})
    user = replace(
        load_user(None, shell=zsh),
        home=str(tmp_path),
        programs=(place.bin, place.ours),
        path_file=place.path_file,
    )
    printed = typed_into(
        [*inside, zsh, "-l"],
        b"sh -c 'echo \"[$PATH]${KLED_PATH-gone} ${ZDOTDIR-}.\"'; echo two $TWO; exit\n",
        env={**user.login_environment(), "TERM": "dumb"},
        cwd=tmp_path,
    )
    assert found in printed
    assert f"]gone {tmp_path}/own.".encode() in printed
    assert b"two 1\r\n" in printed


@pytest.mark.parametrize("shell", [s for s in ("bash", "zsh", "fish") if shutil.which(s)])
def test_a_script_finds_what_a_profile_left_out(
    place: ScriptDirectory, shell: str, tmp_path: Path
) -> None:
    for name, text in {**PROFILES, ".bash_profile": PROFILES[".profile"]}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    path = f"/go/bin:{SYSTEM}:{place.bin}:{place.ours}"
    argv = script_command(
        place, script_id="a", script="#!/bin/sh\necho $PATH", shell=str(shutil.which(shell))
    )
    done = subprocess.run(
        argv,
        env={"HOME": str(tmp_path), "PATH": path, "KLED_PATH": path},
        input=script_input("#!/bin/sh\necho $PATH"),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == f"/go/bin:/usr/bin:/bin:{place.bin}:{place.ours}\n"
    assert done.stderr == b""


def test_a_directory_that_was_removed_takes_no_file_of_the_user_away(
    place: ScriptDirectory,
) -> None:
    user = replace(load_user(None, shell="/bin/zsh"), path_file=place.path_file)
    assert user.login_environment()["ZDOTDIR"] == f"{place.ours}/zsh"
    own = replace(user, variables={"ZDOTDIR": "/own"}).login_environment()
    assert (own["ZDOTDIR"], "KLED_PATH" in own) == ("/own", False)
    shutil.rmtree(place.directory)
    assert "ZDOTDIR" not in user.login_environment()
    assert user.login_shell() == ["-zsh"]
