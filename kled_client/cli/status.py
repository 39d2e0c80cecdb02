"""`kled status`: the coordinator, the user, and the state of workspaces and paths."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from kled_client.api.models import Workspace
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import optional_workspace_argument
from kled_client.cli.ping import path_object
from kled_client.report import only_cause
from kled_client.terminal.interrupt import run
from kled_wire.errors import KledError
from kled_wire.names import WorkspaceRef
from kled_wire.resume.direct.paths import PathReport


@click.command()
@optional_workspace_argument
@pass_invocation
def status(invocation: Invocation, workspace: WorkspaceRef | None) -> int:
    """Show the coordinator, your user and your workspaces.

    With WORKSPACE, show that workspace, its agent and the path of its connections: direct with the
    agent's address, or the coordinator's relay with the reason.
    """
    if workspace is None:
        return run(partial(_overview, invocation))
    return run(partial(_one, invocation, workspace))


async def _overview(invocation: Invocation) -> None:
    async with invocation.api() as api:
        version, user, found = await api.version(), await api.whoami(), await api.workspaces()
    url = invocation.profile().url
    if invocation.output.as_json:
        coordinator = {"url": url, **version}
        invocation.output.json({"coordinator": coordinator, "user": user, "workspaces": found})
        return
    invocation.output.record(None, _site(url, version, user["name"]))
    columns = {
        "WORKSPACE": [w["name"] for w in found],
        "STATUS": [w["status"] for w in found],
        "AGENT": [_agent(w) for w in found],
    }
    invocation.output.rows(found, columns, "no workspaces; kled create NAME makes one")


async def _one(invocation: Invocation, ref: WorkspaceRef) -> None:
    async with invocation.api() as api:
        version, user = await api.version(), await api.whoami()
        found = await api.workspace(str(ref))
    path = await _find_path(invocation, ref, found)
    url = invocation.profile().url
    raw: dict[str, Any] = {
        "coordinator": {"url": url, **version},
        "user": user,
        "workspace": found,
        "path": path_object(path),
    }
    fields = _site(url, version, user["name"]) | {
        "workspace": f"{found['name']} of {found['owner']}",
        "status": found["status"],
        "agent": _agent(found),
        "path": str(path),
    }
    invocation.output.record(raw, fields)


def _site(url: str, version: dict[str, str], user: str) -> dict[str, str | None]:
    return {"coordinator": f"{url} (version {version['version']})", "user": user}


def _agent(found: Workspace) -> str:
    agent = found.get("agent")
    if not agent:
        several = [other["name"] for other in found.get("agents") or ()]
        return f"which one? none of {', '.join(several)} is named main" if several else "-"
    rtt_ms, version = agent.get("rtt_ms"), agent.get("version")
    parts = [agent["status"]]
    if agent["status"] == "connected":
        parts += [f"version {version}"] if version else []
        parts += [f"{rtt_ms:.1f} ms from the coordinator"] if rtt_ms is not None else []
    return ", ".join(parts)


async def _find_path(invocation: Invocation, ref: WorkspaceRef, found: Workspace) -> PathReport:
    """Open a connection and see which path it takes."""
    from kled_client.ssh.opening import make_seeker

    agent = found.get("agent")
    if not agent or agent["status"] != "connected":
        return PathReport("none", reason="the agent is not connected")
    seeker = make_seeker(invocation.env, invocation.profile())
    try:
        async with invocation.ssh(ref, direct=seeker):
            await seeker.wait_settled()
            return seeker.report()
    except (KledError, ExceptionGroup) as exc:
        cause = only_cause(exc)
        if not isinstance(cause, KledError):
            raise
        return PathReport("none", reason=cause.message)
