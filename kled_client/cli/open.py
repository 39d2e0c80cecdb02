"""`kled open …`: opens a local editor on a workspace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import click

from kled_client.account import profile
from kled_client.account.certificate import ensure_certificate
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.cli.open_app import app
from kled_client.openssh.block import has_block
from kled_client.openssh.setup import default_path, install, read_config
from kled_wire.errors import KledError
from kled_wire.names import SSH_SUFFIX, WorkspaceRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """How an editor starts for an ssh host and an absolute path or "": a command line, or a URI."""

    title: str
    programs: tuple[str, ...]
    words: Callable[[str, str], list[str]]
    uri: Callable[[str, str], str]


def _code(title: str, program: str) -> Editor:
    """VS Code or what is made of it: all take the same words."""
    return Editor(
        title=title,
        programs=(program,),
        words=lambda host, path: ["--remote", f"ssh-remote+{host}", *([path] if path else [])],
        uri=lambda host, path: (
            f"{'vscode' if program == 'code' else program}://vscode-remote/ssh-remote+{host}"
            f"{quote(path) or '/'}"
        ),
    )


def _zed_place(host: str, path: str) -> str:
    return f"{host}{quote(path) or '/~'}"


def _jetbrains_uri(host: str, path: str) -> str:
    folder = f"&projectHint={quote(path)}" if path else ""
    return f"jetbrains://gateway/ssh/environment?h={host}&launchIde=true{folder}"


EDITORS: Final[Mapping[str, Editor]] = {
    "vscode": _code("VS Code", "code"),
    "cursor": _code("Cursor", "cursor"),
    "windsurf": _code("Windsurf", "windsurf"),
    "zed": Editor(
        title="Zed",
        programs=("zed", "zeditor"),
        words=lambda host, path: [f"ssh://{_zed_place(host, path)}"],
        uri=lambda host, path: f"zed://ssh/{_zed_place(host, path)}",
    ),
    # Toolbox has no command of its own: the desktop passes its URIs on.
    "jetbrains": Editor(
        title="a JetBrains IDE by the Toolbox App",
        programs=("open",) if sys.platform == "darwin" else ("xdg-open",),
        words=lambda host, path: [_jetbrains_uri(host, path)],
        uri=_jetbrains_uri,
    ),
}


@click.group("open")
def open_() -> None:
    """Open an editor or an app in a workspace."""


def _command(name: str, editor: Editor) -> click.Command:
    @click.command(
        name,
        help=f"Open {editor.title} over SSH, in PATH (absolute) if given.\n\n"
        "Writes the ssh configuration first if it is missing. Without a program to start it "
        "prints the URI to open.",
    )
    @workspace_argument
    @click.argument("path", required=False)
    @pass_invocation
    def command(invocation: Invocation, workspace: WorkspaceRef, path: str | None) -> None:
        folder = "/" + path.lstrip("/") if path else ""
        _open(invocation, name, editor, workspace, folder)

    return command


for _name, _editor in EDITORS.items():
    open_.add_command(_command(_name, _editor))
open_.add_command(app)


def _open(
    invocation: Invocation, name: str, editor: Editor, workspace: WorkspaceRef, path: str
) -> None:
    # A workspace that does not exist is an error before anything is opened.
    invocation.call(lambda api: api.workspace(str(workspace)))
    _configure_ssh(invocation)
    host = f"{workspace}.{SSH_SUFFIX}"
    found = (shutil.which(each, path=invocation.env.get("PATH")) for each in editor.programs)
    program = next(filter(None, found), None)
    uri = editor.uri(host, path)
    if invocation.output.as_json:
        invocation.output.json({"editor": name, "uri": uri, "program": program})
    elif program is None:
        invocation.output.line(uri)
    if program is not None:
        _launch([program, *editor.words(host, path)])


def _configure_ssh(invocation: Invocation) -> None:
    config = default_path(invocation.env)
    if not has_block(read_config(config)):
        name = profile.profile_name(invocation.env, invocation.profile_name)
        install(invocation.env, name, config)
        invocation.output.note(f"{config} is written")
    ensure_certificate(invocation.env, invocation.profile(), invocation.token())


def _launch(command: list[str]) -> None:
    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as exc:
        raise KledError("editor_failed", f"cannot start {command[0]}: {exc.strerror}") from exc
    if status:
        raise KledError("editor_failed", f"{command[0]} ended with status {status}")
