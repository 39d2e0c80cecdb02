"""Configurations as tables: merging, the way to TOML and back, and what Kata does not know."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES
from kled_provider.kata.runtime_config.tables import (
    hypervisor_of,
    merge,
    plain_values,
    tables_of,
    to_toml,
    unknown_keys,
)


def test_tables_merge_and_all_else_is_replaced() -> None:
    lower = {"a": {"x": 1, "l": [1, 2]}, "b": 1}
    higher = {"a": {"l": [3], "y": {"z": 1}}, "b": {"c": 1}}
    assert merge(lower, higher) == {"a": {"x": 1, "l": [3], "y": {"z": 1}}, "b": {"c": 1}}


def test_a_template_s_blocks_stand_where_kata_looks() -> None:
    tables = {
        "hypervisor": {"default_vcpus": 2},
        "hypervisor.factory": {"enable_template": True},
        "hypervisor.guest_extension_images": [{"name": "a", "path": "/a"}],
        "agent": {"log_level": "debug"},
        "agent.mem_agent": {"enable": True},
        "runtime": {"vfio_mode": "vfio"},
    }
    assert to_toml("clh", tables) == {
        "hypervisor": {
            "clh": {
                "default_vcpus": 2,
                "factory": {"enable_template": True},
                "guest_extension_images": [{"name": "a", "path": "/a"}],
            }
        },
        "agent": {"kata": {"log_level": "debug", "mem_agent": {"enable": True}}},
        "runtime": {
            "name": "virt_container",
            "hypervisor_name": "clh",
            "agent_name": "kata",
            "vfio_mode": "vfio",
        },
    }


def test_the_other_name_of_enable_is_read() -> None:
    config = tomllib.loads("[agent.kata.mem_agent]\nmem_agent_enable = true\n")
    assert tables_of("clh", config)["agent.mem_agent"] == {"enable": True}
    assert list(unknown_keys(config)) == []


def values(table: str) -> st.SearchStrategy[dict[str, Any]]:
    of = {"bool": st.booleans(), "number": st.integers(0, 9), "string": st.text(max_size=5)}
    keys = {
        key.name: of[key.type] if isinstance(key.type, str) else st.lists(of["string"], max_size=2)
        for key in TABLES[table]
    }
    return st.fixed_dictionaries({}, optional=keys)


TABLES_OF_ANY = st.fixed_dictionaries(
    {
        name: st.lists(values(name), max_size=2) if name in REPEATED else values(name)
        for name in TABLES
    }
)


@given(st.sampled_from(["qemu", "clh", "dragonball", "firecracker"]), TABLES_OF_ANY)
def test_tables_survive_the_way_to_toml_and_back(kind: str, tables: dict[str, Any]) -> None:
    config = to_toml(kind, tables)
    assert tables_of(kind, config) == tables
    assert hypervisor_of(config) == kind
    assert list(unknown_keys(config)) == []


def test_what_kata_does_not_know_is_named() -> None:
    config = tomllib.loads(
        """
        [hypervisor.clh]
        default_vcpu = 1
        [hypervisor.clh.factory]
        template = true
        [hypervisor.xen]
        path = "/x"
        [agent.kata.mem_agent]
        memcg_perod_secs = 1
        [[runtime.shared_mounts]]
        source = "a"
        [netmon]
        enable = 1
        """
    )
    assert list(unknown_keys(config)) == [
        "hypervisor.clh.default_vcpu",
        "hypervisor.clh.factory.template",
        "hypervisor.xen",
        "agent.kata.mem_agent.memcg_perod_secs",
        "runtime.shared_mounts.source",
        "netmon",
    ]


def test_what_is_null_is_left_out_and_numbers_are_toml_s() -> None:
    block = {"a": None, "b": Decimal("0.5"), "c": Decimal(2), "d": 2.0, "e": ["x"], "f": False}
    found = plain_values(block)
    assert found == {"b": 0.5, "c": 2, "d": 2, "e": ["x"], "f": False}
    assert [type(value) for value in found.values()] == [float, int, int, list, bool]
