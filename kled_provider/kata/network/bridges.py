"""Takes a network's bridge away (netdevice(7), linux/sockios.h): CNI's plugin only makes one."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCBRDELBR = 0x89A1
_IFF_UP = 1
_REQUEST = struct.Struct("16sh14x")  # struct ifreq with ifr_flags
_GONE = (errno.ENODEV, errno.ENXIO)


def remove_bridge(name: str) -> None:
    """Remove a bridge of the calling thread's network; one that is gone is no error.

    Raises OSError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            request = _REQUEST.pack(name.encode(), 0)
            _, flags = _REQUEST.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
            down = _REQUEST.pack(name.encode(), flags & ~_IFF_UP)
            fcntl.ioctl(sock, _SIOCSIFFLAGS, down)
            fcntl.ioctl(sock, _SIOCBRDELBR, name.encode() + b"\0")
        except OSError as error:
            if error.errno not in _GONE:
                raise
