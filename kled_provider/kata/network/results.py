"""What a CNI plugin answers: a result or an error (CNI specification 1.0.0, section 5)."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

MAX_ANSWER_BYTES = 1 << 20


class Subject(enum.Enum):
    """What an error is about, so that a resource can point at the attribute."""

    NETWORK = "network"
    ADDRESS = "address"
    PORT = "port"


class NetworkError(Exception):
    """A network could not be made or used. `index` counts ports or networks of the container."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        subject: Subject = Subject.NETWORK,
        index: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.subject = subject
        self.index = index


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerAddress:
    """One address of an interface; `address` is without, `prefix` the length of its subnet's."""

    interface: str
    address: str
    prefix: int
    gateway: str | None
    mac: str | None


def parse_result(answer: bytes) -> dict[str, Any]:
    """Read a plugin's result, which the next plugin gets as it is. Raises NetworkError."""
    if len(answer) > MAX_ANSWER_BYTES:
        raise NetworkError(f"a CNI plugin answered with {len(answer)} bytes")
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"a CNI plugin answered what is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise NetworkError("a CNI plugin answered what is no JSON object")
    return found


def addresses(result: Mapping[str, Any], interface: str) -> tuple[ContainerAddress, ...]:
    """Return the addresses within the container. Raises NetworkError for what is no result."""
    interfaces = result.get("interfaces") or []
    mac = next((i.get("mac") for i in interfaces if i.get("sandbox")), None)
    found = []
    try:
        for entry in result.get("ips") or []:
            address = ip_interface(str(entry["address"]))
            found.append(
                ContainerAddress(
                    interface=interface,
                    address=str(address.ip),
                    prefix=address.network.prefixlen,
                    gateway=entry.get("gateway"),
                    mac=mac,
                )
            )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NetworkError(f"a CNI plugin answered addresses that are none: {error}") from error
    return tuple(found)


def parse_error(plugin: str, command: str, code: int, answer: bytes, said: bytes) -> NetworkError:
    """Make the error of what a plugin answered; `code` is its exit code, `said` its stderr."""
    try:
        found = json.loads(answer)
        text = ": ".join(filter(None, (str(found["msg"]), str(found.get("details") or ""))))
    except (ValueError, KeyError, TypeError, RecursionError):
        text = (said or answer).decode("utf-8", "replace").strip() or f"it ended with code {code}"
    text = "".join(c if c.isprintable() else " " for c in text)[:1000]
    for words, subject, message, hint in _KNOWN:
        if words in text:
            return NetworkError(message.format(text=text), hint, subject=subject)
    return NetworkError(
        f"CNI plugin {plugin} refuses {command}: {text}",
        "The network's conflist, and `cnitool` with it, show more.",
    )


def is_of_something_gone(error: NetworkError) -> bool:
    """Whether a DEL failed because what it was to delete is not there, which is no failure.

    Plugins should not fail then (specification, "DEL"); those that run iptables do.
    """
    return any(words in error.message for words in _GONE)


# The messages of iptables about missing chains and rules, of its nf_tables and legacy variants.
_GONE = ("does not exist", "No chain/target/match by that name", "does a matching rule exist")
# Sentences of the plugins of containernetworking (plugins/ipam/host-local/backend/allocator,
# plugins/meta/portmap), and what they mean.
_KNOWN = (
    (
        "no IP addresses available in range set",
        Subject.NETWORK,
        "the network has no address left: {text}",
        "Give it a larger subnet, or end containers of it.",
    ),
    (
        "is not available in range set",
        Subject.ADDRESS,
        "{text}",
        "Another container has it: leave the address out, or choose one that is free.",
    ),
    (
        "not all requested IPs could be allocated",
        Subject.ADDRESS,
        "{text}",
        "Leave the address out, or choose one of the network's subnet.",
    ),
    (
        "is subnet's gateway",
        Subject.ADDRESS,
        "{text}",
        "Leave the address out, or choose another one of the network's subnet.",
    ),
    (
        "requested address is not",
        Subject.ADDRESS,
        "{text}",
        "Choose one of the network's subnet.",
    ),
    (
        "iptables",
        Subject.NETWORK,
        "a CNI plugin could not set its rules: {text}",
        "Install iptables, and see that its modules are there.",
    ),
)
