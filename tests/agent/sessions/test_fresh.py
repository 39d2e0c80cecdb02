"""What a session inherits of signals, whoever started the agent."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

SHOW = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
AGENT = f"""
import subprocess
from kled_agent.sessions.fresh import stop_ignoring
stop_ignoring()
import os, signal
os.kill(os.getpid(), signal.SIGHUP)  # still does nothing to us
subprocess.run(["sh", "-c", {SHOW!r}])
"""
HOLDER = f"""
import os, signal
from kled_agent.sessions.fresh import restore_defaults
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
restore_defaults()
os.execv("/bin/sh", ["sh", "-c", {SHOW!r}])
"""

# glibc keeps signals 32 and 33 to itself, and its posix_spawn(3), which Python 3.13 starts pytest's
# workers by, leaves one ignored. No program can be told otherwise.
_LIBCS = 0b11 << 31


def _under_nohup() -> None:
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})


def _shown(program: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        preexec_fn=_under_nohup,
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line.split()[1], 16) & ~_LIBCS for line in done.stdout.splitlines()]


def test_programs_of_an_agent_under_nohup_ignore_and_block_nothing() -> None:
    assert _shown(AGENT) == [0, 0]


def test_a_holders_shell_ignores_and_blocks_nothing() -> None:
    assert _shown(HOLDER) == [0, 0]


LIMITED = """
import os, resource
from kled_agent.sessions.fresh import lower_limits
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for soft in (hard, 256):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    lower_limits()
    os.system("ulimit -Sn; ulimit -Hn")
"""


def test_a_servers_limit_of_open_files_is_lowered_and_a_low_one_stays() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, check=True)
    assert [int(n) for n in done.stdout.split()] == [1024, hard, 256, hard]
