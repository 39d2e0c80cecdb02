"""The command of a script: its own interpreter in its user's login environment. Pure.

The user's login shell reads its profile and becomes the interpreter that the script's first line
names (execve(2), "Interpreter scripts"), or itself where it names none. The script is in a file,
not in an argument, which other users could read; it reaches that file over standard input and as
the user, because the directory is the user's too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from kled_agent.machine.expanding import expand_path
from kled_agent.machine.login_path import PATH_SH, fish_code, zshenv

# Shells that take `-l -c`. Others (nologin(8), csh) get sh(1) in their place.
_SHELLS: Final = frozenset({"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"})
_FALLBACK: Final = "/bin/sh"
# $1: our directory, which must be the user's own; $2: the file; $3: the script's data.
_PREPARE: Final = """\
umask 077
mkdir -p -m 700 "$1" && [ -O "$1" ] && [ ! -L "$1" ] && mkdir -p "$1/bin" "$3" && cat >"$2" || {
  echo "kled-agent: no script can be written to $1" >&2
  exit 125
}
umask 022
shift 3
exec "$@"
"""
# $1: our directory; $2, $3, $4: the program `coder`, and the files for PATH; $5: the user's shell
# if it is zsh. Where the system's zshenv says for everybody which .zshenv is read, ours cannot be:
# then no session may wait for it. What an agent before us knew of units is over.
_INSTALL: Final = """\
umask 077
mkdir -p -m 700 "$1" && [ -O "$1" ] && [ ! -L "$1" ] && mkdir -p "$1/bin" "$1/lib/zsh" &&
rm -f "$1/units.json" && printf '%s' "$2" >"$1/lib/coder" && chmod 700 "$1/lib/coder" &&
printf '%s' "$3" >"$1/lib/path.sh" && printf '%s' "$4" >"$1/lib/zsh/.zshenv" || exit
[ -n "$5" ] || exit 0
read=$(ZDOTDIR=$1/lib/zsh "$5" -fc 'print -r -- "$ZDOTDIR"' </dev/null 2>/dev/null | tail -n 1)
[ "$read" = "$1/lib/zsh" ] || rm -f "$1/lib/zsh/.zshenv"
"""
_LOGIN: Final = '. "$0"; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptDirectory:
    """The agent's directory in the workspace, below that of temporary files; it is the user's.

    `bin` is where scripts put programs for everybody, `ours` where our own are.
    """

    directory: str

    @property
    def bin(self) -> str:
        """On PATH, CODER_SCRIPT_BIN_DIR."""
        return f"{self.directory}/bin"

    @property
    def ours(self) -> str:
        """On PATH, the last."""
        return f"{self.directory}/lib"

    @property
    def path_file(self) -> str:
        """What shells source after a profile, for PATH."""
        return f"{self.ours}/path.sh"

    def data(self, script_id: str) -> str:
        """A script's own directory, CODER_SCRIPT_DATA_DIR."""
        return f"{self.directory}/data/{_file_name(script_id)}"

    def script(self, script_id: str) -> str:
        """The file that a script is run from."""
        return f"{self.directory}/script-{_file_name(script_id)}"


def interpreter(script: str) -> tuple[str, ...] | None:
    """What the first line names: a path and at most one argument; None where it names nothing."""
    first, _, _ = script.lstrip().partition("\n")
    if not first.startswith("#!"):
        return None
    return tuple(first[2:].split(maxsplit=1)) or None


def install_command(place: ScriptDirectory, *, python: str, shell: str) -> tuple[str, ...]:
    """The argument vector that makes the directory, with the program `coder` in it.

    `shell` is the user's.
    """
    runs = " ".join(map(shlex.quote, (python, "-I", "-m", "kled_agent", "coder", place.directory)))
    coder = f'#!/bin/sh\nexec {runs} "$@"\n'
    files = coder, PATH_SH, zshenv(place.path_file)
    zsh = shell if PurePosixPath(shell).name == "zsh" else ""
    return ("/bin/sh", "-c", _INSTALL, "kled-install", place.directory, *files, zsh)


def script_input(script: str) -> bytes:
    """What goes to standard input of `script_command`."""
    # Templates indent their scripts; for the interpreter the first line counts.
    return script.lstrip().encode("utf-8", "surrogatepass")


def script_command(
    place: ScriptDirectory, *, script_id: str, script: str, shell: str
) -> tuple[str, ...]:
    """The argument vector that keeps the script from standard input in its file and runs it."""
    file = place.script(script_id)
    prepare = ("/bin/sh", "-c", _PREPARE, "kled-script", place.directory, file)
    name = PurePosixPath(shell).name
    login: tuple[str, ...]
    if name == "fish":
        login = (f"{fish_code(place.path_file)}exec $argv",)
    else:
        shell = shell if name in _SHELLS else _FALLBACK
        login = (_LOGIN, place.path_file)
    by = interpreter(script) or (shell,)
    return (*prepare, place.data(script_id), shell, "-l", "-c", *login, *by, file)


def log_file(path: str, environment: Mapping[str, str], temporary: str) -> str:
    """Where a `log_path` is: `~` is home, `$NAME` a variable; a relative one is in `temporary`."""
    return str(PurePosixPath(temporary) / expand_path(path, environment))


def _file_name(script_id: str) -> str:
    """An id of a resource is a UUID; whatever else it is, it stays in its directory."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in script_id)[:100] or "_"
