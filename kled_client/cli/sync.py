"""`kled sync`: folders that are the same here and in a workspace."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import complete_place
from kled_client.cli.option_group import option_group
from kled_client.cli.sync_copy import ATTRIBUTE_OPTIONS, pull, push
from kled_client.cli.times import local, moment
from kled_client.output import file_size
from kled_wire.counting import counted
from kled_wire.errors import InputError, NotFoundError, ProtocolError

if TYPE_CHECKING:
    from kled_client.sync.reach import Connect

_MODES: Final = ("two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica")
_SHOWN: Final = 20


@click.group()
def sync() -> None:
    """Copy a folder once, or keep a local folder and one in a workspace the same."""


def _complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from kled_client.sync.control import known_names

    invocation = ctx.find_object(Invocation)
    names = known_names(invocation.env if invocation is not None else os.environ)
    return [name for name in names if name.startswith(incomplete)]


def _complete_name_or_place(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[Any]:
    return [*_complete_name(ctx, param, incomplete), *complete_place(ctx, param, incomplete)]


_name = click.argument("name", shell_complete=_complete_name)
_name_or_place = click.argument("name", shell_complete=_complete_name_or_place)


def _ask(invocation: Invocation, do: str, **request: Any) -> dict[str, Any]:
    from kled_client.sync.control import ask

    return ask(invocation.env, do, **request)


@sync.command()
@click.argument("alpha", shell_complete=complete_place)
@click.argument("beta", shell_complete=complete_place)
@click.option("--name", metavar="NAME", help="Name of the sync; default: the local folder's name.")
@click.option("--mode", type=click.Choice(_MODES), default=_MODES[0], show_default=True)
@click.option(
    "--ignore", multiple=True, metavar="RULE", help="Exclude files by a rule of .gitignore."
)
@click.option(
    "--preset", multiple=True, metavar="NAME", help="Exclude files by the rules of preset NAME."
)
@click.option("--no-gitignore", is_flag=True, help="Do not follow .gitignore files.")
@click.option("--vcs", is_flag=True, help="Sync .git and other version control directories too.")
@click.option("--links", type=click.Choice(("portable", "as-is", "ignore")), default="portable")
@click.option(
    "--permissions",
    type=click.Choice(("portable", "all", "special")),
    default="portable",
    help="portable: the executable bit alone; special: setuid, setgid and sticky bits too.",
)
@option_group(*ATTRIBUTE_OPTIONS)
@click.option("--durable", type=click.Choice(("batch", "file", "none")), default="batch")
@pass_invocation
def start(invocation: Invocation, /, alpha: str, beta: str, **options: Any) -> int:
    """Keep the folders ALPHA and BETA the same, also after restarts.

    One is of this machine, the other WORKSPACE:path or ssh://USER@HOST/path. In the one-way modes
    BETA follows ALPHA; in two-way-resolved ALPHA wins where both changed. Each name of a hard link
    becomes a file of its own.
    """
    from kled_client.sync.control import known_names
    from kled_client.sync.place import parse_sync_place
    from kled_client.sync.rules import rules_of
    from kled_client.sync.sessions import (
        SyncSession,
        absolute,
        check_session,
        default_name,
    )

    here, there = parse_sync_place(alpha), parse_sync_place(beta)
    rules = rules_of(options["ignore"], options["preset"], vcs=options["vcs"])
    session = SyncSession(
        name=options["name"] or default_name(here, there, known_names(invocation.env)),
        alpha=absolute(here, alpha, str(Path.cwd())),
        beta=absolute(there, beta, str(Path.cwd())),
        mode=options["mode"],
        ignore=rules.decode("utf-8", "surrogateescape"),
        gitignore=not options["no_gitignore"],
        links=options["links"],
        permissions=options["permissions"],
        durable=options["durable"],
        owner=options["owner"],
        group=options["group"],
        numeric_ids=options["numeric_ids"],
        xattrs=options["xattrs"],
        profile=invocation.profile_name,
    )
    found = _ask(invocation, "start", session=asdict(check_session(session)))
    state = "kept the same" if found["state"] == "running" else found["state"]
    invocation.output.note(f"{session.name} is {state}; kled sync status {session.name}")
    _show(invocation, found)
    return 0


@sync.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the syncs."""
    rows = _ask(invocation, "list")["syncs"]
    columns = {
        "NAME": [row["name"] for row in rows],
        "STATE": [row["state"] for row in rows],
        "MODE": [row.get("mode", "-") for row in rows],
        "ALPHA": [row.get("alpha", "-") for row in rows],
        "BETA": [row.get("beta", "-") for row in rows],
        "CONFLICTS": [str(row.get("conflicts_total", "-")) for row in rows],
        "PROBLEMS": [str(row.get("problems_total", "-")) for row in rows],
    }
    invocation.output.rows(rows, columns, "nothing is kept the same", spare=("MODE",))


