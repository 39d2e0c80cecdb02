"""What the blocks of `kata_container` may not say together. No I/O; values may be unknown."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from typing import Final

from kled_provider.kata.network.files import ip_problem
from kled_provider.kata.network.ports import PublishedPort
from kled_provider.plugin.diagnostics import Diagnostic
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.values import Values, is_known

BUNDLE: Final = "/opt/kled"
SECRETS: Final = "/run/kled"
PLACES: Final = (("volume", "target"), ("mount", "target"), ("tmpfs", "target"),
                  ("upload", "file"), ("device", "target"))  # fmt: skip
_CONTENTS: Final = ("content", "content_base64", "source")
# Terraform sends an object several times in one message, which may have 64 MiB.
_UPLOADS_BYTES: Final = 8 << 20


def block_problems(config: Values) -> Iterator[Diagnostic]:
    """Say what no single block tells."""
    yield from _same_places(config)
    yield from _uploads(config)
    yield from _size_of_uploads(config)
    yield from _rlimits(config)
    yield from _networks(config)
    yield from _ports(config)


def place_in_container(path: str) -> str:
    """Return the one way to write an absolute path, which POSIX lets begin with two slashes."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _same_places(config: Values) -> Iterator[Diagnostic]:
    # The program that starts an agent, or reads a secret environment, is needed for these
    # (program.py).
    needed = any(config[name] is not None for name in ("agent", "env_sensitive"))
    taken = dict.fromkeys((BUNDLE, SECRETS), "agent") if needed else {}
    for block, attribute in PLACES:
        for index, item in _blocks(config, block):
            named = item[attribute]
            if not isinstance(named, str):
                continue
            place = place_in_container(named)
            if place in taken:
                detail = f"A block `{taken[place]}` has {place} already: only one would be seen."
                yield _problem("One place is taken twice", detail, (block, index, attribute))
            taken.setdefault(place, block)


def _uploads(config: Values) -> Iterator[Diagnostic]:
    for index, item in _blocks(config, "upload"):
        if sum(item[name] is not None for name in _CONTENTS) != 1:
            detail = "Set one of `content`, `content_base64` and `source`."
            yield _problem("An upload has one content", detail, ("upload", index))


def _size_of_uploads(config: Values) -> Iterator[Diagnostic]:
    texts = (item[name] for _, item in _blocks(config, "upload") for name in _CONTENTS[:2])
    size = sum(len(text.encode()) for text in texts if isinstance(text, str))
    if size > _UPLOADS_BYTES:
        detail = (
            f"Together they have {size} bytes; at most {_UPLOADS_BYTES} are taken. Use a volume."
        )
        yield _problem("The uploads are too large", detail, ("upload",))


def _rlimits(config: Values) -> Iterator[Diagnostic]:
    seen = set()
    for index, item in _blocks(config, "rlimit"):
        name, soft, hard = item["name"], item["soft"], item["hard"]
        if isinstance(name, str) and name in seen:
            detail = f"There is a limit of {name} already."
            yield _problem("A limit is said twice", detail, ("rlimit", index, "name"))
        seen.add(name if isinstance(name, str) else None)
        if is_known([soft, hard]) and _limit(soft) > _limit(hard):
            detail = f"`soft` is at most `hard` (setrlimit(2)); got {soft} and {hard}."
            yield _problem("A limit is above what it may be", detail, ("rlimit", index, "soft"))


def _networks(config: Values) -> Iterator[Diagnostic]:
    seen = set()
    for index, item in _blocks(config, "network"):
        network = item["network"]
        if isinstance(network, str) and network in seen:
            detail = f"The container is in the network {network!r} already: name each once."
            yield _problem("A network is joined twice", detail, ("network", index, "network"))
        seen.add(network if isinstance(network, str) else None)


def _ports(config: Values) -> Iterator[Diagnostic]:
    if config["port"] and config["network"] == []:
        detail = "Ports lead to the first network of a container: add a `network` block."
        yield _problem("A port needs a network", detail, ("port", 0))
    seen: list[PublishedPort] = []
    for index, item in _blocks(config, "port"):
        if not is_known(item) or None in (item["internal"], item["external"]):
            continue
        if item["ip"] and ip_problem(item["ip"]):
            continue
        port = PublishedPort(
            host_port=int(item["external"]),
            container_port=int(item["internal"]),
            protocol=item["protocol"] or "tcp",
            host_address=item["ip"] or "",
        )
        if any(port.collides(other) for other in seen):
            detail = (
                f"Port {port.host_port}/{port.protocol} of this machine leads to the container "
                "already: choose another port, or leave this one out."
            )
            yield _problem("A port is taken twice", detail, ("port", index, "external"))
        seen.append(port)


def _limit(value: float) -> float:
    return math.inf if value < 0 else value


def _blocks(config: Values, name: str) -> Iterator[tuple[int, Values]]:
    found = config[name]
    for index, item in enumerate(found if isinstance(found, list) else ()):
        if isinstance(item, dict):
            yield index, item


def _problem(summary: str, detail: str, path: AttributePath) -> Diagnostic:
    return Diagnostic(summary=summary, detail=detail, path=path)
