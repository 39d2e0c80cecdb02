"""What the provider lets through, the double of Kata's shim loads: they were written apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_provider.kata.runtime_config.keys import HYPERVISORS, Key
from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES
from kled_provider.kata.runtime_config.rules import key_problems, problems
from kled_provider.kata.runtime_config.tables import Tables, tables_of, to_toml
from kled_provider.kata.runtime_config.toml_text import toml_text
from kled_provider.kata.runtime_config.workarounds import work_around
from tests.kit.examples import examples
from tests.kit.kata_shim.checks import RefusedError, load_configuration

BOOT = {"kernel": "/bin/true", "image": "/bin/true", "default_memory": 2048}
BASES: dict[str, dict[str, Any]] = {
    "qemu": {**BOOT, "path": "/bin/true"},
    "clh": {**BOOT, "path": "/bin/true"},
    "dragonball": BOOT,
    "firecracker": {**BOOT, "path": "/bin/true"},
}


def value_of(key: Key) -> st.SearchStrategy[Any]:
    if key.is_file:
        return st.sampled_from(["", "/bin/true"])
    if key.name == "sandbox_bind_mounts":
        return st.just(["/usr:ro"])
    of = {"bool": st.booleans(), "number": st.sampled_from([0, 1, 2, 64, 512, 5000, 50000])}
    words = ["", "none", "virtio-fs", "inline-virtio-fs", "tcfilter", "virtio-blk-mmio", "info"]
    if isinstance(key.type, str):
        return of.get(key.type, st.sampled_from(words))
    return st.just(["x"])


PLACES = [(name, key) for name, keys in TABLES.items() if name not in REPEATED for key in keys]
CHANGES = st.lists(st.sampled_from(PLACES), max_size=5, unique_by=lambda p: (p[0], p[1].name))


def set_values(hypervisor: str, changes: list[tuple[str, str, Any]]) -> Tables:
    tables = {**tables_of(hypervisor, {}), "hypervisor": dict(BASES[hypervisor])}
    for table, key, value in changes:
        tables[table][key] = value
    return work_around(tables, given=frozenset((table, key) for table, key, _ in changes))


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(HYPERVISORS), CHANGES, st.data())
def test_what_is_let_through_is_loaded(
    tmp_path: Path, hypervisor: str, places: list[tuple[str, Key]], data: st.DataObject
) -> None:
    changes = [(table, key.name, data.draw(value_of(key))) for table, key in places]
    tables = set_values(hypervisor, changes)
    found = [*key_problems(tables), *problems(hypervisor, tables)]
    if any(not problem.is_warning for problem in found):
        return
    path = tmp_path / "configuration.toml"
    path.write_text(toml_text(to_toml(hypervisor, tables)))
    assert load_configuration(str(path))[0] == hypervisor


REFUSED: list[tuple[str, tuple[str, str, Any], str]] = [
    ("qemu", ("hypervisor", "enable_guest_swap", True), "Qemu hypervisor doesn't support"),
    ("clh", ("hypervisor", "jailer_path", "/bin/true"), "Path for clh jailer should be empty"),
    ("dragonball", ("hypervisor", "path", "/bin/true"), "does not support path"),
    ("firecracker", ("hypervisor", "default_memory", 127), "minimal memory limitation 128"),
    ("firecracker", ("hypervisor", "default_vcpus", 33), "can not support so many vCPUs"),
    ("firecracker", ("agent", "dial_timeout_ms", 45000), "less than dial_timeout_ms"),
    ("clh", ("hypervisor", "image", "/no"), "image `/no` is invalid"),
    ("clh", ("runtime", "disable_new_netns", True), "only with internetworking_model none"),
    ("clh", ("agent.mem_agent", "perod", 1), "unknown field `perod`"),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_the_double_refuses_what_kata_refuses(
    tmp_path: Path, case: tuple[str, tuple[str, str, Any], str]
) -> None:
    hypervisor, change, words = case
    path = tmp_path / "configuration.toml"
    path.write_text(toml_text(to_toml(hypervisor, set_values(hypervisor, [change]))))
    with pytest.raises(RefusedError, match=words):
        load_configuration(str(path))
