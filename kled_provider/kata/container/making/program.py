"""What the first process of a container is: the image's command, or the supervisor with an agent.

No I/O. The supervisor is `kled-init` of the agent's bundle (docs/bundle.md), and its job is a file
on tmpfs, because it holds secrets.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kled_provider.kata.container.declared.block_rules import BUNDLE, SECRETS
from kled_provider.kata.image.manifest import ImageConfig
from kled_provider.plugin.values import Values

JOB_FILE: Final = "init.json"
_ROOT: Final = ("0", "root", "0:0", "root:root")
TOKEN_FILE: Final = "token"  # noqa: S105 - the name of the file
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class NoCommandError(ValueError):
    """There is nothing to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstProcess:
    """How the container is started. `secrets` are files below SECRETS, by name.

    `changes_user` is whether it starts a program as another user than its own, root.
    """

    args: tuple[str, ...]
    environment: Mapping[str, str]
    user: str
    directory: str
    needs_bundle: bool = False
    changes_user: bool = False
    secrets: Mapping[str, bytes] = field(default_factory=dict)


def first_process(values: Values, image: ImageConfig, access_url: str) -> FirstProcess:
    """Say what runs. Raises NoCommandError."""
    agent = values["agent"]
    argv = _argv(values, image, has_agent=agent is not None)
    environment = _environment(values, image)
    sensitive = _texts(values["env_sensitive"])
    user = values["user"] or image.user
    directory = posixpath.join("/", values["workdir"] or image.directory)  # some say `app`
    if agent is None and not sensitive:
        if not argv:
            raise NoCommandError("neither the container nor its image says a command")
        return FirstProcess(args=argv, environment=environment, user=user, directory=directory)
    job: dict[str, Any] = {}
    if argv:
        job["command"] = {
            "argv": list(argv),
            "env": {**environment, **sensitive},
            "user": user or "0",
            "cwd": directory,
        }
    secrets: dict[str, bytes] = {}
    if agent is not None:
        own = {**environment, **sensitive, **_agent_environment(agent, user, access_url)}
        job["agent"] = {"argv": [f"{BUNDLE}/bin/kled-agent"], "env": own}
        secrets[TOKEN_FILE] = agent["token"].encode()
    secrets[JOB_FILE] = json.dumps(job).encode()
    return FirstProcess(
        args=(f"{BUNDLE}/bin/kled-init", f"{SECRETS}/{JOB_FILE}"),
        environment={"PATH": environment["PATH"]},
        user="0",
        directory=directory,  # the runtime makes one that is missing, and the supervisor does not
        needs_bundle=True,
        changes_user=any(name and name not in _ROOT for name in (user, (agent or {}).get("user"))),
        secrets=secrets,
    )


def _argv(values: Values, image: ImageConfig, *, has_agent: bool) -> tuple[str, ...]:
    """As containers have it: an entrypoint of one's own makes the image's command void."""
    if has_agent and values["command"] is None and values["args"] is None:
        return ()  # it lives as long as the agent
    command = image.entrypoint if values["command"] is None else tuple(values["command"])
    if values["args"] is not None:
        return (*command, *values["args"])
    return (*command, *(image.command if values["command"] is None else ()))


def _environment(values: Values, image: ImageConfig) -> dict[str, str]:
    of_image = dict(entry.partition("=")[::2] for entry in image.environment if "=" in entry)
    return {"PATH": _PATH, **of_image, **_texts(values["env"])}


def _agent_environment(agent: Values, user: str, access_url: str) -> dict[str, str]:
    found = {
        "KLED_COORDINATOR_URL": agent["url"] or access_url,
        "KLED_AGENT_TOKEN_FILE": f"{SECRETS}/{TOKEN_FILE}",
        "KLED_AGENT_STATE_DIR": "/var/lib/kled-agent",
    }
    name = (agent["user"] or user).partition(":")[0]
    if name and name not in ("0", "root"):
        found["KLED_AGENT_USER"] = name
    return {**found, **_texts(agent["env"])}


def _texts(found: Values | None) -> dict[str, str]:
    """A map's values that are set."""
    return {name: text for name, text in (found or {}).items() if text is not None}
