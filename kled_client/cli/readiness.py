"""A workspace's scripts as its owner is told of them: waiting for them, and how they went."""

from __future__ import annotations

from typing import Any

from kled_client.api.client import Api
from kled_client.api.models import Agent, Workspace
from kled_client.output import Meter, ago, one_line
from kled_wire.errors import UnavailableError

# A value of metadata that is shown in one line, in characters.
_VALUE_MAX = 200


async def wait_ready(api: Api, found: Workspace, meter: Meter) -> Workspace:
    """Wait until no script keeps logins out; the meter says which does.

    However long they take: their author gave them their time, and Ctrl-C ends the wait. Raises
    UnavailableError when the agent goes away.
    """
    told = ""
    while True:
        # An older coordinator knows nothing of scripts.
        agent = first_in(found, "starting")
        if agent is None:
            return found
        # Without a script to wait for it lasts a moment: nothing is said of that.
        waits_for = agent.get("waits_for") or ()
        if waits_for and (advice := advice_of(agent, found)) != told:
            told = advice
            meter.log(f"{found['name']}: {advice}")
        meter.update(0, None, ", ".join(waits_for) or None)
        try:
            return await api.wait_until_ready(found["id"])
        except UnavailableError as exc:
            if exc.code != "agent_not_ready":
                raise
        found = await api.workspace(found["id"])


def first_in(found: Workspace, state: str) -> Agent | None:
    """The first agent in a state: of the one that is meant, or of all where none is."""
    agent = found.get("agent")
    agents = [agent] if agent else found.get("agents") or []
    return next((each for each in agents if each.get("state") == state), None)


def agent_status(found: Workspace) -> str:
    """Whether the agent is connected, in one word; how many there are where none is meant."""
    agent = found.get("agent")
    if agent:
        return agent["status"]
    return f"{len(found['agents'])} agents" if found.get("agents") else "-"


def advice_of(agent: Agent, found: Workspace) -> str:
    """What the coordinator says about the agent's state, with the workspace's name in it."""
    return (agent.get("advice") or "").replace("NAME", found["name"])


def describe_state(agent: Agent, found: Workspace) -> str:
    """The agent's state (empty from an older coordinator), and what to do about it."""
    advice = advice_of(agent, found)
    return (agent.get("state") or "").replace("_", " ") + (f": {advice}" if advice else "")


def describe_scripts(agent: Agent, found: Workspace) -> dict[str, str | None]:
    """State, scripts and metadata, as fields of `kled show`."""
    fields: dict[str, str | None] = {}
    if agent.get("state"):
        fields["state"] = describe_state(agent, found)
    for script in agent.get("scripts") or ():
        fields[f"script {script['name']} ({script['stage']})"] = describe_run(script)
    for item in agent.get("metadata") or ():
        fields[item["display_name"]] = _value(item)
    return fields


def describe_run(run: dict[str, Any]) -> str:
    """The state of a run of a script, the reason, and how long it took."""
    why = run["note"] or (f"exit code {run['exit_code']}" if run["exit_code"] else "")
    state = str(run["state"]).replace("_", " ") + (f": {why}" if why else "")
    return state + (f", {run['duration_s']:.1f} s" if run["duration_s"] else "")


def _value(item: dict[str, Any]) -> str | None:
    if item["at"] is None:
        return "not known yet"
    value = one_line(item["value"], _VALUE_MAX)
    told = f"{value} ({item['error']})" if item["error"] else value
    return f"{told}, {ago(item['at'])}"
