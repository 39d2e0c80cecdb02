"""What is added to a configuration so that Kata does what it says.

Each of these is a fault of runtime-rs 4.1.0 that a configuration can go around.
"""

from __future__ import annotations

from typing import Any

from kled_provider.kata.runtime_config.merged import DEFAULTS, A, H, M
from kled_provider.kata.runtime_config.tables import Tables

_DIAL, _RECONNECT = "dial_timeout_ms", "reconnect_timeout_ms"


def work_around(tables: Tables, *, given: frozenset[tuple[str, str]]) -> Tables:
    """Return the tables with what Kata needs besides. `given` are the keys that a template sets."""
    return {
        **tables,
        A: {**tables[A], **_reconnect(tables[A], given)},
        H: {**tables[H], **_compaction(tables)},
    }


def _compaction(tables: Tables) -> dict[str, Any]:
    """Give the mem-agent's compact_* by kernel parameters.

    runtime-rs passes the table's keys in alphabetical order, so these come before `enable`, and
    the agent ignores what comes before it. `kernel_params` is passed after them.
    """
    asked = {k: v for k, v in tables[M].items() if k.startswith("compact_")}
    if not asked or not tables[M].get("enable"):
        return {}
    before = str(tables[H].get("kernel_params", "")).split()
    named = {f"agent.mem_agent_{key}": value for key, value in asked.items()}
    added = [
        f"{name}={str(value).lower()}"
        for name, value in named.items()
        if not any(parameter.partition("=")[0] == name for parameter in before)
    ]
    return {"kernel_params": " ".join([*before, *added])}


def _reconnect(agent: dict[str, Any], given: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Lengthen the time of all attempts to connect, where the base's own does not allow one.

    The shipped file for Firecracker has a dial time-out of 45 s and no reconnect time-out, whose
    default is 3 s; Kata refuses that. Numbers of the template are checked instead (rules.py).
    """
    dial, all_attempts = (agent.get(key, DEFAULTS[A, key]) for key in (_DIAL, _RECONNECT))
    if (A, _DIAL) in given or (A, _RECONNECT) in given or all_attempts >= dial:
        return {}
    return {_RECONNECT: dial}
