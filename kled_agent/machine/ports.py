"""The listening ports of this machine, with their programs: /proc/net/tcp and tcp6 (proc(5)).

The text is parsed without I/O; reading it and looking for whose socket it is blocks, and belongs
into a thread. Other users' programs stay nameless to an agent that is not root.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"  # include/net/tcp_states.h, TCP_LISTEN
_TABLES: Final = (("net/tcp", socket.AF_INET), ("net/tcp6", socket.AF_INET6))
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSocket:
    """A listening socket, as in one line of the kernel's table."""

    address: str
    port: int
    uid: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningPort:
    """A listening port with its addresses. `process` and `pid` are set where they can be known."""

    port: int
    addresses: tuple[str, ...]
    uid: int
    process: str | None
    pid: int | None


def parse_table(text: str, family: socket.AddressFamily) -> Iterator[ListeningSocket]:
    """The listening sockets in a table; lines that are none are left out."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        address, _, port = fields[1].partition(":")
        try:
            yield ListeningSocket(
                address=_address(address, family),
                port=int(port, 16),
                uid=int(fields[7]),
                inode=int(fields[9]),
            )
        except ValueError:
            continue


def _address(digits: str, family: socket.AddressFamily) -> str:
    """Words of 32 bits, each in the byte order of the machine, which is little on all of ours."""
    raw = bytes.fromhex(digits)
    words = [raw[start : start + 4][::-1] for start in range(0, len(raw), 4)]
    try:
        return socket.inet_ntop(family, b"".join(words))
    except (OSError, ValueError) as exc:
        raise ValueError(digits) from exc


def merge(
    sockets: Iterable[ListeningSocket], owners: dict[int, tuple[int, str]]
) -> tuple[ListeningPort, ...]:
    """One entry for a port, sorted; `owners` is inode → process id and name."""
    by_port: dict[int, list[ListeningSocket]] = {}
    for found in sockets:
        by_port.setdefault(found.port, []).append(found)
    merged = []
    for port, group in sorted(by_port.items()):
        pid, name = next((owners[s.inode] for s in group if s.inode in owners), (None, None))
        merged.append(
            ListeningPort(
                port=port,
                addresses=tuple(sorted({s.address for s in group})),
                uid=group[0].uid,
                process=name,
                pid=pid,
            )
        )
    return tuple(merged)


class PortReader:
    """Reads the listening ports, and looks for the owners of new sockets only. For one thread."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._owners: dict[int, tuple[int, str]] = {}
        self._known: frozenset[int] = frozenset()

    def read(self) -> tuple[ListeningPort, ...]:
        """What listens now; nothing where there is no such /proc. Blocks for milliseconds."""
        sockets = [found for name, family in _TABLES for found in self._table(name, family)]
        inodes = frozenset(found.inode for found in sockets)
        if inodes - self._known:
            self._owners = self._find_owners(inodes)
        self._known = inodes
        return merge(sockets, self._owners)

    def _table(self, name: str, family: socket.AddressFamily) -> Iterator[ListeningSocket]:
        try:
            text = (self._proc / name).read_text("ascii", "replace")
        except OSError:
            return iter(())
        return parse_table(text, family)

    def _find_owners(self, inodes: frozenset[int]) -> dict[int, tuple[int, str]]:
        owners: dict[int, tuple[int, str]] = {}
        for process in self._proc.iterdir():
            if not process.name.isdecimal():
                continue
            for inode in _sockets_of(process) & inodes:
                owners.setdefault(inode, (int(process.name), _name(process)))
        return owners


def _sockets_of(process: Path) -> set[int]:
    found = set()
    # The process may end meanwhile, close descriptors, or belong to another user.
    with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if match := _SOCKET.fullmatch(os.readlink(entry.path)):  # noqa: PTH115  # speed
                    found.add(int(match[1]))
    return found


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
