"""A slow and lossy link between two namespaces: delay, jitter, loss, rate; changed as it runs.

    with slow_link(client, internet, ("192.0.2.2/24",), ("192.0.2.1/24",), delay_ms=50) as link:
        …
        link.set(loss=0.02, rate_mbit=20)
        link.set(down=True)

Stands in for `tc netem`, which needs a kernel module that many machines do not have: two TUN
devices (Documentation/networking/tuntap.rst), and a process that carries packets between them
(`tests.kit.slowlink_carrier`). Figures are for one way; a round trip takes `delay_ms` twice. Some
ten thousand packets a second get through; where bulk counts more than the number of packets, give a
larger `mtu`. `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit import network
from tests.kit.network import Namespace

_DEVICE = Path("/dev/net/tun")
_CARRIER = Path(__file__).with_name("slowlink_carrier.py")
_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFREQ = "16sH22x"


def why_not() -> str:
    """Why there can be no such link here; empty where there can."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"needs {_DEVICE}"
    return network.why_not()


@dataclass(kw_only=True, eq=False)
class SlowLink:
    """The link and the interface at either end. Made by `slow_link`."""

    left: str
    right: str
    _carrier: subprocess.Popen[bytes]

    def set(self, **conditions: float) -> None:
        """Change some of `slow_link`'s conditions; holds for packets that set out from now on.

        `down=True` carries nothing, with the interfaces up all the same, as a dead access point.
        """
        assert self._carrier.stdin is not None
        assert self._carrier.stdout is not None
        self._carrier.stdin.write(json.dumps(conditions).encode() + b"\n")
        self._carrier.stdin.flush()
        assert self._carrier.stdout.readline(), "the link's process has ended"


@contextlib.contextmanager
def slow_link(
    left: Namespace,
    right: Namespace,
    left_addresses: tuple[str, ...] = (),
    right_addresses: tuple[str, ...] = (),
    *,
    mtu: int = 1500,
    **conditions: float,
) -> Iterator[SlowLink]:
    """Make the link; it and its interfaces go at the end of the block.

    Conditions: `delay_ms`, `jitter_ms` (up to so much more, nothing is reordered), `loss` (a
    fraction), `rate_mbit` (0: no limit), `down`.
    """
    with contextlib.ExitStack() as stack:
        ends = []
        for namespace in (left, right):
            name = namespace.free_name()
            descriptor = _open_device(namespace, name)
            stack.callback(os.close, descriptor)
            namespace.ip("link", "set", name, "mtu", str(mtu))
            ends.append((name, descriptor))
        descriptors = [descriptor for _, descriptor in ends]
        carrier = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", _CARRIER, *map(str, descriptors)],
                pass_fds=descriptors,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(carrier.kill)
        link = SlowLink(left=ends[0][0], right=ends[1][0], _carrier=carrier)
        link.set(**conditions)
        left.up(link.left, *left_addresses)
        right.up(link.right, *right_addresses)
        yield link


def _open_device(namespace: Namespace, name: str) -> int:
    """A TUN device; it is there for as long as somebody has the descriptor."""
    with namespace.entered():
        # The device belongs to the namespace in which the file was opened.
        descriptor = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack(_IFREQ, name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor
