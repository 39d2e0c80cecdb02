"""What a configuration gets besides, so that Kata does what it says."""

from __future__ import annotations

from typing import Any

from kled_provider.kata.runtime_config.rules import problems
from kled_provider.kata.runtime_config.tables import Tables, tables_of
from kled_provider.kata.runtime_config.workarounds import work_around

NOTHING: frozenset[tuple[str, str]] = frozenset()


def tables(**of: dict[str, Any]) -> Tables:
    return {**tables_of("clh", {}), **{name.replace("__", "."): v for name, v in of.items()}}


def test_compaction_is_set_by_kernel_parameters_after_the_agent_s() -> None:
    """runtime-rs passes compact_* before enable, and the guest's agent ignores them there."""
    mem_agent = {"enable": True, "compact_order": 9, "compact_disable": False, "memcg_swap": True}
    found = work_around(
        tables(agent__mem_agent=mem_agent, hypervisor={"kernel_params": "quiet"}), given=NOTHING
    )
    assert found["hypervisor"]["kernel_params"] == (
        "quiet agent.mem_agent_compact_order=9 agent.mem_agent_compact_disable=false"
    )
    assert found["agent.mem_agent"] == mem_agent


def test_a_parameter_that_is_there_counts() -> None:
    found = work_around(
        tables(
            agent__mem_agent={"enable": True, "compact_order": 9},
            hypervisor={"kernel_params": "agent.mem_agent_compact_order=5"},
        ),
        given=NOTHING,
    )
    assert found["hypervisor"]["kernel_params"] == "agent.mem_agent_compact_order=5"


def test_without_the_mem_agent_there_is_nothing_to_set() -> None:
    before = tables(agent__mem_agent={"compact_order": 9}, hypervisor={"kernel_params": "quiet"})
    assert work_around(before, given=NOTHING) == before


def test_the_shipped_time_outs_of_firecracker_are_made_to_fit() -> None:
    shipped = tables(agent={"dial_timeout_ms": 45000})
    found = work_around(shipped, given=NOTHING)
    assert found["agent"] == {"dial_timeout_ms": 45000, "reconnect_timeout_ms": 45000}
    boot = {"kernel": "/k", "image": "/i", "path": "/f"}
    assert problems("firecracker", {**found, "hypervisor": {**boot, "default_memory": 2048}}) == []


def test_time_outs_of_a_template_stay_as_they_are() -> None:
    asked = tables(agent={"dial_timeout_ms": 45000})
    assert work_around(asked, given=frozenset({("agent", "dial_timeout_ms")})) == asked
