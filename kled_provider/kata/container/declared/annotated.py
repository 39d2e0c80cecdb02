"""A configuration of Kata with what a container's annotations make of it. No I/O.

runtime-rs puts annotations over the merged file and only then looks whether it takes the whole
(kata-types, annotations/mod.rs): what a configuration must not say, no annotation may say either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kled_provider.kata.runtime_config.keys import Key
from kled_provider.kata.runtime_config.merged import A, H, Merged, Place, R
from kled_provider.kata.runtime_config.other_keys import TABLES
from kled_provider.kata.runtime_config.rules import problems
from kled_provider.plugin.schema import BOOL, NUMBER

PREFIXES: Final[Mapping[str, str]] = {
    "io.katacontainers.config.hypervisor.": H,
    "io.katacontainers.config.runtime.": R,
    "io.katacontainers.config.agent.": A,
}
# Keys that an annotation has another name for.
_OTHER_NAMES: Final = {
    "default_max_vcpus": "default_maxvcpus",
    "blk_logical_sector_size": "block_device_logical_sector_size",
    "blk_physical_sector_size": "block_device_physical_sector_size",
    "block_device_queue_size": "queue_size",
    "block_device_num_queues": "num_queues",
}
_KEYS: Final = {(table, key.name): key for table in (H, R, A) for key in TABLES[table]}


def effect_problems(annotations: Mapping[str, str], merged: Merged) -> Iterator[tuple[str, str]]:
    """Say by annotation what Kata would refuse or lose of a configuration that has them.

    Each annotation is one that Kata knows, lets through, and finds of the right type.
    """
    changed, names = annotated(merged, annotations)
    wrong = {}
    for place, name in names.items():
        check = _KEYS[place].check
        if check is not None and (sentence := check(changed.tables[place[0]][place[1]])):
            wrong[name] = sentence
    yield from wrong.items()
    if wrong:
        return
    before = problems(merged.hypervisor, merged.tables)
    for problem in problems(changed.hypervisor, changed.tables):
        places = [(problem.table, problem.key), *problem.others]
        said = [names[place] for place in places if place in names]
        if said and not problem.is_warning and problem not in before:
            yield said[0], problem.sentence


def annotated(merged: Merged, annotations: Mapping[str, str]) -> tuple[Merged, dict[Place, str]]:
    """The configuration that a VM gets, and which annotation has changed each key."""
    tables = {**merged.tables, **{table: dict(merged.tables[table]) for table in (H, R, A)}}
    names: dict[Place, str] = {}
    for name, text in annotations.items():
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        word = name.removeprefix(prefix)
        table, key = PREFIXES.get(prefix, ""), _OTHER_NAMES.get(word, word)
        if (table, key) in _KEYS:
            before = merged.get((table, key))
            tables[table][key] = _value(_KEYS[table, key], text, before)
            names[table, key] = name
    return Merged(merged.hypervisor, tables), names


def _value(key: Key, text: str, before: Any) -> Any:
    if key.type == BOOL:
        return text == "true"
    if key.type == NUMBER:
        return float(text) if "." in text else int(text)
    if key.name == "kernel_params":
        return _with_parameters(before or "", text)
    if key.name == "virtio_fs_extra_args":
        return [*(before or ()), *text.split(",")]
    if isinstance(key.type, tuple):
        return [item.strip() for item in text.split(";" if key.name == "kernel_modules" else ",")]
    return text


def _with_parameters(before: str, more: str) -> str:
    """Kernel parameters of one name are replaced, the rest comes last, in order."""
    added = more.split()
    names = {parameter.partition("=")[0] for parameter in added}
    kept = [one for one in before.split() if one.partition("=")[0] not in names]
    return " ".join([*kept, *added])