@sync.command()
@_name
@pass_invocation
def status(invocation: Invocation, name: str) -> None:
    """Show a sync: conflicts and problems first, then what it does."""
    _show(invocation, _ask(invocation, "status", name=name))


@sync.command()
@_name
@pass_invocation
def pause(invocation: Invocation, name: str) -> None:
    """Pause a sync until resume."""
    _show(invocation, _ask(invocation, "pause", name=name))


@sync.command()
@_name
@click.option("--accept", is_flag=True, help="Do what the sync halted for.")
@pass_invocation
def resume(invocation: Invocation, name: str, accept: bool) -> None:
    """Resume a sync after a pause or a halt."""
    _show(invocation, _ask(invocation, "resume", name=name, accept=accept))


@sync.command()
@_name
@pass_invocation
def flush(invocation: Invocation, name: str) -> None:
    """Wait until all files saved so far are on the other side."""
    from kled_client.cli.sync_flush import flush_sync

    found, error = flush_sync(invocation, name)
    if error is not None:
        raise error
    if invocation.output.as_json:
        invocation.output.json(found)


@sync.command()
@_name
@pass_invocation
def reset(invocation: Invocation, name: str) -> None:
    """Discard the record of a sync: differences become conflicts, and nothing is deleted."""
    _show(invocation, _ask(invocation, "reset", name=name))


@sync.command()
@_name
@pass_invocation
def stop(invocation: Invocation, name: str) -> None:
    """End a sync for good. Both folders stay as they are."""
    found = _ask(invocation, "stop", name=name)
    _say(invocation, found, f"{name} has ended; both folders are as they were")


@sync.command()
@_name
@pass_invocation
def monitor(invocation: Invocation, name: str) -> None:
    """Show each change as it is made, until Ctrl-C."""
    from kled_client.sync.control import stream
    from kled_client.sync.itemize import monitored

    output = invocation.output
    for line in stream(invocation.env, "monitor", name=name):
        if output.as_json:
            output.json_line(line)
        elif line["event"] == "state":
            reason = f": {line['reason']}" if line["reason"] else ""
            output.line(f"{name} is {line['state']}{reason}")
        else:
            output.line(monitored(line, local(line["at"], "%H:%M:%S")))
        output.flush()


@sync.command()
@_name
@click.argument("path")
@click.option("--alpha", is_flag=True, help="Alpha's version wins.")
@click.option("--beta", is_flag=True, help="Beta's version wins.")
@pass_invocation
def resolve(invocation: Invocation, name: str, path: str, alpha: bool, beta: bool) -> None:
    """Resolve the conflicts at and below PATH; the losing version is kept for undo."""
    if alpha is beta:
        raise InputError("usage", "which side wins?", hint="--alpha or --beta")
    side = "alpha" if alpha else "beta"
    found = _ask(invocation, "resolve", name=name, path=_below(path), side=side)
    _say(invocation, found, f"{found['changed']} changed, as {side} has it")


@sync.command()
@_name_or_place
@click.argument("path", default=".")
@click.option(
    "--at", "at", metavar="TIME", help="Time of the version: 14:32, 2h, 2026-11-28T14:32."
)
@click.option("--purge", is_flag=True, help="Delete the stored versions of PATH.")
@pass_invocation
def undo(invocation: Invocation, name: str, path: str, at: str | None, purge: bool) -> int:
    """Restore what a sync replaced or deleted at PATH; another undo reverts that.

    NAME is a sync, or the folder to which push or pull has copied: WORKSPACE:path, ./path.
    """
    since = moment(at, time.time()) if at is not None else 0.0
    below = _below(path)
    if not purge and at is None and not below:
        raise InputError("usage", "undo what?", hint="a PATH, or --at TIME")
    if _is_place(name):
        from kled_client.terminal.interrupt import run

        return run(partial(_undo_at, invocation, name, below, since_s=since, purge=purge))
    found = _ask(invocation, "undo", name=name, path=below, since_s=since, purge=purge)
    _show_undone(invocation, found, below, since_s=since, purge=purge)
    return 0


def _is_place(name: str) -> bool:
    """Whether it can be no sync's name."""
    return name in {".", ".."} or "/" in name or ":" in name


async def _undo_at(invocation: Invocation, name: str, below: str, **wish: Any) -> None:
    from kled_client.sync.place import parse_sync_place
    from kled_client.sync.versions import undo_at

    place, path = parse_sync_place(name), os.fsencode(below)
    paths = await undo_at(place, path, invocation.env, invocation.ssh, **wish)
    _show_undone(invocation, {"undone": {name: paths}}, below, **wish)


