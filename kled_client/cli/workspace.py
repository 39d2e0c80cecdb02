"""`kled list` and `kled show`, and `kled workspace …` with all that is done with one."""

from __future__ import annotations

import json
from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import Agent, Workspace
from kled_client.cli.agent_token import agent_token
from kled_client.cli.builds import builds
from kled_client.cli.cancel import cancel
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.lifecycle import create, delete, restart, retry, start, stop
from kled_client.cli.logs import logs
from kled_client.cli.names import (
    complete_search,
    complete_sort,
    complete_user,
    workspace_argument,
)
from kled_client.cli.notes import describe_notes
from kled_client.cli.plan import drift, rename
from kled_client.cli.readiness import agent_status, describe_scripts
from kled_client.cli.update import update
from kled_client.output import Output, ago
from kled_wire.names import WorkspaceRef


@click.command("list")
@click.argument("search", nargs=-1, shell_complete=complete_search)
@click.option(
    "--owner",
    metavar="NAME",
    help="List another user's workspaces.",
    shell_complete=complete_user,
)
@click.option("--all", "everybody", is_flag=True, help="List all workspaces that you may see.")
@click.option(
    "--sort",
    metavar="COLUMN",
    help="Sort by name, owner, template, status, created or used; -used: the other way round.",
    shell_complete=complete_sort,
)
@pass_invocation
def list_(
    invocation: Invocation,
    search: tuple[str, ...],
    owner: str | None,
    everybody: bool,
    sort: str | None,
) -> None:
    """List your workspaces, or those that SEARCH finds.

    SEARCH has terms that must all match: part of the name of the workspace, its owner or its
    template, or owner:NAME (owner:me), name:NAME, template:NAME, status:STATUS, outdated:true.
    Commas separate alternatives.
    """
    whose = "*" if everybody else owner
    words = " ".join(search)
    found = invocation.call(lambda api: api.workspaces(whose, search=words, sort=sort))
    columns = {"NAME": [w["name"] for w in found]}
    if whose is not None or "owner:" in words:
        columns["OWNER"] = [w["owner"] for w in found]
    columns |= {
        "TEMPLATE": [str(w["template"]) for w in found],
        "STATUS": [w["status"] for w in found],
        "AGENT": [agent_status(w) for w in found],
        "LAST USED": [ago(w.get("last_used_at")) for w in found],
    }
    empty = "no workspaces; kled create NAME --template TEMPLATE makes one"
    if words:
        empty = f"no workspace fits {words}; kled list{'' if whose is None else ' --all'} shows all"
    invocation.output.rows(found, columns, empty, spare=("LAST USED", "TEMPLATE"))


@click.command()
@workspace_argument
@pass_invocation
def show(invocation: Invocation, workspace: WorkspaceRef) -> None:
    """Show one workspace: its parameters, resources, agents, apps, cost and latest build."""

    async def find(api: Api) -> Workspace:
        found = await api.workspace(str(workspace))
        return {**found, "resources": await api.resources(found["id"])}

    _show(invocation.output, invocation.call(find))


@click.group()
def workspace() -> None:
    """Manage workspaces."""


for _command in (
    *(create, list_, show, start, restart, update, stop, delete),
    *(builds, drift, rename, logs, retry, cancel, agent_token),
):
    workspace.add_command(_command)


def _show(output: Output, found: Workspace) -> None:
    agent, build = found.get("agent"), found.get("latest_build")
    fields: dict[str, str | None] = {
        "name": found["name"],
        "owner": found["owner"],
        "id": found["id"],
        "status": found["status"],
        "template": f"{found['template']} (version {_version(found)})",
        "sandbox": found.get("sandbox"),
        "created": ago(found.get("created_at")),
        "last used": ago(found.get("last_used_at")),
    }
    for key, value in (found.get("parameters") or {}).items():
        # A sensitive one is null. Spaces between words count, the ends of lines have no place here.
        fields[f"parameter {key}"] = "***" if value is None else " ".join(value.splitlines())
    for key, given in (found.get("outputs") or {}).items():
        if (shown := _output(given)) is not None:
            fields[f"output {key}"] = shown
    fields |= describe_notes(found)
    if made := found.get("resources"):
        fields["resources"] = ", ".join(resource["address"] for resource in made)
    if agent:
        fields |= _describe_agent(agent, found)
    others = [a for a in found.get("agents") or () if not agent or a["id"] != agent["id"]]
    if others:
        title = "other agents" if agent else "agents, none main"
        fields[title] = ", ".join(f"{a['name']} {a['status']}" for a in others)
    if build:
        error = f": {build['error']}" if build.get("error") else ""
        fields["latest build"] = f"{build['transition']} {build['status']}{error}"
        if queue := build.get("queue"):
            fields["queue"] = f"position {queue['position']}: {queue['reason']}"
    output.record(found, fields)


def _describe_agent(agent: Agent, found: Workspace) -> dict[str, str | None]:
    rtt = agent.get("rtt_ms")
    fields: dict[str, str | None] = {}
    fields["agent"] = agent["status"] + (f", {rtt:.1f} ms" if rtt is not None else "")
    fields |= describe_scripts(agent, found)
    for app in agent.get("apps") or ():
        if not app["hidden"]:
            opened = app["url"] or app["command"] or ""
            fields[f"app {app['slug']}"] = f"{app['display_name']} {opened}".rstrip()
    fields["machine"] = " ".join(
        str(agent.get(key) or "") for key in ("hostname", "os", "arch", "address")
    ).strip()
    return fields


def _version(found: Workspace) -> str:
    name = found.get("template_version_name")
    return f"{found.get('template_version')}" + (f", {name}" if name else "")


def _output(output: dict[str, Any]) -> str | None:
    """An output as a person reads it; None where the template gives nothing out at the moment."""
    if output["sensitive"]:
        return "(sensitive)"
    if output.get("too_long"):
        return "(too long to show)"
    value = output["value"]
    if isinstance(value, str):
        first, *others = value.splitlines() or [""]
        return f"{first} … ({1 + len(others)} lines; -o json has all)" if others else value
    return None if value is None else json.dumps(value)
