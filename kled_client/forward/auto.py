"""Decides which forwards `kled forward --auto` makes for the listening ports. No I/O."""

from __future__ import annotations

from kled_client.forward.spec import LOOPBACK, Forward, ForwardKind, TcpEnd
from kled_wire.ssh.subsystems import ReportedPort


def plan_auto(
    held: dict[int, int], ports: list[ReportedPort]
) -> tuple[list[ReportedPort], list[int]]:
    """What to forward from now on, and which of the held ports are gone.

    `held` is workspace port → local port. A workspace on this very machine would show us our own
    listeners: those are none of its programs.
    """
    ours = {local for port, local in held.items() if local != port}
    wanted = {port.port: port for port in ports if port.mine and port.port not in ours}
    return [p for n, p in wanted.items() if n not in held], [n for n in held if n not in wanted]


def auto_forward(port: ReportedPort, local: int) -> Forward:
    """The forward of one found port."""
    return Forward(
        kind=ForwardKind.LOCAL,
        listen=TcpEnd(host=LOOPBACK, port=local),
        target=TcpEnd(host=port.host, port=port.port),
    )
