"""The blocks of `kata_container`."""

from __future__ import annotations

import re
from typing import Any, Final

from kled_provider.kata.container.declared import value_checks
from kled_provider.kata.container.declared.block_rules import place_in_container
from kled_provider.kata.container.declared.spec import ALL_CAPABILITIES
from kled_provider.kata.network.files import ip_problem
from kled_provider.plugin.checks import between, each, matching, one_of
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    defaulted,
    list_of,
    map_of,
    optional,
    required,
)

RLIMITS: Final = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
    "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip
# The limit of memory and of file systems in memory: 16 TiB, more than a machine has.
MOST_MIB: Final = 1 << 24
_MOST_LIMIT: Final = (1 << 53) - 1  # the largest that every JSON reader takes as it is
_MODE = r"[0-7]{3,4}"
USER: Final = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_TIME = re.compile(r"([1-9][0-9]{0,5})(s|m|h)")


def _inside(value: Any) -> str | None:
    """A path in the container."""
    if (
        value.startswith("/")
        and value != "/"
        and "\0" not in value
        and ".." not in value.split("/")
    ):
        place = place_in_container(value)
        if place == "/dev" or place.split("/")[1] == "proc":
            return f"Nothing is mounted at /dev or in /proc; got {value!r}."
        return None
    return f"Use an absolute path below `/` without `..`; got {value!r}."


def seconds_of(text: str) -> int:
    """Read a time such as `90s`, `5m`, `1h`. Raises ValueError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"Use a number of up to six digits and s, m or h, such as 90s; got {text!r}."
        )
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _time(value: Any) -> str | None:
    try:
        seconds_of(value)
    except ValueError as error:
        return str(error)
    return None


def _capability(value: str) -> str | None:
    if f"CAP_{value.removeprefix('CAP_')}" in ("CAP_ALL", *ALL_CAPABILITIES):
        return None
    return f"Use a name of capabilities(7), such as CAP_NET_ADMIN, or ALL; got {value!r}."


_TARGET: Final = required("target", "Path in the container.", check=_inside)
_READ_ONLY: Final = optional("read_only", "Mount it read-only.", BOOL)


def _several(name: str, description: str, *attributes: Attribute) -> Block:
    return Block(name=name, attributes=attributes, description=description, forces_replacement=True)


def _once(name: str, description: str, *attributes: Attribute) -> Block:
    return Block(
        name=name,
        nesting=Nesting.SINGLE,
        attributes=attributes,
        description=description,
        forces_replacement=True,
    )


RUNTIME: Final = _once(
    "runtime",
    "What runs the container.",
    optional("handler", "A handler of the owner's file; its default_handler by default."),
    optional("config", "The path of a kata_runtime_config; the handler's own by default."),
    optional("config_sha256", "Its sha256: a changed configuration makes a new container."),
    optional("annotations", "Annotations for Kata, without a handler of Kata not allowed.",
              map_of("string")),
)  # fmt: skip
AGENT: Final = _once(
    "agent",
    "An agent of Kled that runs beside the command, from the bundle that is mounted read-only.",
    required("id", "The kled_agent's id.", check=matching(r"[!-~]{1,200}", "a kled_agent's id")),
    required("token", "The kled_agent's token.", sensitive=True, check=value_checks.token),
    optional(
        "user",
        "The user whose terminals it opens; the container's by default.",
        check=matching(USER, "a name or number"),
    ),
    optional(
        "url",
        "Where it reaches the coordinator; the coordinator's own by default.",
        check=matching(r"https?://[!-~]+", "a URL that begins with http:// or https://"),
    ),
    optional(
        "env", "More environment of the agent.", map_of("string"), check=value_checks.environment
    ),
)
BLOCKS: Final = (
    RUNTIME,
    AGENT,
    _several(
        "volume",
        "A kata_volume.",
        required("volume", "The kata_volume's id."),
        _TARGET,
        _READ_ONLY,
    ),
    _several(
        "mount",
        "A directory or file of this machine, beneath a place of the owner's for mounts.",
        required("source", "Path on this machine."),
        _TARGET,
        _READ_ONLY,
    ),
    _several(
        "tmpfs",
        "A file system in memory.",
        _TARGET,
        optional(
            "size",
            "Its limit, in MiB; half the memory by default.",
            NUMBER,
            check=between(1, MOST_MIB),
        ),
        defaulted("mode", "1777", "Mode of its root.", check=matching(_MODE, "octal digits")),
    ),
    _several(
        "upload",
        "A small file.",
        required("file", "Path in the container.", check=_inside),
        optional("content", "What it holds.", check=value_checks.content),
        optional(
            "content_base64",
            "What it holds, where that is no text.",
            check=value_checks.content_base64,
        ),
        optional("source", "A file beneath a place of the owner's for uploads."),
        defaulted("mode", "0644", "Mode of the file.", check=matching(_MODE, "octal digits")),
    ),
    _several(
        "network",
        "A kata_network.",
        required("network", "The kata_network's id."),
        optional("address", "The address in it; the next free one by default.", check=ip_problem),
        optional("mac", "The hardware address.", check=value_checks.mac),
    ),
    _several(
        "port",
        "A port of this machine that leads to the first network.",
        required("internal", "Port of the container.", NUMBER, check=between(1, 65535)),
        required("external", "Port of this machine.", NUMBER, check=between(1, 65535)),
        defaulted("protocol", "tcp", "tcp or udp.", check=one_of("tcp", "udp")),
        optional("ip", "Address of this machine; every one by default.", check=ip_problem),
    ),
    _once(
        "capabilities",
        "Capabilities besides, or less than, the usual ones.",
        optional("add", "Added ones.", list_of("string"), check=each(_capability)),
        optional("drop", "Taken ones; ALL takes all.", list_of("string"), check=each(_capability)),
    ),
    _several(
        "device",
        "A device of the owner's file.",
        required("name", "Its name there."),
        optional("target", "Path in the container; as on this machine by default.", check=_inside),
        defaulted(
            "permissions",
            "rwm",
            "Of r, w, m.",
            check=matching("(?=.)r?w?m?", "letters of rwm, in this order"),
        ),
    ),
    _several(
        "rlimit",
        "A limit of setrlimit(2).",
        required("name", f"One of {', '.join(RLIMITS)}.", check=one_of(*RLIMITS)),
        required("soft", "The limit in effect; -1: none.", NUMBER, check=between(-1, _MOST_LIMIT)),
        required(
            "hard", "How far it may be raised; -1: none.", NUMBER, check=between(-1, _MOST_LIMIT)
        ),
    ),
    _once(
        "log",
        "The file with what the container prints.",
        defaulted("max_size", 10, "Largest size, in MiB.", of=NUMBER, check=between(1, 1024)),
        defaulted("max_files", 2, "How many files are kept.", of=NUMBER, check=between(1, 20)),
    ),
    Block(
        name="timeouts",
        nesting=Nesting.SINGLE,
        description="How long operations may take, such as 90s or 5m.",
        attributes=(
            optional("create", "10m by default.", check=_time),
            optional("update", "5m by default.", check=_time),
            optional("delete", "5m by default.", check=_time),
        ),
    ),
)
