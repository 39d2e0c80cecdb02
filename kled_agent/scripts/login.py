"""The command of a script: its own interpreter in its user's login environment. Pure.

The user's login shell reads its profile and becomes the interpreter that the script's first line
names (execve(2), "Interpreter scripts"), or itself where it names none. The script is in a file,
not in an argument, which other users could read; it reaches that file over standard input and as
the user, because the directory is the user's too.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

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
# $1: our directory; $2: the program `coder`. Units that an agent before us knew are over.
_INSTALL: Final = """\
umask 077
mkdir -p -m 700 "$1" && [ -O "$1" ] && [ ! -L "$1" ] && mkdir -p "$1/bin" "$1/lib" &&
rm -f "$1/units.json" && printf '%s' "$2" >"$1/lib/coder" && chmod 700 "$1/lib/coder"
"""
# A profile may set PATH anew (Debian's does): what we add comes after it.
_LOGIN: Final = 'PATH="$PATH:$0"; export PATH; exec "$@"'
_LOGIN_FISH: Final = "set -gx PATH $PATH (string split : $argv[1]); exec $argv[2..-1]"


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


def install_command(place: ScriptDirectory, *, python: str) -> tuple[str, ...]:
    """The argument vector that makes the directory, with the program `coder` in it."""
    words = " ".join(map(shlex.quote, (python, "-I", "-m", "kled_agent", "coder", place.directory)))
    coder = f'#!/bin/sh\nexec {words} "$@"\n'
    return ("/bin/sh", "-c", _INSTALL, "kled-install", place.directory, coder)


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
    paths = f"{place.bin}:{place.ours}"
    if name == "fish":
        login = (shell, "-l", "-c", _LOGIN_FISH, paths)
    else:
        shell = shell if name in _SHELLS else _FALLBACK
        login = (shell, "-l", "-c", _LOGIN, paths)
    by = interpreter(script) or (shell,)
    return (*prepare, place.data(script_id), *login, *by, file)


def _file_name(script_id: str) -> str:
    """An id of a resource is a UUID; whatever else it is, it stays in its directory."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in script_id)[:100] or "_"
