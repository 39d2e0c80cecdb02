"""`--plan` of what builds a workspace, `kled drift` and `rename`: changes Terraform finds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from kled_client.api.models import PlannedAttribute, PlannedChange
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.output import Output
from kled_wire.names import WorkspaceRef, check_new_workspace_name

# The exit code of a command that has found a difference.
DIFFERS: Final = 8
_MARKS: Final = {"create": "+", "update": "~", "delete": "-", "replace": "-/+", "forget": "."}
_WILL: Final = {
    "create": "would be created",
    "update": "would be updated in place",
    "delete": "would be destroyed",
    "replace": "would be destroyed and created again",
    "forget": "would be left alone from now on",
}
_HAS: Final = {
    "create": "has come",
    "update": "has changed",
    "delete": "is gone",
    "replace": "is another one",
}

plan_option = click.option(
    "--plan", is_flag=True, help="Show what would change, and build nothing."
)


@click.command()
@workspace_argument
@pass_invocation
def drift(invocation: Invocation, workspace: WorkspaceRef) -> int:
    """Show the resources that differ from a workspace's state; if any do, the exit code is 8.

    Terraform reads each resource and changes nothing. The next start restores what the template
    declares.
    """
    with invocation.output.progress(f"looking at {workspace}"):
        found = invocation.call(lambda api: api.drift(str(workspace)))
    _show(invocation.output, found, _HAS)
    if not invocation.output.as_json:
        few = "1 resource differs" if len(found) == 1 else f"{len(found)} resources differ"
        told = f"{few} from the state" if found else "everything is as the state says"
        invocation.output.note(f"{workspace}: {told}")
    return DIFFERS if found else 0


@click.command()
@workspace_argument
@click.argument("name")
@pass_invocation
def rename(invocation: Invocation, workspace: WorkspaceRef, name: str) -> None:
    """Give a stopped workspace the name NAME.

    Terraform plans under the new name first. If the plan would destroy or replace a resource, such
    as a volume that has the workspace's name, nothing is renamed.
    """
    check_new_workspace_name(name)
    with invocation.output.progress(f"planning as {name}"):
        found = invocation.call(lambda api: api.rename_workspace(str(workspace), name))
    if invocation.output.as_json:
        invocation.output.json(found)
        return
    _show(invocation.output, found["changes"], _WILL)
    later = "; the next build makes these changes" if found["changes"] else ""
    invocation.output.note(f"{workspace} is {found['name']} now{later}")


def show_plan(invocation: Invocation, ref: WorkspaceRef, body: Mapping[str, Any]) -> None:
    """Ask for a plan of the build that `body` is of, and show it."""
    with invocation.output.progress(f"planning for {ref}"):
        found = invocation.call(lambda api: api.plan(str(ref), body))
    show_changes(invocation.output, found)


def show_changes(output: Output, found: Sequence[PlannedChange]) -> None:
    """What a build would change."""
    _show(output, found, _WILL)
    if not output.as_json:
        counts = {action: sum(c["action"] == action for c in found) for action in _WILL}
        told = ", ".join(f"{count} to {action}" for action, count in counts.items() if count)
        output.note(f"{told or 'nothing to change'}; nothing was built")


def _show(output: Output, found: Sequence[PlannedChange], words: Mapping[str, str]) -> None:
    if output.as_json:
        output.json(found)
        return
    for change in found:
        action = change["action"]
        output.line(f"{_MARKS.get(action, '?'):>3} {change['address']} {words.get(action, action)}")
        for attribute in change["attributes"]:
            output.line(f"      {_attribute(attribute)}")


def _attribute(attribute: PlannedAttribute) -> str:
    name = attribute["name"]
    why = " (makes it anew)" if attribute["replaces"] else ""
    if attribute["hidden"]:
        return f"{name}: ({attribute['hidden']}){why}"
    after = "(known afterwards)" if attribute["unknown"] else _value(attribute["after"])
    return f"{name}: {_value(attribute['before'])} → {after}{why}"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
