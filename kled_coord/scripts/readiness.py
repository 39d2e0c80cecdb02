"""The state of an agent as one word, and advice for the user. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from kled_coord.store.records import ScriptRun
from kled_wire.control.agent_spec import AgentSpec

ENDED: Final = frozenset({"succeeded", "failed", "timed_out"})
# How long an agent has to connect where nothing is said.
_CONNECT_S: Final = 120
# How many scripts a sentence names.
_NAMED_MAX: Final = 3


class AgentStatus(StrEnum):
    """What an agent is. STARTING, READY and START_FAILED are about its start scripts."""

    CONNECTING = "connecting"
    TIMED_OUT = "timed_out"
    CONNECTED = "connected"
    STARTING = "starting"
    READY = "ready"
    START_FAILED = "start_failed"
    SHUTTING_DOWN = "shutting_down"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of an agent, apart from its scripts.

    `building`: its start goes on. That began at `started_at` and was over at `began_at`, None where
    the workspace does not run. `takes_scripts`: it is of a version that runs them. `told` is the
    build whose spec it has taken and whose runs it has told of since it connected.
    """

    connected: bool
    last_seen_at: datetime | None
    building: bool
    started_at: datetime | None
    began_at: datetime | None
    stopping: bool = False
    takes_scripts: bool = True
    told: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReadiness:
    """`waits_for` are the names of the scripts that logins wait for; "" where none has a name."""

    status: AgentStatus
    advice: str = ""
    waits_for: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether its blocking scripts have ended, well or not, so that nobody waits any more."""
        return self.status in {
            AgentStatus.CONNECTED,
            AgentStatus.READY,
            AgentStatus.START_FAILED,
            AgentStatus.SHUTTING_DOWN,
        }


def decide_readiness(
    spec: AgentSpec | None, seen: Seen, runs: Sequence[ScriptRun], now: datetime
) -> AgentReadiness:
    """How the agent is. `runs` are the newest of its scripts at a start."""
    if not seen.connected:
        return _away(spec, seen, now)
    if seen.stopping:
        advice = "its shutdown scripts run; kled logs NAME shows them"
        return AgentReadiness(status=AgentStatus.SHUTTING_DOWN, advice=advice)
    if seen.building:
        advice = "its scripts begin when the build is over"
        return AgentReadiness(status=AgentStatus.STARTING, advice=advice)
    if spec is None or not seen.takes_scripts:
        return AgentReadiness(status=AgentStatus.CONNECTED)
    if seen.told != spec.build_id:
        advice = "it is told what its template says"
        return AgentReadiness(status=AgentStatus.STARTING, advice=advice)
    return _by_scripts(spec, runs)


def _by_scripts(spec: AgentSpec, runs: Sequence[ScriptRun]) -> AgentReadiness:
    ran = {run.script: run for run in runs}
    at_start = [script for script in spec.scripts if script.run_on_start]
    open_ = [
        script.name
        for script in at_start
        if script.blocks_login and (script.id not in ran or ran[script.id].state not in ENDED)
    ]
    if open_:
        return AgentReadiness(
            status=AgentStatus.STARTING,
            advice=f"logins wait for {_listed(open_)}; kled logs -f NAME shows what they do, and "
            "kled ssh --no-wait does not wait",
            waits_for=tuple(open_),
        )
    failed = [ran[s.id] for s in at_start if s.id in ran and ran[s.id].state in ENDED]
    failed = [run for run in failed if run.state != "succeeded"]
    if failed:
        return AgentReadiness(
            status=AgentStatus.START_FAILED,
            advice=f"{_listed([_how(run) for run in failed])}; kled logs NAME shows what was "
            "printed, and the workspace can be entered all the same",
        )
    return AgentReadiness(status=AgentStatus.READY)


def _away(spec: AgentSpec | None, seen: Seen, now: datetime) -> AgentReadiness:
    if seen.building:
        return AgentReadiness(status=AgentStatus.CONNECTING, advice="its build goes on")
    if seen.began_at is None:
        advice = "the workspace does not run: kled start NAME"
        return AgentReadiness(status=AgentStatus.DISCONNECTED, advice=advice)
    since = seen.started_at or seen.began_at
    if seen.last_seen_at is not None and seen.last_seen_at >= since:
        advice = (
            "it was there and is not any more: look whether its machine lives and reaches the "
            "coordinator; kled start NAME starts it again"
        )
        return AgentReadiness(status=AgentStatus.DISCONNECTED, advice=advice + _see(spec))
    limit_s = _CONNECT_S if spec is None else spec.connection_timeout_s
    by = seen.began_at + timedelta(seconds=limit_s)
    if limit_s and now >= by:
        advice = (
            f"it has not come within {limit_s} s: its machine may not have started, lack the "
            "agent, or not reach the coordinator; what it printed there says which"
        )
        return AgentReadiness(status=AgentStatus.TIMED_OUT, advice=advice + _see(spec))
    advice = "its machine starts" + (f"; it has until {by:%H:%M:%S} UTC" if limit_s else "")
    return AgentReadiness(status=AgentStatus.CONNECTING, advice=advice)


def _see(spec: AgentSpec | None) -> str:
    url = "" if spec is None else spec.troubleshooting_url
    return f"; see {url}" if url else ""


def _how(run: ScriptRun) -> str:
    if run.note:
        return f"{run.name}: {run.note}"
    return f"{run.name} ended with exit code {run.exit_code}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
