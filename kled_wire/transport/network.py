"""Identifies the network of the machine, and detects its changes."""

from __future__ import annotations

import os
import socket
import sys
from typing import Final, Protocol

# <linux/rtnetlink.h>: IPv4 and IPv6 addresses and routes. Not links: Wi-Fi drivers report those
# every few seconds.
_GROUPS: Final = 0x10 | 0x40 | 0x100 | 0x400
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_NAMESPACE: Final = "/proc/thread-self/ns/net"
_READ_BYTES: Final = 65536
# Where tcpi_min_rtt is in struct tcp_info, <linux/tcp.h>: a u32, in microseconds.
_MIN_RTT: Final = 148


class TcpSocket(Protocol):
    """A TCP socket, of the standard library's or of Trio's."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """As socket.socket's."""


def place() -> str:
    """A name for this network stack, the same for all programs on it; empty where none is known.

    Hashed: a boot's id is nobody else's business.
    """
    import hashlib  # noqa: PLC0415 - 3 ms of `kled stream`, which mostly need not know

    try:
        with open(_BOOT_ID, "rb") as file:  # noqa: PTH123 - pathlib costs `kled stream` 5 ms
            boot = file.read()
        inode = os.stat(_NAMESPACE).st_ino  # noqa: PTH116
    except OSError:
        return ""
    return hashlib.sha256(b"kled-place-1\0%s%d" % (boot, inode)).hexdigest()[:16]


def is_astray(local: str, host: str) -> bool:
    """Whether a connection from our address `local` to `host` goes nowhere now. Sends nothing.

    The address is gone, or there is no route, or it would leave from another address. The last
    says nothing with IPv6, where new addresses come beside old ones that are still good.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            if family == socket.AF_INET:
                return str(probe.getsockname()[0]) != local
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((local, 0))
    except OSError:
        return True
    return False


def round_trip_s(connection: TcpSocket) -> float | None:
    """The shortest round trip that the kernel has lately seen on a TCP connection; Linux only."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT + 4)
    except OSError:
        return None
    if len(info) < _MIN_RTT + 4:
        return None
    microseconds = int.from_bytes(info[_MIN_RTT : _MIN_RTT + 4], sys.byteorder)
    # All ones: nothing has been measured yet.
    return microseconds / 1e6 if microseconds < 2**32 - 1 else None


def open_watch() -> socket.socket | None:
    """A non-blocking socket that is readable once addresses or routes have changed; else None.

    rtnetlink(7) on Linux, a routing socket (route(4)) on BSD and macOS; both need no rights.
    """
    try:
        if hasattr(socket, "AF_NETLINK"):
            watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            watch.bind((0, _GROUPS))
        elif hasattr(socket, "AF_ROUTE"):
            watch = socket.socket(socket.AF_ROUTE, socket.SOCK_RAW)
        else:
            return None
    except OSError:
        return None
    watch.setblocking(False)
    return watch


def drain(watch: socket.socket) -> None:
    """Take all that has been reported: only that there was something matters."""
    while True:
        try:
            watch.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            continue  # ENOBUFS: some reports were lost, so there were some
