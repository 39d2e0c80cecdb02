"""PATH in a login shell whose profile has set it anew: what it began with comes back. Pure.

KLED_PATH is what the session began with; a shell takes it away when PATH is as it is to be. Nothing
is written to the user's own files: each kind of shell has another place for what runs after them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

# Sourced after a profile, which may have set PATH anew (Debian's does). What it lacks of KLED_PATH
# comes back: before the first directory that both have if it was before that, else at the end.
# Which of the system's own are in it is the profile's to say.
PATH_SH: Final = """\
if [ -n "${KLED_PATH-}" ]; then
  _kled_left=$KLED_PATH: _kled_front= _kled_back= _kled_met=
  while [ -n "$_kled_left" ]; do
    _kled_one=${_kled_left%%:*} _kled_left=${_kled_left#*:}
    case ":$PATH:" in
      *":$_kled_one:"*) _kled_met=1; continue ;;
    esac
    case $_kled_one in
      /usr/local/sbin | /usr/local/bin | /usr/sbin | /usr/bin | /sbin | /bin) ;;
      *)
        if [ -z "$_kled_met" ]; then _kled_front=$_kled_front$_kled_one:
        else _kled_back=$_kled_back:$_kled_one
        fi ;;
    esac
  done
  _kled_left=${PATH:+$PATH:} _kled_head=
  while [ -n "$_kled_left" ]; do
    case ":$KLED_PATH:" in *":${_kled_left%%:*}:"*) break ;; esac
    _kled_head=$_kled_head${_kled_left%%:*}: _kled_left=${_kled_left#*:}
  done
  _kled_left=$_kled_head$_kled_front${_kled_left%:}
  PATH=${_kled_left%:}$_kled_back
  export PATH
  unset KLED_PATH _kled_left _kled_one _kled_front _kled_back _kled_met _kled_head
fi
"""
# Read in place of the user's .zshenv, which it reads, by a zsh whose ZDOTDIR is its directory; what
# zsh reads after that is the user's own. The system's zshenv may say where that is, and has been
# read with our ZDOTDIR: one more zsh, which reads that file alone, says it. %s: the file above.
_ZSHENV: Final = """\
ZDOTDIR=$(unset ZDOTDIR; exec "$SHELL" -fc 'print -r -- "${ZDOTDIR-}"' </dev/null 2>/dev/null)
ZDOTDIR=${ZDOTDIR##*$'\n'}
[[ -n $ZDOTDIR ]] || unset ZDOTDIR
_kled_path() {
  emulate -L zsh
  precmd_functions=("${(@)precmd_functions:#_kled_path}")
  unfunction _kled_path
  [[ ! -r %(file)s ]] || . %(file)s
  unset KLED_PATH
}
precmd_functions+=(_kled_path)
[[ ! -r ${ZDOTDIR-$HOME}/.zshenv ]] || . "${ZDOTDIR-$HOME}/.zshenv"
"""
# The hook stays in place, because people may have added to it; without KLED_PATH it does nothing.
_BEFORE_PROMPT: Final = (
    '[ -z "${KLED_PATH-}" ] || { [ ! -r %(file)s ] || . %(file)s; unset KLED_PATH; }'
)
# fish cannot read the file above: sh(1) does.
_FISH: Final = """\
begin
  set -l _kled (/bin/sh -c '[ ! -r "$0" ] || . "$0"; printf %%s "$PATH"' %(file)s | string split :)
  test -n "$_kled"; and set -gx PATH $_kled
  set -e KLED_PATH
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginHooks:
    """What an interactive login shell is started with beside its own, so that it sources a file."""

    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


def zsh_directory(file: str) -> PurePosixPath:
    """Where zsh's file is, beside the one to source."""
    return PurePosixPath(file).parent / "zsh"


def zshenv(file: str) -> str:
    """The text of `.zshenv` in `zsh_directory`."""
    return _ZSHENV % {"file": shlex.quote(file)}


def fish_code(file: str) -> str:
    """What fish runs after its configuration."""
    return _FISH % {"file": shlex.quote(file)}


def login_hooks(shell: str, file: str, path: str) -> LoginHooks:
    """How `shell` is made to source the file once PATH, which was `path`, may have been set anew.

    bash runs PROMPT_COMMAND before its first prompt, dash and ash read the file ENV names.
    """
    given = {"KLED_PATH": path}
    match PurePosixPath(shell).name:
        case "bash":
            prompt = _BEFORE_PROMPT % {"file": shlex.quote(file)}
            return LoginHooks(environment={**given, "PROMPT_COMMAND": prompt})
        case "sh" | "dash" | "ash":
            return LoginHooks(environment={**given, "ENV": file})
        case "zsh":
            return LoginHooks(environment={**given, "ZDOTDIR": str(zsh_directory(file))})
        case "fish":
            return LoginHooks(environment=given, arguments=("-C", fish_code(file)))
        case _:
            return LoginHooks()
