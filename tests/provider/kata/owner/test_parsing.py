"""The owner's file: what a whole one says, and the exact message for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.owner.file import (
    Configuration,
    Handler,
    Networks,
    OwnerFile,
    OwnerFileError,
    Use,
)
from kled_provider.kata.owner.parsing import parse_owner_file

ROOT = Path(__file__).parents[4]


def test_an_empty_file_has_the_defaults_and_allows_nothing() -> None:
    found = parse_owner_file("")
    assert found == OwnerFile()
    assert found.containerd.address == "/run/containerd/containerd.sock"
    assert (found.handlers, found.places, found.devices) == ({}, {}, {})
    assert not found.without_kata.privileged
    assert found.allowed_values("hypervisor", "path") == ()


def test_the_example_of_the_documentation_is_read() -> None:
    text = (ROOT / "docs/kata.md").read_text()
    found = parse_owner_file(text.partition("```toml\n")[2].partition("```")[0])
    assert found.handlers["kata"] == Handler(
        name="kata", runtime="io.containerd.kata.v2", hypervisor="clh", configuration="clh"
    )
    path = "/opt/kata/share/defaults/kata-containers/runtime-rs/configuration-clh.toml"
    assert found.configurations["clh"] == Configuration(name="clh", path=path)
    assert found.networks.address_pools == Networks().address_pools
    assert list(found.places_for(Use.IMPORT)) == ["images"]
    assert found.credentials["ghcr"].registry == "ghcr.io"
    assert found.registries["localhost:5000"].plain_http
    assert found.devices == {"fuse": "/dev/fuse"}
    assert found.without_kata.devices == {"fuse"}
    assert found.allowed_values("hypervisor", "virtio_fs_extra_args") == ("--thread-pool-size=4",)
    assert found.allowed_values("runtime", "sandbox_bind_mounts") == ("/srv/models:ro",)
    assert list(found.extra_toml) == ["quiet"]
    assert found.agent_bundles == {"amd64": "/usr/lib/kled/agent-amd64"}


def test_values_of_inner_tables_are_read() -> None:
    text = (
        "[allowed.hypervisor.factory]\ntemplate_path = ['/t']\n[allowed.hypervisor]\npath = ['/p']"
    )
    assert parse_owner_file(text).allowed == {
        "hypervisor": {"path": ("/p",)},
        "hypervisor.factory": {"template_path": ("/t",)},
    }


def test_the_only_handler_is_the_default() -> None:
    one, two = HANDLER, "[handlers.runc]\nruntime = 'io.containerd.runc.v2'\n"
    assert parse_owner_file(one).default_handler == "kata"
    assert parse_owner_file(one + two).default_handler == ""
    assert parse_owner_file("default_handler = 'runc'\n" + one + two).default_handler == "runc"


HANDLER = "[handlers.kata]\nruntime = 'io.containerd.kata.v2'\n"
REFUSED = {
    "a = ": (
        "owner_file_malformed",
        "it is not TOML: Invalid value (at end of document)",
    ),
    "colour = 1": ("owner_file_key_unknown", "colour is not known"),
    "'a b' = 1": ("owner_file_key_unknown", "\"'a b'\" is not known"),
    "containerd = 1": ("owner_file_value_invalid", "containerd: use a table; got 1"),
    "[containerd]\nsocket = '/x'": ("owner_file_key_unknown", "containerd.socket is not known"),
    "[containerd]\naddress = 'x'": (
        "owner_file_value_invalid",
        "containerd.address: use an absolute path without `..`, `//` or `/` at its end; got 'x'",
    ),
    "[containerd]\naddress = '/a/../b'": (
        "owner_file_value_invalid",
        (
            "containerd.address: use an absolute path without `..`, `//` or `/` at its end; "
            "got '/a/../b'"
        ),
    ),
    "[containerd]\nnamespace = 'a b'": (
        "owner_file_value_invalid",
        "containerd.namespace: use what fits [A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*; got 'a b'",
    ),
    "[networks]\naddress_pools = ['8.8.8.0/24']": (
        "owner_file_value_invalid",
        (
            "networks.address_pools: use a private network, such as 10.88.0.0/16, with room for "
            "16 addresses; got '8.8.8.0/24'"
        ),
    ),
    "[networks]\nplugin_directories = []": (
        "owner_file_value_invalid",
        "networks.plugin_directories: use a list of strings that are not empty; got []",
    ),
    "[images]\nkeep_bytes = -1": (
        "owner_file_value_invalid",
        "images.keep_bytes: use a whole number, 0 or more; got -1",
    ),
    "[images]\nkeep_bytes = true": (
        "owner_file_value_invalid",
        "images.keep_bytes: use a whole number, 0 or more; got True",
    ),
    "[handlers.kata]": (
        "owner_file_value_missing",
        "handlers.kata.runtime: it is missing: a string",
    ),
    "[handlers.Kata]\nruntime = 'io.containerd.kata.v2'": (
        "owner_file_value_invalid",
        "handlers.Kata: a name has to fit [a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?",
    ),
    "[handlers.kata]\nruntime = 'kata'": (
        "owner_file_value_invalid",
        (
            "handlers.kata.runtime: use a runtime of containerd, such as io.containerd.kata.v2, "
            "or a shim's path; got 'kata'"
        ),
    ),
    "default_handler = 'runc'\n" + HANDLER: (
        "owner_file_name_unknown",
        "default_handler: there is no [handlers.runc]",
    ),
    HANDLER + "memory_mib = 32": (
        "owner_file_value_invalid",
        "handlers.kata.memory_mib: use a whole number, 64 or more; got 32",
    ),
    HANDLER + "vcpus = 0": (
        "owner_file_value_invalid",
        "handlers.kata.vcpus: use a number above 0, at most 1024; got 0",
    ),
    "[agent_bundles]\nriscv = '/x'": ("owner_file_key_unknown", "agent_bundles.riscv is not known"),
    HANDLER + "hypervisor = 'xen'": (
        "owner_file_value_invalid",
        "handlers.kata.hypervisor: use qemu, clh, dragonball or firecracker; got 'xen'",
    ),
    HANDLER + "configuration = 'clh'": (
        "owner_file_value_invalid",
        "handlers.kata.configuration: the handler has none without `hypervisor`: it is not Kata",
    ),
    HANDLER + "hypervisor = 'clh'\nconfiguration = 'clh'": (
        "owner_file_name_unknown",
        "handlers.kata.configuration: there is no [configurations.clh]",
    ),
    "[configurations.clh]\npath = '/x'\ndropins = true": (
        "owner_file_key_unknown",
        "configurations.clh.dropins is not known",
    ),
    "[credentials.ghcr]\nregistry = 'ghcr.io'\nusername = 'u'\npassword = 'p'": (
        "owner_file_value_missing",
        "credentials.ghcr.password_file: it is missing: a string",
    ),
    "[registries.'https://ghcr.io']": (
        "owner_file_value_invalid",
        (
            "registries.\"'https://ghcr.io'\": a name has to fit "
            "[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
        ),
    ),
    "[places.src]\npath = '/srv'\nuses = ['read']": (
        "owner_file_value_invalid",
        "places.src.uses: use mount, volume, populate, import, upload; got 'read'",
    ),
    "[places.src]\npath = '/srv'\nuses = ['volume']": (
        "owner_file_value_invalid",
        "places.src.uses: volumes are written: set `read_only` to false",
    ),
    "[devices]\nkvm = 'kvm'": (
        "owner_file_value_invalid",
        "devices.kvm: use an absolute path without `..`, `//` or `/` at its end; got 'kvm'",
    ),
    "[without_kata]\ndevices = ['kvm']": (
        "owner_file_name_unknown",
        "without_kata.devices: 'kvm' is not in [devices]",
    ),
    "[without_kata]\ncapabilities = ['net_admin']": (
        "owner_file_value_invalid",
        "without_kata.capabilities: use a capability, such as CAP_NET_ADMIN; got 'net_admin'",
    ),
    "[allowed.hypervisor]\ndefault_vcpus = ['1']": (
        "owner_file_key_unknown",
        "allowed.hypervisor.default_vcpus is no key whose values have to be listed",
    ),
    "[allowed.hypervisor]\npath = '/usr/bin/qemu'": (
        "owner_file_value_invalid",
        "allowed.hypervisor.path: use a list of strings; got '/usr/bin/qemu'",
    ),
    "[allowed.kata]": ("owner_file_key_unknown", "allowed.kata is not known"),
    "[extra_toml]\nquiet = '[runtime]\\nquiet = 1'".replace("'[", '"[').replace("1'", '1"'): (
        "owner_file_value_invalid",
        (
            "extra_toml.quiet: use keys that Kata knows, which runtime.quiet is not; "
            "got '[runtime]\\nquiet = 1'"
        ),
    ),
    "[extra_toml]\nquiet = '[runtime'": (
        "owner_file_value_invalid",
        (
            "extra_toml.quiet: use TOML (Expected ']' at the end of a table declaration (at end of "
            "document)); got '[runtime'"
        ),
    ),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text.replace("\n", " "))
def test_what_is_wrong_is_refused_with_one_line(text: str) -> None:
    with pytest.raises(OwnerFileError) as error:
        parse_owner_file(text)
    assert (error.value.code, error.value.message) == REFUSED[text]
    assert "\n" not in error.value.message


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


TABLES = (
    "containerd networks images handlers.a configurations.a credentials.a registries.a places.a "
    "devices allowed.hypervisor allowed.hypervisor.factory extra_toml without_kata"
)
KEYS = "address path uses runtime hypervisor capabilities keep_bytes kernel"


@given(st.sampled_from(TABLES.split(" ")), st.sampled_from(KEYS.split(" ")), VALUES)
def test_any_value_is_read_or_refused_with_one_line(table: str, key: str, value: object) -> None:
    message = ""
    try:
        parse_owner_file(f"[{table}]\n{key} = {toml(value)}\n")
    except OwnerFileError as error:
        message = error.message
    assert message.isprintable()


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    return str(value)
