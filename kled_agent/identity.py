"""The agent's identity: its token and host key on disk, its certificates from the coordinator.

The identity belongs to the workspace and this machine, not to one build: it is kept in one 0600
file, survives restarts and rebuilds, and is fetched again with the token when the file is gone.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Final, TypedDict

import trio

from kled_agent.config import AgentConfig
from kled_agent.host_key import HostKeyMaking, begin_host_key
from kled_agent.ssh.identity import SshIdentity
from kled_wire.errors import ConfigError, KledError, ProtocolError
from kled_wire.private import make_private
from kled_wire.transport.address import parse_url
from kled_wire.transport.request import post_json
from kled_wire.version import SOFTWARE_VERSION

ENROLL_TIMEOUT_S: Final = 30.0


class Machine(TypedDict):
    """Where an agent runs; the names are those of the wire."""

    hostname: str
    os: str
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the agent keeps of itself. Keys are OpenSSH text; those of `principals` may log in."""

    coordinator_url: str
    token: str = field(repr=False)
    host_key: str = field(repr=False)
    host_public_key: str
    host_certificate: str = ""
    user_ca: str = ""
    principals: tuple[str, ...] = ()
    agent_id: str = ""
    workspace_id: str = ""
    workspace: str = ""
    owner: str = ""
    # What the template says about sessions.
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = ""

    def ssh(self) -> SshIdentity:
        """What the SSH server needs of it."""
        return SshIdentity(
            host_key=self.host_key,
            host_certificate=self.host_certificate,
            user_ca=self.user_ca,
            principals=self.principals,
        )

    @property
    def enrolled(self) -> bool:
        """Whether the coordinator has signed the host key."""
        return bool(self.host_certificate)


def load_identity(config: AgentConfig) -> Identity | None:
    """The identity on disk, or None when there is none that goes with `config`."""
    path = config.identity_file
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept["principals"] = tuple(kept["principals"])
        identity = Identity(**kept)
        if not all(isinstance(v, str) for v in _texts(identity)):
            return None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None  # damaged: the token fetches it again
    except OSError as exc:
        raise ConfigError("identity_unreadable", f"{path}: {exc.strerror}") from exc
    same_token = not config.token or config.token == identity.token
    return identity if same_token and config.coordinator_url == identity.coordinator_url else None


def _texts(identity: Identity) -> list[object]:
    """Everything in it that must be text."""
    plain = asdict(identity)
    environment: dict[object, object] = dict(plain.pop("environment"))
    principals: tuple[object, ...] = plain.pop("principals")
    return [*plain.values(), *principals, *environment, *environment.values()]


def save_identity(config: AgentConfig, identity: Identity) -> None:
    """Write the 0600 file whole or not at all. Raises ConfigError("identity_unwritable")."""
    path = config.identity_file
    temporary = path.with_suffix(".new")
    try:
        make_private(config.state_dir)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(identity), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        raise ConfigError(
            "identity_unwritable",
            f"{path}: {exc.strerror}",
            hint="set KLED_AGENT_STATE_DIR to a directory the agent may write",
        ) from exc


async def make_identity(config: AgentConfig, making: HostKeyMaking | None = None) -> Identity:
    """A new identity with a fresh host key, not yet enrolled; `making` is one that was begun.

    Raises ConfigError.
    """
    if not config.token:
        raise ConfigError(
            "token_missing",
            f"no identity in {config.state_dir} and no token to fetch one with",
            hint="set KLED_AGENT_TOKEN or KLED_AGENT_TOKEN_FILE",
        )
    making = making or begin_host_key()
    try:
        key = await trio.to_thread.run_sync(making.finish, abandon_on_cancel=True)
    finally:
        making.give_up()
    return Identity(
        coordinator_url=config.coordinator_url,
        token=config.token,
        host_key=key.private,
        host_public_key=key.public,
    )


def about_machine() -> Machine:
    """What an agent tells of its machine, as uname(1) has it."""
    uname = os.uname()
    return {
        "hostname": uname.nodename,
        "os": uname.sysname.lower(),
        "arch": uname.machine,
    }


async def enroll(identity: Identity, *, timeout_s: float = ENROLL_TIMEOUT_S) -> Identity:
    """Have the coordinator sign the host key and say who we are. Raises KledError."""
    with trio.move_on_after(timeout_s):
        answer = await post_json(
            parse_url(identity.coordinator_url),
            "/api/v1/agent/enroll",
            {
                "host_public_key": identity.host_public_key,
                "version": SOFTWARE_VERSION,
                **about_machine(),
            },
            headers={"Authorization": f"Bearer {identity.token}"},
        )
        return _enrolled(identity, answer)
    raise KledError("enroll_timeout", "the coordinator did not answer the enrolment in time")


def _enrolled(identity: Identity, answer: dict[str, object]) -> Identity:
    names = ("host_certificate", "user_ca", "agent_id", "workspace_id", "workspace", "owner")
    principals = answer.get("principals")
    if not all(isinstance(answer.get(name), str) for name in names) or not isinstance(
        principals, list
    ):
        raise ProtocolError("answer_malformed", "the enrolment answer lacks fields")
    return Identity(
        coordinator_url=identity.coordinator_url,
        token=identity.token,
        host_key=identity.host_key,
        host_public_key=identity.host_public_key,
        principals=tuple(str(p) for p in principals),
        environment=session_environment(answer.get("environment")),
        directory=str(answer.get("directory") or "").replace("\0", ""),
        **{name: str(answer[name]) for name in names},
    )


def session_environment(said: object) -> dict[str, str]:
    """The variables that can be passed on (environ(7)); older coordinators say none."""
    if not isinstance(said, dict):
        return {}
    pairs = {str(name): str(value) for name, value in said.items()}
    return {
        name: value
        for name, value in pairs.items()
        if name and "=" not in name and "\0" not in name + value
    }
