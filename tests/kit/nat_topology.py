"""Two homes behind NAT and a coordinator on the internet between them, with the real programs.

                      203.0.113.0/24 (the internet)
         coordinator .1        .2 router        .3 router
                                  │ 10.1.0.0/24    │ 10.2.0.0/24
                               client .2         agent .2

`NatTopology.join` adds a link between client and agent; the agent is one that somebody started on a
machine of theirs.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.kit.authority import issue
from tests.kit.network import Link, Namespace, Network, masquerade, open_network, route
from tests.kit.processes import running
from tests.kit.site import BIN, Site, open_site
from tests.kit.sockets import free_port
from tests.kit.waiting import wait_until

PORT = 40022
_ADDRESS = "203.0.113.1"
_TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
data "kled_workspace" "me" {}
resource "kled_agent" "main" { name = "main" }
"""


@dataclass(kw_only=True)
class Host:
    """A machine with an agent on it. Made by `NatTopology.agent`."""

    process: subprocess.Popen[bytes]
    log: Path
    spawn: Callable[[], subprocess.Popen[bytes]]

    def kill(self) -> None:
        """End the agent's process as a crash does."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Another agent after `kill`; returns when it is connected."""
        before = self.count("link_open")
        self.process = self.spawn()
        self.wait_for("link_open", before + 1)

    def count(self, event: str) -> int:
        """How often the agent has logged something."""
        return sum(event in line.split() for line in self.log.read_text().splitlines())

    def wait_for(self, event: str, times: int = 1, *, within_s: float = 30.0) -> None:
        """Until it has logged something so often."""
        wait_until(f"{event} {times} times", lambda: self.count(event) >= times, within_s=within_s)


@dataclass(kw_only=True)
class NatTopology:
    """Made by `open_nat_topology`. `site`'s programs run where the thread is, see `entered`."""

    network: Network
    internet: Namespace
    coordinator: Namespace
    client: Namespace
    host: Namespace
    # Where the two go out.
    client_router: Namespace
    host_router: Namespace
    site: Site

    def kled(self, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `kled` at the client's."""
        with self.client.entered():
            return self.site.kled(*words, **options)

    def ask(self, *words: str) -> Any:
        """Run `kled --output json` there."""
        with self.client.entered():
            return self.site.ask(*words)

    def path(self) -> str:
        """What `kled ping` says of the path."""
        last = self.kled("ping", "dev", "-c", "1").stdout.splitlines()[-1]
        return last.removeprefix("path: ")

    @contextlib.contextmanager
    def agent(self, listen: str = "private", **settings: str) -> Iterator[Host]:
        """The agent of `dev`, started on its host."""
        wanted = {
            "KLED_AGENT_STATE_DIR": str(self.site.root / "agent"),
            "KLED_AGENT_DIRECT_LISTEN": listen,
            "KLED_AGENT_DIRECT_BIND": f"[::]:{PORT}",
            **settings,
        }
        token = self.site.root / "agent.env"
        self.kled("workspace", "agent-token", "dev", "--output-file", token)
        wanted |= dict(line.split("=", 1) for line in token.read_text().split())
        log = Path(tempfile.mkstemp(prefix="agent", suffix=".log", dir=self.site.root)[1])

        def spawn() -> subprocess.Popen[bytes]:
            with log.open("ab") as out, self.host.entered():
                return subprocess.Popen(
                    [BIN / "kled-agent"], env={**self.site.env, **wanted}, stdout=out, stderr=out
                )

        host = Host(process=spawn(), log=log, spawn=spawn)
        try:
            host.wait_for("link_open")
            yield host
        finally:
            host.process.terminate()
            host.process.wait(30)

    @contextlib.contextmanager
    def joined(self, client: tuple[str, ...], host: tuple[str, ...]) -> Iterator[Link]:
        """A link between the two, with these addresses at its ends."""
        link = self.network.link(self.client, self.host, client, host)
        try:
            yield link
        finally:
            self.cut(link)

    def relays(self) -> list[psutil.Process]:
        """The relay processes, those that a coordinator has left among them."""
        return self._running("kled_coord.relay.splice.splicer")

    def offloads(self) -> list[psutil.Process]:
        """The offload processes, likewise."""
        return self._running("kled_coord.offload.server")

    def _running(self, module: str) -> list[psutil.Process]:
        return running(module, self.site.processes())

    def end_streams(self) -> None:
        """Those of clients that have vanished would go on until TCP gives them up."""
        for process in (*self.relays(), *self.offloads()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def cut(self, link: Link) -> None:
        """Remove the link; once more is nothing."""
        with contextlib.suppress(AssertionError):
            self.client.ip("link", "del", link.left)


@contextlib.contextmanager
def open_nat_topology(*, tls: bool = False) -> Iterator[NatTopology]:
    """All of it, with the person signed in and a workspace `dev` that waits for its agent.

    With `tls`, TLS ends at the coordinator.
    """
    with open_network() as network, tempfile.TemporaryDirectory() as directory:
        internet, coordinator = network.bridge("internet"), network.add("coord")
        network.plug(internet, coordinator, f"{_ADDRESS}/24")
        homes, routers = [], []
        for number, name in ((1, "client"), (2, "agent")):
            router, home = network.add(f"{name}-router"), network.add(name)
            outside = network.plug(internet, router, f"203.0.113.{number + 1}/24")
            network.link(router, home, (f"10.{number}.0.1/24",), (f"10.{number}.0.2/24",))
            route(home, f"10.{number}.0.1")
            masquerade(router, outside)
            homes.append(home)
            routers.append(router)
        template = Path(directory, "template")
        template.mkdir()
        (template / "main.tf").write_text(_TEMPLATE)
        settings, trust = _secured(Path(directory)) if tls else ({}, {})
        settings |= {"KLED_COORD_HOST": "0.0.0.0", "KLED_COORD_PORT": str(free_port())}
        with contextlib.ExitStack() as stack:
            with coordinator.entered():
                site = stack.enter_context(
                    open_site(
                        settings=settings,
                        environment=trust,
                        access_url=f"http{'s' if tls else ''}://{_ADDRESS}:{{port}}",
                        template=template,
                        name="host",
                    )
                )
            client, host = homes
            topology = NatTopology(
                network=network,
                internet=internet,
                coordinator=coordinator,
                client=client,
                host=host,
                client_router=routers[0],
                host_router=routers[1],
                site=site,
            )
            topology.kled("create", "dev", "--template", "host", "--no-wait")
            wait_until("dev runs", lambda: topology.ask("show", "dev")["status"] == "running")
            try:
                yield topology
            finally:
                topology.end_streams()
                with coordinator.entered():
                    stack.close()


def _secured(directory: Path) -> tuple[dict[str, str], dict[str, str]]:
    """What a coordinator needs for TLS, and everybody else to trust it."""
    certificates = issue(directory, _ADDRESS)
    settings = {
        "KLED_COORD_TLS_CERT_FILE": str(certificates.chain),
        "KLED_COORD_TLS_KEY_FILE": str(certificates.key),
    }
    return settings, {"SSL_CERT_FILE": str(certificates.authority)}
