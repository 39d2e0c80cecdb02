"""`kled template …`: what is there, and what becomes of it; making one is template_push.py's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from kled_client.api.client import Api
from kled_client.api.models import Template, Variable, Version
from kled_client.cli.confirming import confirm_deletion
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.limit import LimitType
from kled_client.cli.names import VersionType, complete_template
from kled_client.cli.template_push import (
    build_quiet_option,
    check_deadline_option,
    init,
    pull,
    push,
    validate,
)
from kled_client.output import ago, one_line
from kled_wire.errors import InputError
from kled_wire.names import check_name


@click.group()
def template() -> None:
    """Manage templates, the Terraform configurations of workspaces."""


@template.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the templates."""
    found = invocation.call(Api.templates)
    columns = {
        "NAME": [t["name"] for t in found],
        "VERSION": [_number(t.get("active_version")) for t in found],
        "UPDATED": [ago(t.get("updated_at")) for t in found],
        "DESCRIPTION": [t.get("description") or "" for t in found],
    }
    empty = "no templates; kled template push DIR makes one"
    invocation.output.rows(found, columns, empty, spare=("UPDATED",))


@template.command()
@click.argument("name", shell_complete=complete_template)
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show a template and its versions."""
    check_name("template", name)
    found = invocation.call(lambda api: api.template(name))
    if invocation.output.as_json:
        invocation.output.json(found)
        return
    invocation.output.record(
        found,
        {
            "name": found["name"],
            **_texts(found),
            "active version": _number(found.get("active_version")),
            **_rules(found),
            "created": ago(found.get("created_at")),
        },
    )
    listed = found.get("versions") or []
    invocation.output.line("")
    invocation.output.rows(
        listed, _version_columns(found, listed), "no versions", spare=("BY", "CREATED")
    )
    number = found.get("active_version")
    active = next((v for v in listed if v["number"] == number), None)
    if active is None:
        return
    asked = [*(active.get("parameters") or []), *(active.get("variables") or [])]
    if asked:
        invocation.output.line("")
        invocation.output.rows(asked, _parameter_columns(active), "", spare=("TYPE",))
    if presets := active.get("presets"):
        invocation.output.line("")
        invocation.output.rows(presets, _preset_columns(presets), "")
    readme = invocation.call(lambda api: api.template_version(name, active["number"]))
    if text := readme.get("readme"):
        invocation.output.line("")
        invocation.output.markdown(text)


@template.command()
@click.argument("name", shell_complete=complete_template)
@pass_invocation
def versions(invocation: Invocation, name: str) -> None:
    """List the versions of a template, the newest first."""
    check_name("template", name)
    found = invocation.call(lambda api: api.template(name))
    listed = found.get("versions") or []
    invocation.output.rows(
        listed, _version_columns(found, listed), "no versions", spare=("BY", "CREATED")
    )


@template.command()
@click.argument("name", shell_complete=complete_template)
@click.argument("version", type=VersionType(), metavar="VERSION")
@pass_invocation
def promote(invocation: Invocation, name: str, version: int | str) -> None:
    """Make VERSION, a number or a name, the active version, which new workspaces use."""
    _activate(invocation, name, version)


@template.command()
@click.argument("name", shell_complete=complete_template)
@pass_invocation
def rollback(invocation: Invocation, name: str) -> None:
    """Make the version before the active one active, skipping archived ones."""
    _activate(invocation, name, "previous")


@template.command()
@click.argument("name", shell_complete=complete_template)
@click.argument("wanted", type=VersionType(), metavar="VERSION...", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Restore the versions.")
@pass_invocation
def archive(invocation: Invocation, name: str, wanted: tuple[int | str, ...], undo: bool) -> None:
    """Archive versions: no new workspace uses them; workspaces that have them keep them."""
    check_name("template", name)

    async def work(api: Api) -> list[Version]:
        return [await api.archive_version(name, n, archived=not undo) for n in wanted]

    found = invocation.call(work)
    done = "brought back" if undo else "archived"
    notes = [f"{name} version {version['number']} is {done}" for version in found]
    invocation.output.outcome(found, *notes)


@template.command()
@click.argument("name", shell_complete=complete_template)
@click.option("--display-name", metavar="TEXT", help="Name to display.")
@click.option("--description", metavar="TEXT", help="Description in one line.")
@click.option("--icon", metavar="URL", help="Path or URL of an icon.")
@check_deadline_option
@build_quiet_option
@click.option(
    "--stop-after-s",
    type=LimitType(60, word="never"),
    metavar="N",
    help="Stop workspaces that nobody has used for N seconds, or `never`.",
)
@click.option(
    "--usable-by",
    type=click.Choice(["everybody", "template-admins"]),
    help="Who may make new workspaces of it.",
)
@pass_invocation
def edit(invocation: Invocation, /, name: str, **options: str | int | None) -> None:
    """Change a template's texts, deadlines and rules.

    `default` restores the coordinator's setting.
    """
    check_name("template", name)
    given = {key: value for key, value in options.items() if value is not None}
    if not given:
        raise InputError("usage", "nothing to change", hint="kled template edit --help")
    found = invocation.call(lambda api: api.update_template(name, given))
    fields = {"name": found["name"], **_texts(found), **_rules(found)}
    invocation.output.record(found, fields)


@template.command()
@click.argument("name", shell_complete=complete_template)
@click.option("--yes", "-y", is_flag=True, help="Delete without asking.")
@pass_invocation
def delete(invocation: Invocation, name: str, yes: bool) -> None:
    """Delete a template that no workspace uses."""
    check_name("template", name)
    confirm_deletion(name, f"Delete the template {name}?", yes=yes)
    invocation.call(lambda api: api.delete_template(name))
    invocation.output.note(f"{name} is deleted")


def _activate(invocation: Invocation, name: str, version: int | str) -> None:
    check_name("template", name)
    found = invocation.call(lambda api: api.update_template(name, {"active_version": version}))
    active = _number(found["active_version"])
    invocation.output.outcome(found, f"{name} version {active} is active")


def _version_columns(found: Template, versions: Sequence[Version]) -> dict[str, list[str]]:
    active = found.get("active_version")
    names = [v.get("name") or "" for v in versions]
    return {
        "VERSION": [str(v["number"]) for v in versions],
        **({"NAME": names} if any(names) else {}),
        "STATE": [
            "active" if v["number"] == active else "archived" if v.get("archived_at") else ""
            for v in versions
        ],
        "CREATED": [ago(v.get("created_at")) for v in versions],
        "BY": [str(v.get("created_by") or "-") for v in versions],
        "MESSAGE": [v.get("message") or "" for v in versions],
    }


def _parameter_columns(version: Version) -> dict[str, list[str]]:
    """Parameters in the order in which they are asked for, then variables."""
    asked, variables = version.get("parameters") or [], version.get("variables") or []
    defaults = ["(needed)" if p["default"] is None else one_line(p["default"]) for p in asked]
    return {
        "PARAMETER": [p["name"] for p in asked] + [v["name"] for v in variables],
        "TYPE": [p["type"] for p in asked] + [one_line(v["type"]) or "any" for v in variables],
        "DEFAULT": defaults + [_default(v) for v in variables],
        "DESCRIPTION": [one_line(p["description"]) for p in asked]
        + [one_line(v["description"]) for v in variables],
    }


def _preset_columns(presets: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    return {
        "PRESET": [preset["name"] for preset in presets],
        "VALUES": [
            one_line(", ".join(f"{name}={value}" for name, value in preset["parameters"].items()))
            for preset in presets
        ],
        "DESCRIPTION": [one_line(preset["description"]) for preset in presets],
    }


def _texts(found: Template) -> dict[str, str | None]:
    return {
        "display name": found.get("display_name") or None,
        "description": found.get("description") or None,
        "icon": found.get("icon") or None,
    }


def _rules(found: Template) -> dict[str, str | None]:
    """What is this template's own."""
    check, quiet = found.get("check_deadline_s"), found.get("build_quiet_s")
    stop, usable = found.get("stop_after_s"), found.get("usable_by")
    return {
        "stops after": None if stop is None else f"{stop} s without use",
        "usable by": None if usable == "everybody" else usable,
        "check deadline": None if check is None else f"{check} s",
        "build quiet": None if quiet is None else f"{quiet} s" if quiet else "any time",
    }


def _default(variable: Variable) -> str:
    if variable.get("is_fixed"):
        return "(fixed)"
    if variable["required"]:
        return "(needed)"
    return "***" if variable["sensitive"] else one_line(variable["default"] or '""')


def _number(version: object) -> str:
    """The API gives a version's number, or the version itself."""
    if isinstance(version, dict):
        return str(version.get("number", "-"))
    return "-" if version is None else str(version)


for _command in (init, validate, push, pull):
    template.add_command(_command)
