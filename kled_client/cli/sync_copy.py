"""`kled sync push` and `pull`: a folder copied once, as rsync does it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import complete_place
from kled_client.cli.option_group import option_group
from kled_client.sync.place import SyncPlace, parse_sync_place
from kled_client.sync.processes import EndpointProcess, started
from kled_client.sync.rules import rules_of
from kled_sync.garbage_collection import collect_seldom
from kled_wire.counting import counted
from kled_wire.errors import InputError, KledError

if TYPE_CHECKING:
    from kled_client.sync.copy import CopyWish
    from kled_sync.session.once import Plan, Result

# How many problems are printed: where nothing may be read, the first lines say enough.
_PROBLEMS_MAX: Final = 20
ATTRIBUTE_OPTIONS: Final = (
    click.option(
        "--owner", is_flag=True, help="Copy owners, by name; needs root where they change."
    ),
    click.option("--group", is_flag=True, help="Copy groups, by name."),
    click.option("--numeric-ids", is_flag=True, help="Copy owners and groups by number."),
    click.option(
        "-X", "--xattrs", is_flag=True, help="Copy extended attributes; as root also ACLs."
    ),
)
_copy_options = option_group(
    click.argument("source", metavar="SRC", shell_complete=complete_place),
    click.argument("target", metavar="DST", shell_complete=complete_place),
    click.option("--delete", is_flag=True, help="Delete in DST what SRC does not have."),
    click.option(
        "--max-delete", type=click.IntRange(min=0), help="Delete up to N files without asking."
    ),
    click.option("-n", "--dry-run", is_flag=True, help="Print what would be done; change nothing."),
    click.option(
        "-i", "--itemize", is_flag=True, help="Print a line for each change, as rsync does."
    ),
    click.option(
        "--ignore", multiple=True, metavar="RULE", help="Exclude files by a rule of .gitignore."
    ),
    click.option(
        "--preset", multiple=True, metavar="NAME", help="Exclude files by the rules of preset NAME."
    ),
    click.option("--gitignore", is_flag=True, help="Follow the .gitignore files of SRC."),
    click.option(
        "--permissions",
        type=click.Choice(("portable", "all", "special")),
        default="all",
        show_default=True,
        help="portable: the executable bit alone; special: setuid, setgid and sticky bits too.",
    ),
    *ATTRIBUTE_OPTIONS,
    click.option("-H", "--hard-links", is_flag=True, help="Keep hard links between files of SRC."),
)


@click.command()
@_copy_options
@pass_invocation
def push(invocation: Invocation, /, source: str, target: str, **options: Any) -> int:
    """Copy SRC, of this machine, to DST: WORKSPACE:path, or ssh://USER@HOST/path.

    As with rsync, `dir` becomes DST/dir, and the content of `dir/` becomes the content of DST. Only
    changes are sent. What is replaced or deleted is kept for 7 days: kled sync undo DST PATH.
    """
    return _run(invocation, source, target, upload=True, **options)


@click.command()
@_copy_options
@pass_invocation
def pull(invocation: Invocation, /, source: str, target: str, **options: Any) -> int:
    """Copy SRC, of a workspace, to DST on this machine; otherwise as push.

    Hooks and settings of git are not copied, because git executes them.
    """
    return _run(invocation, source, target, upload=False, **options)


@click.command("sync-server")
def sync_server() -> int:
    """Serve the other end of a sync on standard input and output, for `kled sync` elsewhere."""
    from kled_sync.__main__ import main

    return main()


def _run(invocation: Invocation, source: str, target: str, *, upload: bool, **options: Any) -> int:
    collect_seldom()
    places = parse_sync_place(source), parse_sync_place(target)
    _check_direction(*places, upload=upload)
    ignore = rules_of(options["ignore"], options["preset"])
    with started(*places, env=invocation.env) as processes:
        from kled_client.terminal.interrupt import run  # while ssh connects

        wish = _wish(*places, ignore, options)
        return run(partial(_copy, invocation, wish, options, processes))


def _wish(source: SyncPlace, target: SyncPlace, ignore: bytes, options: dict[str, Any]) -> CopyWish:
    from kled_client.sync.copy import AS_RSYNC, CopyWish  # while ssh connects
    from kled_client.sync.sessions import PERMISSIONS
    from kled_sync.decide.attributes import AttributeWish

    return CopyWish(
        source=source,
        target=target,
        delete=options["delete"],
        preview=options["itemize"] or options["dry_run"],
        options=replace(
            AS_RSYNC.with_rules(ignore, gitignore=options["gitignore"]),
            mode_mask=PERMISSIONS.get(options["permissions"], AS_RSYNC.mode_mask),
        ),
        attributes=AttributeWish(
            owner=options["owner"],
            group=options["group"],
            numeric_ids=options["numeric_ids"],
            special=options["permissions"] == "special",
            xattrs=options["xattrs"],
            hard_links=options["hard_links"],
        ),
    )


def _check_direction(source: SyncPlace, target: SyncPlace, *, upload: bool) -> None:
    here, word = (source, "SRC") if upload else (target, "DST")
    if not here.is_here:
        command = "push" if upload else "pull"
        raise InputError(
            "copy_sides",
            f"{word} of kled sync {command} is on this machine",
            hint=f"kled sync {'pull' if upload else 'push'}",
        )


async def _copy(
    invocation: Invocation,
    wish: CopyWish,
    options: dict[str, Any],
    processes: Sequence[EndpointProcess | None],
) -> int:
    import trio  # while ssh connects

    from kled_client.cli.confirming import confirmed
    from kled_client.sync.copy import check_deletions, copy
    from kled_sync.session.transfers.transfer import SyncMeter

    began = trio.current_time()
    dry_run, output = options["dry_run"], invocation.output

    with output.transfer("syncing") as bar:

        async def ask(question: str) -> bool:
            with bar.aside():
                return await confirmed(question)

        may_ask = ask if sys.stdin.isatty() and not output.as_json else None

        async def confirm(plan: Plan) -> bool:
            if options["itemize"] or dry_run:
                _show(invocation, plan, os.fsencode(wish.source.path))
            if not dry_run:
                await check_deletions(plan, options["max_delete"], may_ask)
            return not dry_run

        meter = SyncMeter()
        meter.show_by(bar.update)
        result = await copy(wish, invocation.env, invocation.ssh, confirm, meter, processes)
    seconds = trio.current_time() - began
    _report(invocation, result, str(wish.source), dry_run=dry_run, seconds=seconds)
    return 0


def _show(invocation: Invocation, plan: Plan, source: bytes) -> None:
    from kled_client.sync.itemize import event, itemize, place_in_list
    from kled_sync.decide.target import names_contents

    root = b"" if names_contents(source) else source.rpartition(b"/")[2]
    actions = sorted([*plan.actions, *plan.others()], key=place_in_list)
    rows = [(a, plan.attributes.get(a.path, ""), plan.links.get(a.path)) for a in actions]
    if invocation.output.as_json:
        invocation.output.json_lines(event(*row) for row in rows)
    else:
        for row in rows:
            invocation.output.line(itemize(*row, root=root))


def _report(
    invocation: Invocation, result: Result, source: str, *, dry_run: bool, seconds: float
) -> None:
    """Raises KledError("sync_incomplete") where paths failed; `source` is the root's name."""
    from kled_sync.tree.paths import shown

    def named(path: bytes) -> str:
        return shown(path) if path else source

    output = invocation.output
    left_out = [s for s in result.skipped if not s.is_problem]
    problems = [(f.action.path, f.words) for f in result.done.failures]
    problems += [(s.path, s.reason) for s in result.skipped if s.is_problem]
    if output.as_json:
        output.json_lines(_events(result, problems, None if dry_run else seconds))
    else:
        for skipped in left_out[:_PROBLEMS_MAX]:
            output.note(f"left out {named(skipped.path)}: {skipped.reason}")
        if not dry_run and (result.changes or not problems):
            others = result.changes - result.files
            output.copied(result.files, result.done.content_bytes, seconds, others=others)
        for path in result.done.too_large[:_PROBLEMS_MAX]:
            output.note(f"the old {named(path)} is too large to be kept")
        for path, reason in problems[:_PROBLEMS_MAX]:
            output.note(f"{named(path)}: {reason}")
    if problems:
        words = f"{counted(len(problems), 'path')} could not be copied"
        raise KledError("sync_incomplete", words)


def _events(
    result: Result, problems: Sequence[tuple[bytes, str]], seconds: float | None
) -> Iterator[dict[str, Any]]:
    """What was left out, what failed and what was not kept; then the sum where it took a time."""
    for skipped in result.skipped:
        if not skipped.is_problem:
            yield {"event": "left_out", "path": os.fsdecode(skipped.path), "reason": skipped.reason}
    for path, reason in problems:
        yield {"event": "problem", "path": os.fsdecode(path), "reason": reason}
    for path in result.done.too_large:
        yield {"event": "not_kept", "path": os.fsdecode(path)}
    if seconds is not None:
        yield {
            "event": "done", "files": result.files, "changes": result.changes,
            "bytes": result.done.content_bytes, "wire_bytes": result.wire_bytes,
            "seconds": round(seconds, 3),
        }  # fmt: skip
