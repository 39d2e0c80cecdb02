"""The attributes of `kata_container`. Its blocks are in blocks.py."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Any, Final

from kled_provider.kata.container.declared import value_checks
from kled_provider.kata.container.declared.blocks import BLOCKS, MOST_MIB, USER
from kled_provider.kata.image.reference import id_problem
from kled_provider.kata.network.files import name_problem, option_problem, server_problem
from kled_provider.plugin.checks import all_of, at_most, between, each, matching
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Schema,
    computed,
    defaulted,
    list_of,
    map_of,
    optional,
    required,
)

# As containerd's identifiers, less what a host name may not have.
NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*"
_USER = rf"{USER}(?::{USER})?"
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,120}[A-Za-z0-9])?")
_SYSCTL = re.compile(r"[a-z0-9_]+(?:[./][A-Za-z0-9_-]+)+")
# Those of a container's namespaces (sysctl(8), ipc_namespaces(7)): runtimes refuse all others.
_OWN_SYSCTL = re.compile(
    r"(?:net|fs\.mqueue)\..*|kernel\.(?:domainname|sem|msg(?:max|mnb|mni)|shm(?:all|max|mni)|"
    r"shm_rmid_forced)"
)
MIB: Final = 1 << 20
# What Kata boots with at least (docs/kata.md); a guest of less does not come up.
LEAST_MEMORY_MIB: Final = 64
# What a container gets that says nothing, as Kata's own configurations have it.
DEFAULT_MEMORY_MIB: Final = 2048
DEFAULT_VCPUS: Final = 1
# No float, which 0.01 is not: a value of a template is a Decimal (plugin/values.py).
_LEAST_VCPUS: Final = Decimal("0.01")
RESERVED_LABELS: Final = ("kled.dev/", "containerd.io/", "io.containerd.", "io.katacontainers.")


# Attributes whose change means a new container.
_fixed: Final = partial(optional, forces_replacement=True)
_fixed_default: Final = partial(defaulted, forces_replacement=True)


def _labels(value: Any) -> str | None:
    for name, text in value.items():
        if not _LABEL.fullmatch(name):
            return (
                f"A label's name has up to 122 letters, digits, `.`, `_`, `/`, `-`; got {name!r}."
            )
        if name.startswith(RESERVED_LABELS):
            return f"Labels that begin with {', '.join(RESERVED_LABELS)} are not yours; got {name}."
        if text is not None and len(name) + len(text.encode()) > 4096:
            return f"containerd takes 4096 bytes of a label; {name} has more."
    return None


def _sysctls(value: Any) -> str | None:
    seen = set()
    for name, text in value.items():
        if not _SYSCTL.fullmatch(name) or ".." in name:
            return f"{name!r} is no name of a kernel parameter."
        dotted = name.replace("/", ".")
        if dotted in seen:
            return f"{name} is there in two ways of writing it."
        seen.add(dotted)
        if not _OWN_SYSCTL.fullmatch(dotted):
            return f"{name} is the whole machine's, and no container's."
        if not isinstance(text, str) or "\0" in text or "\n" in text:
            return f"The value of {name} is no line of text."
    return None


def _absolute(value: Any) -> str | None:
    if value.startswith("/") and "\0" not in value and ".." not in value.split("/"):
        return None
    return f"Use an absolute path without `..`; got {value!r}."


def _number_of_cpus(value: Any) -> str | None:
    return None if _LEAST_VCPUS <= value <= 256 else f"Use {_LEAST_VCPUS} to 256; got {value}."


_PROGRAM: Final = (
    _fixed(
        "command",
        "Argument vector instead of the image's entrypoint. Without it, and with an agent, the "
        "container lives as long as the agent.",
        list_of("string"),
        check=value_checks.texts,
    ),
    _fixed(
        "args",
        "Arguments instead of the image's command.",
        list_of("string"),
        check=value_checks.texts,
    ),
    _fixed(
        "env",
        "Environment, besides the image's.",
        map_of("string"),
        check=value_checks.environment,
    ),
    _fixed(
        "env_sensitive",
        "More environment, not shown in plans and logs; it reaches the program by a file on tmpfs.",
        map_of("string"),
        sensitive=True,
        check=value_checks.environment,
    ),
    _fixed(
        "user",
        "User to run as, USER or USER:GROUP, names of the image's or numbers; the image's own by "
        "default.",
        check=matching(_USER, "a name or number, perhaps with `:` and a group"),
    ),
    _fixed("workdir", "Working directory; the image's own by default.", check=_absolute),
    _fixed(
        "hostname",
        "Host name; `name` by default.",
        check=all_of(matching(_HOSTNAME, "a host name"), at_most(64)),
    ),
    _fixed("read_only", "Mount the root file system read-only.", BOOL),
    _fixed("privileged", "All capabilities and devices; for Kata, those of the VM.", BOOL),
    _fixed("sysctls", "Kernel parameters of the container.", map_of("string"), check=_sysctls),
    _fixed(
        "pids_limit", "Most processes and threads at a time.", NUMBER, check=between(1, 4194304)
    ),
    _fixed(
        "shm_size", "Size of /dev/shm, in MiB; 64 by default.", NUMBER, check=between(1, MOST_MIB)
    ),
)
_NAMES: Final = (
    _fixed(
        "hosts",
        "Lines of /etc/hosts: addresses by name; host-gateway is this machine.",
        map_of("string"),
        check=value_checks.hosts,
    ),
    _fixed(
        "dns",
        "Name servers; those of the first network, then this machine's, by default.",
        list_of("string"),
        check=each(server_problem),
    ),
    _fixed(
        "dns_search",
        "Domains that names are completed with.",
        list_of("string"),
        check=each(name_problem),
    ),
    _fixed(
        "dns_options",
        "Options of resolv.conf(5).",
        list_of("string"),
        check=each(option_problem),
    ),
)
_LIMITS: Final = (
    defaulted(
        "memory",
        DEFAULT_MEMORY_MIB,
        "Memory, in MiB. A change makes a new container where Kata sizes VMs at boot.",
        of=NUMBER,
        check=between(LEAST_MEMORY_MIB, MOST_MIB, unit="MiB"),
    ),
    defaulted(
        "vcpus",
        DEFAULT_VCPUS,
        "CPUs, perhaps a fraction. A change is as one of `memory`.",
        of=NUMBER,
        check=_number_of_cpus,
    ),
)
_LIFE: Final = (
    optional("labels", "Labels of the container.", map_of("string"), check=_labels),
    defaulted(
        "restart",
        "no",
        "no, or always: containerd starts it again when it ends. containerd 1.7 knows "
        "unless-stopped, on-failure and on-failure:COUNT too.",
        check=matching(
            r"no|always|unless-stopped|on-failure(:[1-9][0-9]{0,5})?",
            "no, always, unless-stopped, on-failure or on-failure:COUNT",
        ),
    ),
    defaulted(
        "must_run",
        True,
        "A container that has ended is made again by the next apply; with false it stays, and "
        "exit_code says how it ended.",
        of=BOOL,
    ),
    optional(
        "stop_signal",
        "Signal that asks it to end; the image's own by default, else SIGTERM.",
        check=value_checks.signal_problem,
    ),
    defaulted(
        "stop_timeout",
        10,
        "How long it may take to end, in seconds, before it is killed.",
        of=NUMBER,
        check=between(0, 3600, unit="seconds"),
    ),
)
_FOUND: Final = (
    computed("id", "Its id in containerd."),
    computed("sandbox_id", "The id of its VM; as `id` where it is alone in one, else empty."),
    computed("pid", "Process id on this machine: of the VM, or of the first process.", NUMBER),
    computed("ip_addresses", "Its addresses, without prefix.", list_of("string")),
    computed(
        "guest_memory", "Memory of the VM, in MiB; without Kata the limit.", NUMBER,
        follows=("memory", "vcpus"),
    ),
    computed(
        "guest_vcpus", "CPUs of the VM; without Kata the limit.", NUMBER,
        follows=("memory", "vcpus"),
    ),
    computed("status", "created, running, paused, stopped or unknown."),
    computed("exit_code", "How it ended; null while it runs.", NUMBER),
    computed("oom_killed", "Whether the kernel has killed a process of it for memory.", BOOL),
    computed("log_path", "File of this machine with what it prints."),
)  # fmt: skip

KATA_CONTAINER = Schema(
    description="A container, with Kata a virtual machine.",
    attributes=(
        required(
            "name",
            "Name, unique within the workspace.",
            forces_replacement=True,
            check=matching(NAME, "up to 63 lower-case letters, digits and hyphens within"),
        ),
        required(
            "image",
            "The id or name of a kata_image.",
            forces_replacement=True,
            check=id_problem,
        ),
        *_PROGRAM,
        *_NAMES,
        *_LIMITS,
        *_LIFE,
        *_FOUND,
    ),
    blocks=BLOCKS,
)
