"""Resets what programs inherit: a session gets the signals and limits of a fresh login.

Who was started by nohup(1), or in the background by a shell without job control, ignores SIGHUP,
SIGINT or SIGQUIT; a program started by it would too (signal(7), execve(2)). And a server's limit of
open files is far above what select(2) and programs that close every descriptor can bear.
"""

from __future__ import annotations

import resource
import signal
from typing import Final

# The same as in login.defs(5) and sshd.
UMASK: Final = 0o022
_OPEN_FILES: Final = 1024
# Python ignores these in itself and undoes that in what subprocess starts.
_PYTHONS: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


def stop_ignoring() -> None:
    """Ignore signals by a handler instead, which the programs that we start do not inherit.

    For this process nothing else changes. Blocked signals are let through.
    """
    for number in _ignored() - _PYTHONS:
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def restore_defaults() -> None:
    """Ignore and block no signal; for a child before its exec."""
    for number in _ignored():
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def lower_limits() -> None:
    """For a child before its exec: as many open files as a login has; more may still be asked for.

    The kernel's own default and systemd's (DefaultLimitNOFILE=, systemd-system.conf(5)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > _OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))


def _ignored() -> set[int]:
    return {n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN}
