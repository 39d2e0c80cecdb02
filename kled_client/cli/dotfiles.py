"""`kled dotfiles URL`: installs a repository of dotfiles here, or in a workspace."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import RefType
from kled_wire.errors import InputError, KledError
from kled_wire.names import WorkspaceRef

# The words that begin the lines of dotfiles.sh, and whether each occurs once at most.
_RESULTS = {"directory": True, "ran": True, "linked": False, "moved": False}


@click.command()
@click.argument("url")
@click.option("--branch", metavar="NAME", help="Branch; default: the repository's own.")
@click.option("--workspace", type=RefType(), metavar="WS", help="Install in a workspace.")
@click.option("--yes", "-y", is_flag=True, help="Run the repository's script without asking.")
@pass_invocation
def dotfiles(
    invocation: Invocation, url: str, branch: str | None, workspace: WorkspaceRef | None, yes: bool
) -> None:
    """Clone or update the dotfiles at URL and install them, here or with --workspace there.

    Runs the repository's script (install.sh, bootstrap.sh or setup.sh, with or without .sh). If
    there is none, links its dot files into the home directory and keeps a file that was there as
    NAME.before.N. A second run updates them.
    """
    for word in (url, branch or ""):
        if word.startswith("-"):
            raise InputError("usage", f"{word[:40]!r} begins with a dash")
    where = f"in {workspace}" if workspace else "on this machine"
    if workspace is not None:  # one that is not there is said as by every command
        invocation.call(lambda api: api.workspace(str(workspace)))
    _agree(f"Install {url} {where}? It may run its script.", yes=yes)
    script = files(__package__ or "kled_client.cli").joinpath("dotfiles.sh").read_text("utf-8")
    command = ["sh", "-c", script, "kled-dotfiles", url, branch or ""]
    if workspace is not None:
        command = [*invocation.command(), "exec", str(workspace), "--", *command]
    env = {**invocation.env, "GIT_TERMINAL_PROMPT": "0"} if workspace else dict(invocation.env)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise KledError(
            "dotfiles_failed",
            f"the dotfiles were not installed {where}; see above",
            hint="mend that, and run the same again",
        )
    _tell(invocation, done.stdout)


def _agree(question: str, *, yes: bool) -> None:
    if yes or (sys.stdin.isatty() and click.confirm(question, err=True)):
        return
    raise InputError(
        "not_confirmed", "dotfiles may run a script of their author's", hint="add --yes"
    )


def _tell(invocation: Invocation, said: str) -> None:
    found: dict[str, list[str]] = {word: [] for word in _RESULTS}
    for line in said.splitlines():
        word, _, value = line.partition(" ")
        if word in found:
            found[word].append(value)
    raw = {
        word: (next(iter(values), None) if _RESULTS[word] else values)
        for word, values in found.items()
    }
    fields = {word: ", ".join(values) for word, values in found.items() if values}
    invocation.output.record(raw, fields)
