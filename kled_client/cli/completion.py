"""`kled completion`: the completion scripts of the shells, click's with additions.

A name that ends in `:` (`kled cp dev:`) gets no space after it, local files are offered beside
other names, and zsh needs no compinit in the user's configuration.
"""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

VARIABLE: Final = "_KLED_COMPLETE"

# bash breaks words at `:`, so what is typed after it is a word of its own (COMP_WORDBREAKS).
_BASH: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value name files=
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) files=1 ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
    if [[ -n $files && ${#COMPREPLY[@]} == 0 ]]; then
        compopt -o default
    elif [[ -n $files ]]; then
        for name in $(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"); do
            [[ -d $name ]] && name+=/
            COMPREPLY+=("$(printf %%q "$name")")
        done
    fi
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[:/] ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH: Final = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a described plain open response
    local type key descr files=
    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for type key descr in "${response[@]}"; do
        case $type in
            dir) files=-/ ;;
            file) files=-f ;;
            plain)
                if [[ $descr != _ ]]; then described+=("$key:$descr")
                elif [[ $key == *: ]]; then open+=("$key")
                else plain+=("$key")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
    (( $#open )) && compadd -U -S '' -V unsorted -a open
    [[ -n $files ]] && _path_files $files
    return 0
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    # A .zshrc may have no completion system of its own.
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Bash(BashComplete):
    source_template = _BASH


class _Zsh(ZshComplete):
    source_template = _ZSH


_SHELLS: Final[dict[str, type[ShellComplete]]] = {
    "bash": _Bash,
    "zsh": _Zsh,
    "fish": FishComplete,
}


def register_shells() -> None:
    """Let click answer the scripts that `kled completion` prints."""
    for name, shell in _SHELLS.items():
        add_completion_class(shell, name)


@click.command()
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: kled completion bash >> ~/.bashrc, for zsh: kled completion zsh >> ~/.zshrc, for fish:
    kled completion fish > ~/.config/fish/completions/kled.fish.
    """
    click.echo(_SHELLS[shell](ctx.find_root().command, {}, "kled", VARIABLE).source())
