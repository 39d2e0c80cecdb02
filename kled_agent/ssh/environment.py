"""The environment of a session: the agent's, what the client may set, and who it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncssh

from kled_agent.ssh.login_wait import WAIT_VARIABLE
from kled_wire.ssh import subsystems

# The variables that a client may set: others could change how programs are found or loaded. LANG
# and LC_* are those of Debian's sshd_config; terminals and git clients send the rest.
_ENVIRONMENT_PREFIXES: Final = ("LC_", subsystems.CLIENT_PREFIX)
_ENVIRONMENT_NAMES: Final = frozenset({"LANG", "LANGUAGE", "TZ", "COLORTERM", "GIT_PROTOCOL"})


def session_environment(
    channel: asyncssh.SSHServerChannel[bytes], defaults: Mapping[str, str]
) -> dict[str, str]:
    """`defaults` with what the client of `channel` has sent, its address and its ssh-agent."""
    environment = {**defaults, **_allowed(channel.get_environment())}
    peer = channel.get_extra_info("peername") or ("0.0.0.0", 0)  # noqa: S104 - a label
    environment["SSH_CONNECTION"] = f"{peer[0]} {peer[1]} 127.0.0.1 22"
    environment["SSH_CLIENT"] = f"{peer[0]} {peer[1]} 22"
    if agent_path := channel.get_agent_path():
        environment["SSH_AUTH_SOCK"] = agent_path
    return environment


def _allowed(asked: Mapping[str, str]) -> dict[str, str]:
    """The part of what a client sent that its session gets."""
    return {
        name: value
        for name, value in asked.items()
        if name in _ENVIRONMENT_NAMES or name.startswith(_ENVIRONMENT_PREFIXES)
        if name != WAIT_VARIABLE
    }