def _show_undone(
    invocation: Invocation, found: dict[str, Any], below: str, *, since_s: float, purge: bool
) -> None:
    """Raises NotFoundError("sync_nothing_kept") where the version of one path was wanted."""
    from kled_client.sync.itemize import event_path

    undone = found["undone"].items()
    lines = [f"{side}: {event_path(path)}" for side, paths in undone for path in paths]
    if not (lines or since_s or purge):
        raise NotFoundError(
            "sync_nothing_kept",
            f"no earlier version of {event_path(below)} is kept",
            hint="kled sync history lists those that are",
        )
    if invocation.output.as_json:
        invocation.output.json(found)
        return
    if not lines:
        invocation.output.note("nothing is kept of that")
    for line in lines:
        invocation.output.line(line)


@sync.command()
@_name_or_place
@click.argument("path", default=".")
@pass_invocation
def history(invocation: Invocation, name: str, path: str) -> int:
    """List the stored versions of PATH, newest first; NAME is as for undo."""
    below = _below(path)
    if _is_place(name):
        from kled_client.terminal.interrupt import run

        return run(partial(_history_at, invocation, name, below))
    _show_versions(invocation, _ask(invocation, "history", name=name, path=below)["versions"])
    return 0


async def _history_at(invocation: Invocation, name: str, below: str) -> None:
    from kled_client.sync.place import parse_sync_place
    from kled_client.sync.versions import history_at

    place, path = parse_sync_place(name), os.fsencode(below)
    rows = await history_at(place, path, invocation.env, invocation.ssh)
    _show_versions(invocation, [{**row, "side": name} for row in rows])


def _show_versions(invocation: Invocation, rows: list[dict[str, Any]]) -> None:
    columns = {
        "WHEN": [local(row["at"], "%Y-%m-%d %H:%M:%S") for row in rows],
        "SIDE": [row["side"] for row in rows],
        "WHAT": [row["what"] for row in rows],
        "BYTES": [str(row["bytes"]) if row["kept"] else "-" for row in rows],
        "PATH": [" <- ".join([row["path"], *row["from"]]) for row in rows],
    }
    invocation.output.rows(rows, columns, "nothing is kept of that")


@sync.command()
@pass_invocation
def background(invocation: Invocation) -> int:
    """Run all syncs; kled starts this process when it is needed."""
    from kled_client.sync.background import Background
    from kled_client.terminal.interrupt import run
    from kled_sync.files.root import sync_home

    def connect_as(profile: str | None) -> Connect:
        return replace(invocation, profile_name=profile).ssh

    return run(Background(sync_home(invocation.env), invocation.env, connect_as).run)


def _say(invocation: Invocation, found: dict[str, Any], words: str) -> None:
    """A result that is a sentence for people, and `found` for programs."""
    if invocation.output.as_json:
        invocation.output.json(found)
    else:
        invocation.output.note(words)


def _below(path: str) -> str:
    """A path below the root, as people write it. Raises InputError("usage")."""
    from kled_sync.tree.paths import check_path

    below = "" if path in {".", "/"} else path.removeprefix("./").strip("/")
    try:
        check_path(os.fsencode(below))
    except ProtocolError as exc:
        raise InputError(
            "usage", f"{path!r} is no path below the folders", hint="kled sync status prints them"
        ) from exc
    return below


def _show(invocation: Invocation, found: dict[str, Any]) -> None:
    """Problems and conflicts on top."""
    output = invocation.output
    if not output.as_json:
        for kind in ("conflicts", "problems"):
            for row in found.get(kind, [])[:_SHOWN]:
                output.line(f"{kind[:-1]}: {row['path']}: {row['reason']}")
            if (more := found.get(f"{kind}_total", 0) - _SHOWN) > 0:
                output.line(f"and {more} {kind} more")
    doing = found.get("doing", "")
    if found.get("in_flight"):
        left = file_size(found["bytes_total"] - found["bytes_done"])
        doing = f"{doing}, {counted(found['in_flight'], 'path')} under way, {left} left"
    fields = {
        "name": found["name"],
        "state": f"{found['state']}: {found['reason']}" if found["reason"] else found["state"],
        "alpha": found["alpha"],
        "beta": found["beta"],
        "mode": found["mode"],
        "attributes": ", ".join(found.get("attributes", ())),
        "doing": doing or None,
        "to do": found["hint"] or None,
    }
    for side, facts in (sides := found.get("sides", {})).items():
        missed = f", {facts['missed']} missed by events" if facts["missed"] else ""
        words = "".join(f": {said}" for said in (facts["words"], facts.get("overflow")) if said)
        fields[f"{side} sees"] = f"{facts['entries']} entries by {facts['how']}{words}{missed}"
    if linked := max((facts["linked"] for facts in sides.values()), default=0):
        words = "with several names, each of which becomes a file of its own"
        fields["hard links"] = f"{counted(linked, 'file')} {words}"
    output.record(found, {name: value for name, value in fields.items() if value})


for _command in (push, pull):
    sync.add_command(_command)
