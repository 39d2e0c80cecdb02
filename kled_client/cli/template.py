"""`kled template list|show|init|push|delete`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from kled_client.api.client import Api
from kled_client.api.models import Template, Variable
from kled_client.api.template_tar import pack_template
from kled_client.cli.confirming import confirm_deletion
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.limit import LimitType
from kled_client.cli.names import Items, complete_template, items
from kled_client.output import ago
from kled_wire.errors import ConflictError, InputError, NotFoundError
from kled_wire.names import check_name

# Those that ship with Kled, for people to start from.
SHIPPED = Path(__file__).parents[1] / "templates"


# What is left out of a template and named.
_NAMED_MAX: Final = 10


def _shipped() -> list[str]:
    return sorted(path.name for path in SHIPPED.iterdir())


def _complete_shipped(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    return items(_shipped(), incomplete)


_check_deadline = click.option(
    "--check-deadline-s",
    type=LimitType(1, 3600),
    metavar="N",
    help="Seconds that a check may take; default: the coordinator's setting.",
)
_build_quiet = click.option(
    "--build-quiet-s",
    type=LimitType(),
    metavar="N",
    help="Seconds that a build may show no progress, 0 for no limit.",
)


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
            "description": found.get("description"),
            "active version": _number(found.get("active_version")),
            **_deadlines(found),
            "created": ago(found.get("created_at")),
        },
    )
    versions = found.get("versions") or []
    columns = {
        "VERSION": [str(v["number"]) for v in versions],
        "CREATED": [ago(v.get("created_at")) for v in versions],
        "BY": [str(v.get("created_by") or "-") for v in versions],
        "MESSAGE": [v.get("message") or "" for v in versions],
    }
    invocation.output.line("")
    invocation.output.rows(versions, columns, "no versions", spare=("BY", "CREATED"))
    active = _number(found.get("active_version"))
    variables = next((v.get("variables") or [] for v in versions if str(v["number"]) == active), [])
    if variables:
        invocation.output.line("")
        invocation.output.rows(variables, _variable_columns(variables), "", spare=("TYPE",))


@template.command()
@click.argument("name", shell_complete=_complete_shipped)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@pass_invocation
def init(invocation: Invocation, name: str, directory: Path | None) -> None:
    """Copy the shipped template NAME into DIRECTORY (default: ./NAME).

    Shipped is `process`: a workspace is a process on the coordinator's machine.
    """
    known = _shipped()
    if name not in known:
        raise NotFoundError(
            "template_unknown",
            f"no template {name!r} ships with Kled",
            hint=f"there is {', '.join(known)}",
        )
    target = directory or Path(name)
    try:
        if target.exists() and any(target.iterdir()):
            raise ConflictError(
                "directory_not_empty", f"{target} is not empty; nothing was changed"
            )
        shutil.copytree(SHIPPED / name, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    except OSError as exc:  # shutil's Error is one, without a strerror
        why = exc.strerror or exc
        raise InputError("directory_unwritable", f"{target} cannot be written: {why}") from exc
    invocation.output.record(
        {"template": name, "directory": str(target)}, {"template": name, "directory": str(target)}
    )
    invocation.output.note(f"next: kled template push {target}")


@template.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--name",
    help="Template name; default: the directory's name.",
    shell_complete=complete_template,
)
@click.option("--message", "-m", help="Description of the change.")
@_check_deadline
@_build_quiet
@pass_invocation
def push(
    invocation: Invocation, /, directory: Path, name: str | None, **options: str | int | None
) -> None:
    """Upload DIRECTORY as a new version of its template.

    The coordinator checks it with Terraform; a template with an error changes nothing. State
    files, .terraform and hidden files are not uploaded.
    """
    chosen = check_name("template", name or directory.resolve().name)
    packed = pack_template(directory)
    given = {key: value for key, value in options.items() if value is not None}
    version = invocation.call(lambda api: api.push_template(chosen, packed.archive, given))
    if packed.left_out:
        invocation.output.note(f"left out: {_some(packed.left_out)}")
    if invocation.output.as_json:
        invocation.output.json(version)
        return
    invocation.output.note(f"{chosen} version {version['number']} is active")
    invocation.output.note(f"next: kled create NAME --template {chosen}")


@template.command()
@click.argument("name", shell_complete=complete_template)
@_check_deadline
@_build_quiet
@pass_invocation
def update(invocation: Invocation, /, name: str, **options: str | int | None) -> None:
    """Change a template's deadlines; `default` restores the coordinator's setting."""
    check_name("template", name)
    given = {key: value for key, value in options.items() if value is not None}
    if not given:
        raise InputError("usage", "nothing to change", hint="kled template update --help")
    found = invocation.call(lambda api: api.update_template(name, given))
    invocation.output.record(found, {"name": found["name"], **_deadlines(found)})


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


def _variable_columns(variables: list[Variable]) -> dict[str, list[str]]:
    return {
        "PARAMETER": [v["name"] for v in variables],
        "TYPE": [_one_line(v["type"]) or "any" for v in variables],
        "DEFAULT": [_default(v) for v in variables],
        "DESCRIPTION": [_one_line(v["description"]) for v in variables],
    }


def _deadlines(found: Template) -> dict[str, str | None]:
    """Those that are this template's own."""
    check, quiet = found.get("check_deadline_s"), found.get("build_quiet_s")
    return {
        "check deadline": None if check is None else f"{check} s",
        "build quiet": None if quiet is None else f"{quiet} s" if quiet else "any time",
    }


def _default(variable: Variable) -> str:
    if variable["required"]:
        return "(needed)"
    return "***" if variable["sensitive"] else _one_line(variable["default"] or '""')


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))


def _some(paths: Sequence[str]) -> str:
    shown = [_one_line(path) for path in paths[:_NAMED_MAX]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _number(version: object) -> str:
    """The API gives a version's number, or the version itself."""
    if isinstance(version, dict):
        return str(version.get("number", "-"))
    return "-" if version is None else str(version)
