"""The spec of one agent from its template: scripts, environment, apps and metadata, as values.

The coordinator takes it from the state that a start has applied, keeps it with the agent, and gives
it to the agent over the control link. Nothing in it comes into force before the build that applied
it has succeeded: an agent that connects while its build runs is told once that has ended.

`to_plain` and `from_plain` turn it into what JSON and CBOR hold, and back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kled_wire.errors import ProtocolError

# `Script.id` of what the agent's own attributes say; every other one is that of its resource.
STARTUP_SCRIPT: Final = "startup_script"
SHUTDOWN_SCRIPT: Final = "shutdown_script"
# The time of a stop script where the template sets none, and the limit for all of them together.
_STOP_S: Final = 60.0
_STOP_MAX_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script that the agent runs as the user, in a login environment.

    A start runs those of `run_on_start`, each after the scripts that `after` names by id; a stop
    those of `run_on_stop`; `cron` (five fields, or six with seconds first; "": never) whenever it
    is due. `timeout_s` is 0 where there is no limit. Logins wait for one that `blocks_login`.
    `log_path` ("": none) is a file in the workspace that gets the output too.
    """

    id: str
    name: str
    script: str
    icon: str = ""
    run_on_start: bool = False
    run_on_stop: bool = False
    cron: str = ""
    blocks_login: bool = False
    timeout_s: int = 0
    log_path: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataItem:
    """A value that the agent finds out again every `interval_s` by a script, and reports.

    `order` sorts them for people, `key` those of one order.
    """

    key: str
    display_name: str
    script: str
    interval_s: int
    timeout_s: int = 0
    order: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """An app is healthy while `url` answers below 500; `threshold` failures in a row are enough."""

    url: str
    interval_s: int
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A program of the workspace that people open: a page at `url`, or a `command` in a terminal.

    `share` is owner, authenticated or public; `open_in` is slim-window or tab. An `external` url is
    one that the browser opens itself.
    """

    id: str
    slug: str
    display_name: str
    icon: str = ""
    url: str = ""
    command: str = ""
    external: bool = False
    subdomain: bool = False
    share: str = "owner"
    open_in: str = "slim-window"
    order: int = 0
    group: str = ""
    hidden: bool = False
    tooltip: str = ""
    healthcheck: HealthCheck | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The percentage of memory (`path` "") or of a file system above which use is reported."""

    path: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """All that a template says of one agent.

    `build_id` is of the build that applied it, `name` the agent's in its workspace. `env` is what
    sessions and scripts get, with what separate resources add merged in. `directory` ("": the home
    directory) is where sessions start.
    `startup_script` and `shutdown_script` are among the `scripts`, the first of those that run.
    `display_apps` names the built-in ways in that people are shown. `order` sorts the agents.
    """

    build_id: str
    name: str = ""
    os: str = ""
    arch: str = ""
    directory: str = ""
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    motd_file: str = ""
    troubleshooting_url: str = ""
    connection_timeout_s: int = 120
    order: int = 0
    display_apps: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()
    metadata: tuple[MetadataItem, ...] = ()
    apps: tuple[App, ...] = ()
    thresholds: tuple[Threshold, ...] = ()

    @property
    def shutdown_s(self) -> float:
        """How long the scripts of a stop may take altogether."""
        wanted = [script.timeout_s or _STOP_S for script in self.scripts if script.run_on_stop]
        return min(sum(wanted), _STOP_MAX_S)


_T = TypeVar("_T")


def to_plain(spec: AgentSpec) -> dict[str, Any]:
    """The same as dicts, lists, strings, numbers and bools."""
    return dataclasses.asdict(spec)


def from_plain(value: object) -> AgentSpec:
    """Read what `to_plain` wrote. Raises ProtocolError("agent_spec_malformed").

    What a newer version says besides is left out; what an older one does not say is at its default.
    """
    return _read(AgentSpec, value)


def _read(kind: type[_T], value: object) -> _T:
    if not isinstance(value, Mapping):
        raise _malformed(kind.__name__, "is not a map")
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # kinds are dataclasses
        if field.name not in value:
            continue
        try:
            found[field.name] = _READERS[str(field.type)](value[field.name])
        except TypeError as error:
            raise _malformed(
                kind.__name__, f"has a {field.name} that is no {field.type}"
            ) from error
    try:
        return kind(**found)
    except TypeError as error:
        raise _malformed(kind.__name__, "lacks something") from error


def _malformed(what: str, problem: str) -> ProtocolError:
    return ProtocolError("agent_spec_malformed", f"{what} {problem}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {_text(name): _text(item) for name, item in value.items()}


def _several(read: Callable[[object], _T]) -> Callable[[object], tuple[_T, ...]]:
    def read_all(value: object) -> tuple[_T, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(read(item) for item in value)

    return read_all


_READERS: Final[Mapping[str, Callable[[object], object]]] = {
    "str": _text,
    "int": _integer,
    "bool": _flag,
    "Mapping[str, str]": _env,
    "tuple[str, ...]": _several(_text),
    "tuple[Script, ...]": _several(lambda value: _read(Script, value)),
    "tuple[MetadataItem, ...]": _several(lambda value: _read(MetadataItem, value)),
    "tuple[App, ...]": _several(lambda value: _read(App, value)),
    "tuple[Threshold, ...]": _several(lambda value: _read(Threshold, value)),
    "HealthCheck | None": lambda value: None if value is None else _read(HealthCheck, value),
}
