"""Takes away the firewall plugin's rules of a bridge that is gone (iptables(8)).

The plugin's DEL leaves them, because other containers may use the bridge.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import trio

_CHAINS = ("CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2")
_TABLES_S = 30.0


def rules_of(listed: str, bridge: str) -> Iterator[list[str]]:
    """Find a bridge's rules in what `iptables -S CHAIN` prints; gives them without their `-A`."""
    for line in listed.splitlines():
        words = shlex.split(line)
        if words[:1] == ["-A"] and bridge in words:
            yield words[1:]


async def remove_rules(bridge: str, programs: tuple[str, ...]) -> None:
    """Remove a bridge's rules; where there is no iptables there are none. Raises OSError."""
    for program in programs:
        for chain in _CHAINS:
            listed = await _run(program, "-S", chain)
            for rule in rules_of(listed, bridge):
                await _run(program, "-D", *rule)


async def _run(program: str, *words: str) -> str:
    """What it prints; empty where it refuses: the chain, or the rule, is gone."""
    try:
        with trio.move_on_after(_TABLES_S):
            done = await trio.run_process(
                [program, "--wait", *words], capture_stdout=True, capture_stderr=True, check=False
            )
            return done.stdout.decode("utf-8", "replace") if not done.returncode else ""
    except FileNotFoundError:
        return ""
    return ""
