"""What the supervisor is told: a JSON file, which only it can read, for a command's secrets.

    {"command": {"argv": ["nginx"], "env": {"PATH": "/bin"}, "uid": 101, "gid": 101,
                 "groups": [], "cwd": "/"},
     "agent": {"argv": ["/opt/kled/bin/kled-agent"], "env": {…}}}

`command` null: the container lives as long as the agent. `agent` null: there is none. One of them
has to be there, each with its `argv`; everything else may be left out.
`user` is a name or number of the container's own /etc/passwd, as an image has it (`USER`):
"app", "app:staff", "1000", "1000:1000".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kled_wire.errors import ConfigError

MAX_JOB_BYTES: Final = 4 << 20
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisedProgram:
    """A program to start. `user` empty: whoever the supervisor is."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str = ""
    cwd: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorJob:
    """The image's command and the agent; one of them is there."""

    agent: SupervisedProgram | None = None
    command: SupervisedProgram | None = None


def decode_job(text: bytes) -> SupervisorJob:
    """Read the file's text. Raises ConfigError, which shows no value of an environment."""
    if len(text) > MAX_JOB_BYTES:
        raise ConfigError("supervisor_job_malformed", f"it has more than {MAX_JOB_BYTES} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("supervisor_job_malformed", "it is no JSON") from error
    if not isinstance(found, dict) or found.keys().isdisjoint(("agent", "command")):
        raise ConfigError("supervisor_job_malformed", "it has neither `command` nor `agent`")
    job = SupervisorJob(
        agent=_program(found.get("agent"), "agent"),
        command=_program(found.get("command"), "command"),
    )
    if job.agent is None and job.command is None:
        raise ConfigError("supervisor_job_malformed", "both `command` and `agent` are null")
    return job


def _program(found: Any, where: str) -> SupervisedProgram | None:
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ConfigError("supervisor_job_malformed", f"{where} is no object")
    argv, env = found.get("argv"), found.get("env", {})
    if not isinstance(argv, list) or not argv or not all(map(_is_word, argv)) or not argv[0]:
        raise ConfigError("supervisor_job_malformed", f"{where}.argv is no list of words")
    if not isinstance(env, dict) or not all(map(_is_word, env.values())):
        raise ConfigError("supervisor_job_malformed", f"{where}.env is no object of strings")
    if not all(name and "=" not in name and _is_word(name) for name in env):
        raise ConfigError("supervisor_job_malformed", f"{where}.env has a name that is none")
    user, cwd = found.get("user", ""), found.get("cwd", "/")
    if not _is_word(user) or not _is_word(cwd) or not cwd.startswith("/"):
        raise ConfigError("supervisor_job_malformed", f"{where}.user or .cwd is malformed")
    return SupervisedProgram(argv=tuple(argv), env=env, user=user, cwd=cwd)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value
