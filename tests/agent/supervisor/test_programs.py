"""Starting a program as the user that an image names."""

from __future__ import annotations

import os
import tempfile

import pytest

from kled_agent.supervisor.job import SupervisedProgram
from kled_agent.supervisor.programs import NotStartedError, find_account, start
from kled_wire.errors import ConfigError

PASSWD = "root:x:0:0:root:/root:/bin/ash\nann:x:1000:100:Ann:/home/ann:/bin/ash\nbroken\n"
GROUP = "root:x:0:\nusers:x:100:\naudio:x:29:bob,ann\nstaff:x:50:\n"


@pytest.mark.parametrize(
    ("user", "wanted"),
    [
        ("ann", (1000, 100, (29,), "/home/ann")),
        ("1000", (1000, 100, (29,), "/home/ann")),
        ("ann:staff", (1000, 50, (), "/home/ann")),
        ("4242", (4242, 0, (), "/")),
        ("4242:77", (4242, 77, (), "/")),
        ("0", (0, 0, (), "/root")),
    ],
)
def test_users_are_found_as_container_runtimes_find_them(user: str, wanted: tuple[object]) -> None:
    found = find_account(user, PASSWD, GROUP)
    assert (found.uid, found.gid, found.groups, found.home) == wanted


def test_a_number_needs_no_files() -> None:
    assert find_account("7:8", "", "").uid == 7


@pytest.mark.parametrize("user", ["bob", "ann:wheel", "²", ":", "ann:"])
def test_unknown_users_are_refused_or_the_default(user: str) -> None:
    if user == "ann:":
        assert find_account(user, PASSWD, GROUP).gid == 100
        return
    with pytest.raises(ConfigError):
        find_account(user, PASSWD, GROUP)


def ran(script: str, **fields: object) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile("r", prefix="kled") as out:
        os.fchmod(out.fileno(), 0o666)
        program = SupervisedProgram(
            argv=("/bin/sh", "-c", f"{{ {script}; }} >{out.name} 2>&1"),
            **fields,  # type: ignore[arg-type]
        )
        _, status = os.waitpid(start(program), 0)
        return os.waitstatus_to_exitcode(status), out.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_program_is_the_user_and_has_its_environment_and_no_more() -> None:
    code, said = ran("id -u; id -g; pwd; env | sort", user="7:8", env={"A": "b"})
    assert code == 0
    lines = said.splitlines()
    assert lines[:3] == ["7", "8", "/"]
    names = {line.partition("=")[0] for line in lines[3:]}
    assert names <= {"A", "HOME", "PATH", "PWD", "_", "SHLVL", "OLDPWD"}
    assert "SECRET" not in said


def test_signals_that_we_block_or_ignore_reach_the_program() -> None:
    code, said = ran("grep -E 'Sig(Blk|Ign)' /proc/self/status; kill -PIPE $$")
    assert code == -13, "not ignored, as Python has it"
    masks = [int(line.split()[1], 16) for line in said.splitlines()]
    assert len(masks) == 2
    # glibc keeps 32 and 33 to itself (nptl(7)); what it was started with may have them blocked.
    assert all(mask & ~(1 << 31 | 1 << 32) == 0 for mask in masks), said


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        (SupervisedProgram(argv=("/nowhere/x",)), 127, "No such file"),
        (SupervisedProgram(argv=("/etc/passwd",)), 126, "Permission denied"),
        (SupervisedProgram(argv=("true",), cwd="/nowhere"), 127, "No such file"),
        (SupervisedProgram(argv=("true",), user="nobody-here"), 126, "no user 'nobody-here'"),
    ],
)
def test_what_cannot_be_started_says_why(program: SupervisedProgram, code: int, why: str) -> None:
    with pytest.raises(NotStartedError, match=why) as caught:
        start(program)
    assert caught.value.code == code
