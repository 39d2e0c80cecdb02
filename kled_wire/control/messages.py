"""Every control message, on one page.

Each is a frozen dataclass with a `type` tag; `codec.py` turns it into one CBOR map. Requests are
imperative, facts are past. A peer ignores fields it does not know and answers types it does not
know with `Unsupported`, so additions need no new protocol version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Final

from kled_wire.control.agent_spec import AgentSpec

# The feature of an agent's hello that stands for `set_keys`.
KEYS_FEATURE: Final = "user_keys"
# The feature of an agent's hello that stands for grants.
GRANTS_FEATURE: Final = "grants"
# The feature of an agent's hello that stands for scripts (`set_spec` and what belongs to it).
SCRIPTS_FEATURE: Final = "scripts"
# Grants in one message: 256 of them are some 20 KiB.
GRANTS_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Base of all; `type` is the tag on the wire."""

    type: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """Agent, first message of a link. `protocol` is "major.minor"."""

    type: ClassVar[str] = "hello"
    protocol: str
    version: str
    hostname: str = ""
    os: str = ""
    arch: str = ""
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Message):
    """Coordinator's answer to Hello: who this agent is and how often to send a Ping (seconds).

    `spec_follows`: a build goes on, and what the template says comes (SetSpec) when it has ended.
    """

    type: ClassVar[str] = "welcome"
    protocol: str
    version: str
    agent_id: str
    workspace_id: str
    workspace: str
    owner: str
    heartbeat_s: float
    spec_follows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Either side; answered by Pong with the same `id`. `rtt_s` is the last one measured, or 0."""

    type: ClassVar[str] = "ping"
    id: int
    rtt_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """The answer to a Ping."""

    type: ClassVar[str] = "pong"
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial(Message):
    """Coordinator: connect to the data plane with this one-time ticket and serve `kind`.

    `kind` is "ssh" or "tcp"; `host` and `port` say where a "tcp" stream leads. The stream belongs
    to `user`, a user's id. With `resume` it is resumable (kled_wire/resume). `grant` is what it is
    served under (`GrantsHeld`), for the coordinator alone to read.
    """

    type: ClassVar[str] = "dial"
    ticket: str
    kind: str
    host: str = ""
    port: int = 0
    resume: bool = False
    user: str = ""
    grant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKey:
    """A public key that a user registered: part of SetKeys.

    `id` is the key's, `user` the user's. `key` is type and base64 as in authorized_keys(5), without
    options or comment. It is good for `expires_in_s` seconds from now.
    """

    id: str
    user: str
    key: str
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetKeys(Message):
    """Coordinator: these keys are good, and no others. `number` counts the lists of a link."""

    type: ClassVar[str] = "set_keys"
    number: int
    keys: tuple[UserKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSet(Message):
    """Agent: the list of this number is in force."""

    type: ClassVar[str] = "keys_set"
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsed(Message):
    """Agent: somebody has just proven on a stream of the key's user that they hold the key."""

    type: ClassVar[str] = "key_used"
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DialFailed(Message):
    """Agent: the stream asked for by `ticket` will not come, and why."""

    type: ClassVar[str] = "dial_failed"
    ticket: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Message):
    """Agent, now and then: how the machine is. Bytes; `streams` counts data-plane streams."""

    type: ClassVar[str] = "report"
    memory_total_bytes: int
    memory_used_bytes: int
    load_1m: float = 0.0
    streams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListGrants(Message):
    """Coordinator: somebody's access has changed; say again which grants you hold."""

    type: ClassVar[str] = "list_grants"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantsHeld(Message):
    """Agent: something is served under each of these grants; at most GRANTS_MAX in one message."""

    type: ClassVar[str] = "grants_held"
    grants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndGrants(Message):
    """Coordinator: these grants have ended; end all that is served under them, for good."""

    type: ClassVar[str] = "end_grants"
    grants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSpec(Message):
    """Coordinator: what the template says of this agent, as the newest start has applied it."""

    type: ClassVar[str] = "set_spec"
    spec: AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSet(Message):
    """Agent: the spec of this build is in force, and every run of its scripts has been told."""

    type: ClassVar[str] = "spec_set"
    build_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRunChanged(Message):
    """Agent: how a run of a script is; `run` is the agent's name for it, new for each.

    `stage` is start, stop or cron; `state` waiting, running, succeeded, failed or timed_out.
    `exit_code` is -1 where there is none, `started_at` seconds since 1970 (0: not yet),
    `duration_s` how long it took or has taken so far. `note` says in words what else there is.
    """

    type: ClassVar[str] = "script_run_changed"
    run: str
    build_id: str
    script: str
    stage: str
    state: str
    exit_code: int = -1
    started_at: float = 0.0
    duration_s: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptOutput(Message):
    """Agent: `data` is what the run has printed from byte `offset` on.

    What is missing between this and what came before was too much to be kept. The next comes when
    this one was answered by OutputKept. After a `final` one the script prints no more.
    """

    type: ClassVar[str] = "script_output"
    run: str
    offset: int
    data: bytes
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputKept(Message):
    """Coordinator: the output of this run need not be told again up to byte `end`.

    That may be less than was told: what may be the beginning of a secret comes again with more.
    """

    type: ClassVar[str] = "output_kept"
    run: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataFound(Message):
    """Agent: what a metadata script printed, or the `error` that it ended with.

    `took_s` is how long it ran; `age_s` how long ago it ended.
    """

    type: ClassVar[str] = "metadata_found"
    key: str
    value: str
    error: str = ""
    took_s: float = 0.0
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopScripts(Message):
    """Coordinator: the workspace stops; run the scripts for that, for at most `within_s`."""

    type: ClassVar[str] = "run_stop_scripts"
    within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StopScriptsEnded(Message):
    """Agent: the scripts that run at a stop have ended, and all they printed has been told."""

    type: ClassVar[str] = "stop_scripts_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown(Message):
    """Coordinator: this link is about to end. Dialling again is worth it after `back_in_s`."""

    type: ClassVar[str] = "shutdown"
    reason: str
    back_in_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported(Message):
    """Either side: a message of this type came and is not known here."""

    type: ClassVar[str] = "unsupported"
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """What the decoder makes of a type it does not know. Never sent."""

    type: ClassVar[str] = ""
    of: str
    fields: tuple[str, ...] = field(default=())


ALL: dict[str, type[Message]] = {
    kind.type: kind
    for kind in (
        Hello,
        Welcome,
        Ping,
        Pong,
        Dial,
        DialFailed,
        SetKeys,
        KeysSet,
        KeyUsed,
        Report,
        ListGrants,
        GrantsHeld,
        EndGrants,
        SetSpec,
        SpecSet,
        ScriptRunChanged,
        ScriptOutput,
        OutputKept,
        MetadataFound,
        RunStopScripts,
        StopScriptsEnded,
        Shutdown,
        Unsupported,
    )
}
