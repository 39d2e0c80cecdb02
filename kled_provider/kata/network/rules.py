"""Takes away rules that the plugins' DEL leaves (iptables(8)).

Those of the firewall plugin for a bridge, because other containers may use it; and those of a
container whose namespace or record somebody has removed, which no DEL finds.
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


def tagged_rules(listed: str, container_id: str) -> Iterator[tuple[list[str], str]]:
    """Find the rules that lead to chains of a container alone in what `iptables -S` prints.

    The plugins bridge and portmap write its id into a comment. Gives each without its `-A`, and its
    chain.
    """
    for line in listed.splitlines():
        words = shlex.split(line)
        is_tagged = any(word.endswith(f' id: "{container_id}"') for word in words)
        if words[:1] == ["-A"] and is_tagged and words[-2] == "-j" and words[-1].startswith("CNI-"):
            yield words[1:], words[-1]


async def remove_tagged_rules(container_id: str, programs: tuple[str, ...]) -> None:
    """Remove the address translation of a container. Raises OSError."""
    for program in programs:
        listed = await _run(program, "-t", "nat", "-S")
        for rule, chain in tagged_rules(listed, container_id):
            for words in (("-D", *rule), ("-F", chain), ("-X", chain)):
                await _run(program, "-t", "nat", *words)


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
