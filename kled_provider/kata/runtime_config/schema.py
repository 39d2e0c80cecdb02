"""The schema of `kata_runtime_config`, made from the tables of keys."""

from __future__ import annotations

from typing import Final

from kled_provider.kata.runtime_config.keys import HYPERVISORS, Key
from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES
from kled_provider.kata.runtime_config.places import NAME
from kled_provider.plugin.checks import matching, one_of
from kled_provider.plugin.schema import (
    Attribute,
    Block,
    Nesting,
    Schema,
    computed,
    defaulted,
    flag,
    list_of,
    optional,
    required,
)

FILE, DROP_IN = "file", "drop-in"

_WORDS: Final = {
    "hypervisor": "`[hypervisor.KIND]`. What is not set is as in the base, or Kata's default.",
    "hypervisor.factory": "Template VMs, from which others are made faster.",
    "hypervisor.guest_extension_images": "More images of the guest, read-only.",
    "agent": "`[agent.kata]`: Kata's agent in the guest.",
    "agent.mem_agent": "The mem-agent, which returns memory that is not used. Needs Kata 4.1.",
    "runtime": "`[runtime]`: the shim.",
    "runtime.shared_mounts": "Directories of a container that another one of the VM gets.",
}
_SET: Final = ("base", "extra_toml", "hypervisor", "agent", "runtime", "intact")


def _attribute(key: Key) -> Attribute:
    text = key.description
    if key.is_dangerous:
        text += " Only values that the owner's file lists."
    if len(key.only) < len(HYPERVISORS):
        text += f" For {', '.join(key.only)}."
    return optional(key.name, text, key.type, check=key.check)


def _block(name: str, *first: Attribute) -> Block:
    inner = (other for other in TABLES if other.rpartition(".")[0] == name)
    return Block(
        name=name.rpartition(".")[2],
        nesting=Nesting.LIST if name in REPEATED else Nesting.SINGLE,
        description=_WORDS[name],
        attributes=(*first, *(_attribute(key) for key in TABLES[name])),
        blocks=tuple(_block(other) for other in inner),
    )


KATA_RUNTIME_CONFIG: Final = Schema(
    description="A configuration of Kata's runtime (runtime-rs), for the containers that name it.",
    attributes=(
        required(
            "name",
            "Name, unique within the workspace.",
            forces_replacement=True,
            check=matching(NAME, "up to 63 lower-case letters, digits and hyphens within"),
        ),
        optional("base", "A configuration of the owner's file to start from, with its drop-ins."),
        defaulted(
            "form",
            FILE,
            "`file`: a configuration of its own. `drop-in`: beside the base, which it "
            "changes for all; only where the owner's file allows that.",
            forces_replacement=True,
            check=one_of(FILE, DROP_IN),
        ),
        optional(
            "extra_toml", "Names of pieces of configuration in the owner's file.", list_of("string")
        ),
        flag(
            "intact",
            "Whether the file is as the last build wrote it, with the base of today. "
            "Where not, the next build writes it anew. Leave it out.",
            default=True,
            check=lambda value: None if value else "It says what is found; leave it out.",
        ),
        computed("path", "What a kata_container's `config` takes."),
        computed(
            "sha256",
            "Digest of the merged result, for a kata_container's `config_sha256`.",
            follows=_SET,
        ),
        computed("rendered", "The merged result, as TOML.", follows=_SET),
    ),
    blocks=(
        _block(
            "hypervisor",
            required("kind", "qemu, clh, dragonball or firecracker.", check=one_of(*HYPERVISORS)),
        ),
        _block("agent"),
        _block("runtime"),
    ),
)
