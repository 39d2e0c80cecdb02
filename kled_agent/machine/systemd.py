"""Reports the state to systemd: sd_notify(3) without a library."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send `state` ("READY=1", "STOPPING=1") to $NOTIFY_SOCKET; nothing without one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # A leading @ stands for the abstract namespace.
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            link.sendto(state.encode(), address)
        except OSError:
            return  # the service manager has gone; there is nobody to tell
