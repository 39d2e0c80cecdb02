"""What sessions get of the environment of a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kled_agent.machine.inherited import for_sessions, read_environment


def test_the_environment_of_a_process_is_what_it_was_started_with(tmp_path: Path) -> None:
    given = {"JAVA_HOME": "/opt/java", "EMPTY": "", "TWO": "a=b\nc", "BYTES": "\udcff"}
    code = "import os; os.environ['LATER'] = '1'; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        env=given,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert read_environment(process.pid) == given
        process.communicate(b"\n")
    assert read_environment(process.pid) == {}
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "environ").write_bytes(b"A=1\0nothing\0=x\0B=\0")
    assert read_environment(1, root=tmp_path) == {"A": "1", "B": ""}
    assert read_environment(os.getpid()) != {}


def test_sessions_get_neither_what_is_one_process_own_nor_the_token() -> None:
    found = {
        "GOPATH": "/go",
        "LC_ALL": "de_DE.UTF-8",
        "LD_PRELOAD": "/opt/lib/x.so",
        "PYTHONHOME": "/opt/python",
        "CODER_AGENT_URL": "http://c",
        "CODER_AGENT_TOKEN": "t0ken",
        "KLED_AGENT_TOKEN": "t0ken",
        "MY_COPY": "x t0ken",
        "HOME": "/root",
        "PATH": "/bin",
        "SHLVL": "1",
        "NOTIFY_SOCKET": "@x",
        "SSH_AUTH_SOCK": "/tmp/x",
    }
    wanted = {"GOPATH", "LC_ALL", "CODER_AGENT_URL"}
    assert for_sessions(found, "t0ken").keys() == wanted
    assert "MY_COPY" in for_sessions(found, "")
