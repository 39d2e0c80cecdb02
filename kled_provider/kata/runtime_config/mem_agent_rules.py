"""Rules of the mem-agent, which runs in the guest and gets its settings by kernel parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kled_provider.kata.runtime_config.keys import Key
from kled_provider.kata.runtime_config.merged import A, H, M, Merged
from kled_provider.kata.runtime_config.other_keys import TABLES
from kled_provider.kata.runtime_config.problem import Problem

_MEM_AGENT: Final = "agent.mem_agent_"
_MEM_AGENT_KEYS: Final = {key.name: key for key in TABLES[M]}
_DIGITS: Final = 20  # of 64 bits


def _enabled(merged: Merged) -> Iterator[Problem]:
    asked = [key for key, value in merged.tables[M].items() if key != "enable"]
    if asked and not merged.is_on((M, "enable")):
        sentence = "The mem-agent does not run: set enable = true in the mem_agent block."
        for key in asked:
            yield Problem(table=M, key=key, sentence=sentence, is_warning=True)
    policy = merged.get((A, "policy")) or ""
    refuses = any("MemAgent" in line and "false" in line for line in policy.splitlines())
    if refuses and merged.is_on((M, "enable")):
        sentence = "The policy refuses the requests by which a running mem-agent is retuned."
        others = ((M, "enable"),)
        yield Problem(table=A, key="policy", sentence=sentence, is_warning=True, others=others)


def _parameters(merged: Merged) -> Iterator[Problem]:
    """The guest's agent reads its parameters in order, and ignores these before it is enabled.

    For a value that it cannot read it ends, and so does the VM's start.
    """
    enabled = merged.is_on((M, "enable"))
    by_table = enabled
    parameters = [word.partition("=") for word in (merged.get((H, "kernel_params")) or "").split()]
    for name, _, value in parameters:
        key, sentence = name.removeprefix(_MEM_AGENT), None
        if key == "enable" and name != key:
            enabled = value in ("1", "true")
        elif key != name and not enabled:
            sentence = (
                f"{name} comes before agent.mem_agent_enable=1 and would be lost: set enable = "
                "true in the mem_agent block, or put agent.mem_agent_enable=1 first."
            )
        elif key in _MEM_AGENT_KEYS and name != key:
            sentence = _parameter_problem(name, value, _MEM_AGENT_KEYS[key])
        if sentence:
            others = ((M, "enable"),)
            yield Problem(table=H, key="kernel_params", sentence=sentence, others=others)
            return
    if enabled and not by_table and ("psi", "=", "1") not in parameters:
        sentence = (
            "agent.mem_agent_enable=1 needs psi=1 beside it: Kata adds that only where enable = "
            "true in the mem_agent block, and without it the guest's agent ends at its start."
        )
        yield Problem(table=H, key="kernel_params", sentence=sentence)


def _parameter_problem(name: str, value: str, key: Key) -> str | None:
    """Whether the guest's agent can read a parameter's value."""
    if key.type == "bool":
        is_bool = value in ("true", "false")
        return None if is_bool else f"Use {name}=true or {name}=false; got {value[:80]!r}."
    if not (value.isascii() and value.isdecimal() and len(value) <= _DIGITS):
        return f"{name} is a whole number; got {value[:80]!r}."
    problem = key.check(int(value)) if key.check else None
    return f"{name}: {problem}" if problem else None


MEM_AGENT_RULES: Final = (_enabled, _parameters)
