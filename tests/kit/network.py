"""Networks of one test's own: namespaces, links, bridges and NAT routers (ip-netns(8), nft(8)).

    with open_network() as network:
        public, client = network.add("public"), network.add("client")
        network.link(public, client, "203.0.113.1/24", "203.0.113.2/24", "2001:db8::1/64", …)
        with client.entered():
            subprocess.run(["ping", "-c", "1", "203.0.113.1"])

Only for root on Linux with iproute2 and nftables; `why_not` says what is missing. Names hold the
process's id, so that several test runs share a machine; everything is gone at the end of the block.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trio

from tests.kit.waiting import wait_until

_PROGRAMS = ("ip", "nft")
_CLONE_NEWNET = 0x40000000  # <sched.h>
_HERE = Path("/proc/thread-self/ns/net")


def why_not() -> str:
    """Why no network can be made here; empty where one can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    probe = f"klprobe{os.getpid()}"
    done = subprocess.run(
        ["ip", "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"no network namespaces: {done.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


@dataclass(kw_only=True, eq=False)
class Namespace:
    """One machine on the network. Made by `Network.add`."""

    name: str
    _links: int = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's sockets are made in the namespace, and so are programs it starts."""
        before = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _set_namespace(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _set_namespace(before)
                _take_back_threads(before)
        finally:
            os.close(before)

    def ip(self, *words: str) -> None:
        """`ip` in the namespace: links, addresses, routes. The words as ip-route(8) has them."""
        _ip("-n", self.name, *words)

    def nft(self, rules: str) -> None:
        """Add to the namespace's rules (nft(8))."""
        with self.entered():
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def set(self, name: str, value: str) -> None:
        """A sysctl of the namespace, `net.ipv4.ip_forward`."""
        with self.entered():
            # A thread's view of /proc/sys/net is that of its own namespace.
            Path("/proc/sys", *name.split(".")).write_text(value)

    def free_name(self) -> str:
        """The name of the next interface."""
        self._links += 1
        return f"e{self._links}"

    def up(self, interface: str, *addresses: str) -> None:
        """Give an interface its addresses and start it; IPv6 ones can be used at once."""
        for address in addresses:
            # No duplicate address detection: it takes seconds, and there are no duplicates.
            quick = ("nodad",) if ":" in address else ()
            self.ip("address", "add", address, "dev", interface, *quick)
        self.ip("link", "set", interface, "up")

    def pids(self) -> list[int]:
        """The processes whose network this is."""
        done = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        return [int(word) for word in done.stdout.split()]


@dataclass(kw_only=True)
class Link:
    """A link between two namespaces: the interface at either end."""

    left: str
    right: str


@dataclass(kw_only=True)
class Network:
    """The namespaces of one test. Made by `open_network`."""

    _made: list[Namespace] = field(default_factory=list)

    def add(self, name: str) -> Namespace:
        """A namespace with its loopback interface up and no address of its own but that."""
        made = Namespace(name=f"kl{os.getpid()}-{len(self._made)}-{name}")
        _ip("netns", "add", made.name)
        self._made.append(made)
        made.ip("link", "set", "lo", "up")
        return made

    def link(
        self,
        left: Namespace,
        right: Namespace,
        left_addresses: tuple[str, ...] = (),
        right_addresses: tuple[str, ...] = (),
    ) -> Link:
        """A link; addresses with their prefix lengths, `10.0.0.1/24`, `fd00::1/64`."""
        names = _lay(left, right)
        left.up(names.left, *left_addresses)
        right.up(names.right, *right_addresses)
        return names

    def bridge(self, name: str) -> Namespace:
        """A switch; `plug` connects namespaces to it."""
        made = self.add(name)
        made.ip("link", "add", "br0", "type", "bridge")
        made.ip("link", "set", "br0", "up")
        return made

    def plug(self, switch: Namespace, member: Namespace, *addresses: str) -> str:
        """Connect `member` to a `bridge`; returns the member's interface."""
        names = _lay(switch, member)
        # First the switch, so that nothing is lost that a member sends as soon as it is up.
        switch.ip("link", "set", names.left, "master", "br0")
        switch.up(names.left)
        member.up(names.right, *addresses)
        return names.right

    def close(self) -> None:
        """End what runs in the namespaces, and remove them."""
        for made in self._made:
            for pid in made.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for made in self._made:
            wait_until(f"nothing runs in {made.name}", lambda made=made: not made.pids())  # type: ignore[misc]  # the name is bound now
            _ip("netns", "del", made.name)
        self._made.clear()


@contextlib.contextmanager
def open_network() -> Iterator[Network]:
    """An empty network. Nothing of it stays."""
    network = Network()
    try:
        yield network
    finally:
        network.close()


def route(namespace: Namespace, gateway: str, destination: str = "default") -> None:
    """Send what goes to `destination` to a neighbour, of either family."""
    namespace.ip(*_family(gateway), "route", "replace", destination, "via", gateway)


def unroute(namespace: Namespace, destination: str = "default") -> None:
    """Take such a route away."""
    namespace.ip(*_family(destination), "route", "del", destination)


def forward(router: Namespace) -> None:
    """Let a namespace pass on what is not for itself."""
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        router.set(name, "1")


def masquerade(router: Namespace, outside: str) -> None:
    """NAT as at home: out with the router's address, in only what belongs to a connection."""
    forward(router)
    router.nft(f"""
        table inet nat {{
            chain postrouting {{
                type nat hook postrouting priority 100;
                oifname "{outside}" masquerade
            }}
            chain forward {{
                type filter hook forward priority 0; policy accept;
                iifname "{outside}" ct state established,related accept
                iifname "{outside}" drop
            }}
        }}
    """)


def block(namespace: Namespace, what: str, verdict: str = "drop") -> None:
    """A firewall in front of a namespace: `what` in nft's words, `tcp dport 22`; drop or reject."""
    namespace.nft(f"""
        table inet wall {{
            chain input {{
                type filter hook input priority 0; policy accept;
                {what} {verdict}
            }}
        }}
    """)


def unblock(namespace: Namespace) -> None:
    """Take `block` back."""
    namespace.nft("delete table inet wall\n")


def _lay(left: Namespace, right: Namespace) -> Link:
    """A veth pair whose ends are not yet in use."""
    names = Link(left=left.free_name(), right=right.free_name())
    _ip(
        *("link", "add", names.left, "netns", left.name, "type", "veth"),
        *("peer", "name", names.right, "netns", right.name),
    )
    return names


def _family(address: str) -> tuple[str, ...]:
    if address == "default":
        return ()
    return ("-6",) if ipaddress.ip_interface(address).version == 6 else ()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


def _take_back_threads(descriptor: int) -> None:
    """Trio keeps threads for the next tests; those begun in a namespace are still in it."""
    count = threading.active_count()  # at least as many as are idle: each takes one of the jobs
    together = threading.Barrier(count + 1, timeout=20)

    def take_back() -> None:
        _set_namespace(descriptor)
        together.wait()

    for _ in range(count):
        trio.lowlevel.start_thread_soon(take_back, lambda outcome: outcome.unwrap())
    together.wait()


def _set_namespace(descriptor: int) -> None:
    """setns(2), which moves the calling thread alone; os.setns comes with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
