"""`kled template init|validate|push|pull`: between a directory here and a version there."""

from __future__ import annotations

import base64
import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import click

from kled_client.api.template_tar import pack_template
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.limit import LimitType
from kled_client.cli.names import Items, VersionType, complete_template, items
from kled_client.cli.option_group import option_group
from kled_client.cli.parameters import parse_parameters
from kled_client.output import Output, one_line
from kled_wire.counting import counted
from kled_wire.errors import ConflictError, InputError, NotFoundError
from kled_wire.names import check_name, check_version_name

# The templates that ship with Kled, as a start for people.
SHIPPED: Final = Path(__file__).parents[1] / "templates"
# How many files that were left out, or findings of a check, are named.
_NAMED_MAX: Final = 10
_CHANGES_MAX: Final = 50

check_deadline_option = click.option(
    "--check-deadline-s",
    type=LimitType(1, 3600),
    metavar="N",
    help="Seconds that a check may take; default: the coordinator's setting.",
)
build_quiet_option = click.option(
    "--build-quiet-s",
    type=LimitType(),
    metavar="N",
    help="Seconds that a build may show no progress, 0 for no limit.",
)
_directory = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
_name = click.option(
    "--name",
    help="Template name; default: the directory's name.",
    shell_complete=complete_template,
)
_value_options = option_group(
    click.option(
        "--var",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        help="Fix a Terraform variable for this version; NAME=@FILE reads a file.",
    ),
    click.option(
        "--var-file",
        "variable_files",
        type=click.Path(path_type=Path, dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="Fix the variables of a .tfvars or .tfvars.json file; --var overrides it.",
    ),
    click.option(
        "--param",
        "-p",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Template parameter for the plan of the check.",
    ),
)


def _shipped() -> dict[str, str]:
    """The templates that ship, each with the heading of its README."""
    return {
        path.name: (path / "README.md").read_text("utf-8").split("\n", 1)[0].lstrip("# ")
        for path in sorted(SHIPPED.iterdir())
    }


def _complete_shipped(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    return items(list(_shipped()), incomplete)


@click.command()
@click.argument("name", shell_complete=_complete_shipped, required=False)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@pass_invocation
def init(invocation: Invocation, name: str | None, directory: Path | None) -> None:
    """Copy the shipped template NAME to DIRECTORY, ./NAME by default; without NAME, list them."""
    known = _shipped()
    if name is None:
        columns = {"TEMPLATE": list(known), "DESCRIPTION": list(known.values())}
        invocation.output.rows(
            [{"template": n, "description": d} for n, d in known.items()], columns, ""
        )
        return
    if name not in known:
        raise NotFoundError(
            "template_unknown",
            f"no template {name!r} ships with Kled",
            hint=f"there is {', '.join(known)}",
        )
    target = directory or Path(name)
    try:
        if _is_full(target):
            raise ConflictError(
                "directory_not_empty", f"{target} is not empty; nothing was changed"
            )
        shutil.copytree(SHIPPED / name, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    except OSError as exc:  # shutil's Error is one, without a strerror
        raise _unwritable(target, exc) from exc
    found = {"template": name, "directory": str(target)}
    invocation.output.record(found, found)
    invocation.output.note(f"next: kled template push {target}")


@click.command()
@_directory
@_name
@_value_options
@pass_invocation
def validate(invocation: Invocation, /, directory: Path, name: str | None, **options: Any) -> None:
    """Check DIRECTORY as push does, without storing a version."""
    chosen = check_name("template", name or directory.resolve().name)
    body, left_out = _body(directory, options)
    found = invocation.call(lambda api: api.check_template(chosen, body))
    output = invocation.output
    _tell_left_out(output, left_out)
    if output.as_json:
        output.json(found)
        return
    _tell_check(output, found)
    output.note(f"{directory} is valid")


@click.command()
@_directory
@_name
@click.option("--message", "-m", help="Description of the change.")
@click.option("--version-name", metavar="NAME", help="Name of the version, such as v1.2.")
@click.option("--no-activate", is_flag=True, help="Do not change the active version.")
@_value_options
@check_deadline_option
@build_quiet_option
@pass_invocation
def push(
    invocation: Invocation,
    /,
    directory: Path,
    name: str | None,
    message: str | None,
    version_name: str | None,
    no_activate: bool,
    **options: Any,
) -> None:
    """Upload DIRECTORY as a new version of its template.

    Terraform validates it first and plans a first start. If it is invalid, nothing is changed.
    State files, .terraform and hidden files are not uploaded.
    """
    chosen = check_name("template", name or directory.resolve().name)
    if version_name is not None:
        check_version_name(version_name)
    body, left_out = _body(directory, options)
    said = {"name": version_name, "message": message, "activate": False if no_activate else None}
    deadlines = {key: options[key] for key in ("check_deadline_s", "build_quiet_s")}
    body |= {key: value for key, value in {**said, **deadlines}.items() if value is not None}
    version = invocation.call(lambda api: api.push_template(chosen, body))
    output = invocation.output
    _tell_left_out(output, left_out)
    if output.as_json:
        output.json(version)
        return
    _tell_check(output, version)
    number = version["number"]
    if no_activate and number != 1:
        output.note(f"{chosen} version {number} is pushed and not active")
        output.note(f"next: kled template promote {chosen} {number}")
        return
    output.note(f"{chosen} version {number} is active")
    output.note(f"next: kled create NAME --template {chosen}")


@click.command()
@click.argument("name", shell_complete=complete_template)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option(
    "--version",
    "version",
    type=VersionType(),
    metavar="VERSION",
    help="Template version, by number or name; default: the active one.",
)
@pass_invocation
def pull(
    invocation: Invocation, name: str, directory: Path | None, version: int | str | None
) -> None:
    """Write the files of a version to DIRECTORY, ./NAME by default."""
    check_name("template", name)
    target = directory or Path(name)
    if _is_full(target):
        raise ConflictError("directory_not_empty", f"{target} is not empty; nothing was changed")

    async def work(api: Any) -> tuple[int | str, bytes]:
        wanted = version or (await api.template(name))["active_version"]
        return wanted, await api.pull_template(name, wanted)

    wanted, tar = invocation.call(work)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                _extract(archive, member, target)
    except (OSError, tarfile.TarError) as exc:
        raise _unwritable(target, exc) from exc
    found = {"template": name, "version": wanted, "directory": str(target)}
    invocation.output.record(found, {key: str(value) for key, value in found.items()})


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Write one file of a template, within `target`, whatever the coordinator sent."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise tarfile.TarError(f"{member.name[:80]!r} is no file of a template")
    path = target / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    content = archive.extractfile(member)
    assert content is not None  # it is a file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read())
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _is_full(target: Path) -> bool:
    return target.exists() and any(target.iterdir())


def _unwritable(target: Path, exc: Exception) -> InputError:
    why = getattr(exc, "strerror", None) or exc
    return InputError("directory_unwritable", f"{target} cannot be written: {why}")


def _body(directory: Path, options: dict[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """What is sent of a directory and the values for it, and what of it stays here."""
    packed = pack_template(directory)
    body = {
        "archive": base64.b64encode(packed.archive).decode("ascii"),
        "variables": _values(options["variables"], "--var"),
        "variable_files": [_load(file) for file in options["variable_files"]],
        "parameters": _values(options["parameters"], "-p"),
    }
    return {key: value for key, value in body.items() if value}, packed.left_out


def _values(words: Sequence[str], option: str) -> dict[str, str]:
    given = parse_parameters(words)
    for name, value in given.items():
        if value is None:
            raise InputError(
                "parameter_malformed",
                f"{option} {name!r} has no value",
                hint=f"{option} NAME=VALUE",
            )
    return {name: value for name, value in given.items() if value is not None}


def _load(file: Path) -> dict[str, str]:
    try:
        return {"name": file.name, "content": file.read_text("utf-8")}
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise InputError("parameter_unreadable", f"cannot read {file}: {why}") from exc


def _tell_left_out(output: Output, paths: Sequence[str]) -> None:
    if paths:
        shown = [one_line(path) for path in paths[:_NAMED_MAX]]
        more = len(paths) - len(shown)
        output.note(f"left out: {', '.join(shown)}" + (f" and {more} more" if more else ""))


def _tell_check(output: Output, found: Any) -> None:
    """Say what a first start would do, and what Terraform warns of."""
    for warning in found.get("warnings") or ():
        output.note(f"warning: {one_line(warning)}")
    changes = found.get("changes")
    if changes is None:
        output.note("not planned: something needs a value; -p NAME=VALUE gives it for the plan")
        return
    for change in changes[:_CHANGES_MAX]:
        output.note(f"  {one_line(change['action'])} {one_line(change['address'])}")
    more = len(changes) - _CHANGES_MAX
    if more > 0:
        output.note(f"  and {more} more")
    output.note(f"a start makes {counted(len(changes), 'change')}")
