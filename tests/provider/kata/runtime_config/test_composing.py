"""Each thing that is wrong stands at the key that the template has set, in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.kata.owner.parsing import parse_owner_file
from kled_provider.kata.runtime_config.composing import compose
from kled_provider.kata.runtime_config.schema import KATA_RUNTIME_CONFIG
from kled_provider.plugin.diagnostics import Path, Severity
from kled_provider.plugin.values import Values, conform_object

OWNER = parse_owner_file(
    """
state_directory = "/s"
runtime_directory = "/r"
[configurations.clh]
path = "/c/configuration.toml"
[allowed.hypervisor]
image = ["/i"]
initrd = ["/initrd"]
"""
)
SOUND: dict[str, Any] = {
    "kernel": "/k",
    "image": "/i",
    "path": "/c",
    "shared_fs": "virtio-fs",
    "virtio_fs_daemon": "/v",
    "default_memory": 2048,
    "default_maxmemory": 4096,
}
MEM_AGENT = {"mem_agent": {"mem_agent_enable": True}}
IMAGES = "guest_extension_images"


def told(
    template: Values, of_clh: Values | None = None, of_agent: Values | None = None
) -> list[tuple[Path, str, Severity]]:
    """What is wrong with a template's blocks upon a base."""
    said: Values = {"name": "x", "base": "clh", "form": "file", **template}
    said["hypervisor"] = {"kind": "clh", **said.get("hypervisor", {})}
    base = {
        "hypervisor": {"clh": {**SOUND, **(of_clh or {})}},
        "agent": {"kata": of_agent or {}},
        "runtime": {"hypervisor_name": "clh"},
    }
    values = conform_object(said, KATA_RUNTIME_CONFIG)
    return [(d.path, d.detail, d.severity) for d in compose(values, OWNER, base).diagnostics]


def of(**keys: Any) -> Values:
    return {"hypervisor": keys}


def agent(**keys: Any) -> Values:
    return {"agent": {"mem_agent": keys}}


@pytest.mark.parametrize(
    ("template", "of_clh", "of_agent", "path", "words"),
    [
        # One key alone: the template's, else the block that is nearest, else the base.
        (of(default_memory=32), {}, {}, ("hypervisor", "default_memory"), "at least 64 MiB"),
        (of(), {"default_memory": 32}, {}, ("hypervisor",), "at least 64 MiB; got 32."),
        ({"base": "no"}, {}, {}, ("base",), "has clh; got 'no'."),
        ({"extra_toml": ["loud"]}, {}, {}, ("extra_toml", 0), "has none; got 'loud'."),
        ({"form": "drop-in"}, {}, {}, ("form",), "`drop_ins = true`"),
        (of(path="/bin/sh"), {}, {}, ("hypervisor", "path"), "None is listed."),
        # One of several objects.
        (
            of(**{IMAGES: [{"name": "a", "path": "/i"}]}),
            {}, {}, ("hypervisor", IMAGES, 0, "path"), "only values that its owner lists",
        ),
        # Two keys that disagree: at the one that the template has set, whichever that is.
        (
            of(default_memory=8192), {}, {},
            ("hypervisor", "default_memory"), "default_maxmemory must not be less than",
        ),
        (
            of(default_maxmemory=1024), {}, {},
            ("hypervisor", "default_maxmemory"), "which is 2048; got 1024.",
        ),
        (
            of(initrd="/initrd"), {}, {},
            ("hypervisor", "initrd"), "from an image or from an initrd: set one.",
        ),
        (
            of(image="/i"), {"initrd": "/initrd", "image": ""}, {},
            ("hypervisor", "image"), "from an image or from an initrd: set one.",
        ),
        (
            agent(enable=True), {}, {},
            ("agent", "mem_agent", "enable"), "reclaim_guest_freed_memory = true",
        ),
        (
            of(reclaim_guest_freed_memory=False), {}, MEM_AGENT,
            ("hypervisor", "reclaim_guest_freed_memory"), "it comes back to the host only with",
        ),
        (
            of(), {}, MEM_AGENT, ("base",), "it comes back to the host only with",
        ),
        (
            of(shared_fs="virtio-fs"), {"virtio_fs_daemon": ""}, {},
            ("hypervisor", "shared_fs"), "needs a virtio_fs_daemon.",
        ),
        (
            agent(enable=False), {"kernel_params": "agent.mem_agent_compact_order=1"}, {},
            ("agent", "mem_agent", "enable"), "set enable = true in the mem_agent block",
        ),
    ],
)  # fmt: skip
def test_each_error_has_its_key_and_what_to_do(
    template: Values, of_clh: Values, of_agent: Values, path: Path, words: str
) -> None:
    ((at, sentence, severity),) = told(template, of_clh, of_agent)
    assert (at, severity) == (path, Severity.ERROR)
    assert words in sentence
    assert sentence.endswith(".")


def test_what_has_no_effect_is_told_of_a_template_alone() -> None:
    """What the base says and has no effect is its owner's business."""
    assert told(of(), {"hugepage_type": "hugetlbfs"}) == []
    ((path, sentence, severity),) = told(of(hugepage_type="hugetlbfs"))
    assert (path, severity) == (("hypervisor", "hugepage_type"), Severity.WARNING)
    assert sentence == "hugepage_type does nothing without enable_hugepages = true."


def test_a_sound_one_is_told_nothing_of() -> None:
    assert told(of(reclaim_guest_freed_memory=True), {}, MEM_AGENT) == []
