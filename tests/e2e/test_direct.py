"""Direct paths between two homes behind NAT, as routes, walls and addresses come and go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator

import pytest

from tests.kit.nat_topology import PORT, Host, NatTopology, open_nat_topology
from tests.kit.network import block, unblock, why_not
from tests.kit.site import BIN
from tests.kit.terminal import Terminal
from tests.kit.waiting import wait_until

MISSING = why_not()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.timeout(180),
]
BOTH = ("10.9.0.1/24", "fd00:9::1/64"), ("10.9.0.2/24", "fd00:9::2/64")
ONLY_4 = ("10.9.0.1/24",), ("10.9.0.2/24",)
ONLY_6 = ("fd00:9::1/64",), ("fd00:9::2/64",)


@pytest.fixture(scope="module")
def topology() -> Iterator[NatTopology]:
    with open_nat_topology() as made:
        yield made


@pytest.fixture
def host(topology: NatTopology) -> Iterator[Host]:
    """The agent, which takes direct paths from private networks."""
    with topology.agent() as made:
        yield made


def test_behind_two_nats_there_is_the_relay_and_it_is_said_why(
    topology: NatTopology, host: Host
) -> None:
    assert topology.path() == f"relay (direct 10.2.0.2:{PORT}: no route)"
    status = topology.ask("status", "dev")
    assert status["path"]["kind"] == "relay"
    assert "no route" in status["path"]["reason"]


@pytest.mark.parametrize(
    ("ends", "addresses"),
    [(ONLY_4, ("10.9.0.2",)), (ONLY_6, ("[fd00:9::2]",)), (BOTH, ("10.9.0.2", "[fd00:9::2]"))],
)
def test_on_one_network_the_path_is_direct(
    topology: NatTopology,
    host: Host,
    ends: tuple[tuple[str, ...], tuple[str, ...]],
    addresses: tuple[str, ...],
) -> None:
    with topology.joined(*ends):
        path = topology.path()
        assert path.startswith(tuple(f"direct {address}:{PORT} (" for address in addresses))
        assert topology.ask("status", "dev")["path"]["kind"] == "direct"
        checks = {
            check["name"]: check["found"] for check in topology.ask("doctor", "dev")["checks"]
        }
        assert checks["direct path"].startswith("direct ")
        assert (
            "KLED_DIRECT is off"
            in topology.kled("ping", "dev", "-c", "1", env={"KLED_DIRECT": "off"}).stdout
        )


def test_a_profile_can_do_without(topology: NatTopology, host: Host) -> None:
    config = topology.site.home / ".config" / "kled" / "config.json"
    before = config.read_text()
    content = json.loads(before)
    content["profiles"]["default"]["direct"] = "off"
    config.write_text(json.dumps(content))
    try:
        with topology.joined(*ONLY_4):
            assert topology.path() == "relay (`direct` of profile default is off)"
            wanted = topology.kled("ping", "dev", "-c", "1", env={"KLED_DIRECT": "auto"})
            assert "path: direct 10.9.0.2" in wanted.stdout
    finally:
        config.write_text(before)


def diagnosis(topology: NatTopology) -> str:
    """The doctor's last line."""
    return topology.kled("doctor", "dev").stdout.splitlines()[-1]


@pytest.mark.parametrize(("verdict", "said"), [("drop", "timed out"), ("reject", "refused")])
def test_a_wall_before_the_agent_leaves_the_relay(
    topology: NatTopology, host: Host, verdict: str, said: str
) -> None:
    with topology.joined(*ONLY_4):
        block(topology.host, f"tcp dport {PORT}", verdict)
        try:
            assert f"10.9.0.2:{PORT}: {said}" in topology.path()
            summary = diagnosis(topology)
            assert "direct path: blocked (direct " in summary
            assert f"10.9.0.2:{PORT}: {said}); the relay is used instead" in summary
        finally:
            unblock(topology.host)


def test_an_agent_that_does_not_listen_says_so(topology: NatTopology) -> None:
    with topology.agent("off"), topology.joined(*ONLY_4):
        assert topology.path() == "relay (the agent offers no direct path: direct_listen is off)"
        # Nobody wanted one: the doctor has nothing to complain of.
        assert "direct path" not in diagnosis(topology)


class Transfer:
    """Bytes through `ssh dev.kled cat` until it is told to stop."""

    def __init__(self, topology: NatTopology, command: list[str]) -> None:
        with topology.client.entered():
            self._process = subprocess.Popen(
                command, env=topology.site.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        self._stop = threading.Event()
        self._sent, self._got = hashlib.sha256(), hashlib.sha256()
        self.sent_bytes = self.got_bytes = 0
        self._threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        assert self._process.stdin is not None
        block = os.urandom(1 << 20)
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            while not self._stop.is_set():
                piece = block[self.sent_bytes % 1000 :]
                pipe.write(piece)
                self._sent.update(piece)
                self.sent_bytes += len(piece)

    def _receive(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := os.read(pipe.fileno(), 1 << 20):
                self._got.update(data)
                self.got_bytes += len(data)

    def go_on(self) -> None:
        """Until some more has come back."""
        wanted = self.got_bytes + 5_000_000
        wait_until("the transfer goes on", lambda: self.got_bytes > wanted, within_s=40)

    def finish(self) -> None:
        """What came back is what went out, and all of it."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert self._process.wait(30) == 0
        assert (self.sent_bytes, self._sent.digest()) == (self.got_bytes, self._got.digest())

    def kill(self) -> None:
        self._stop.set()
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()


def commands(topology: NatTopology) -> dict[str, list[str]]:
    return {
        "openssh": [*topology.site.ssh_words(), "dev.kled", "cat"],
        "kled": [str(BIN / "kled"), "ssh", "-T", "dev", "cat"],
    }


@pytest.mark.parametrize("client", ["openssh", "kled"])
def test_a_running_transfer_moves_with_the_routes(
    topology: NatTopology, host: Host, client: str
) -> None:
    transfer = Transfer(topology, commands(topology)[client])
    try:
        transfer.go_on()
        assert host.count("stream_direct") == 0
        for times in (1, 2):
            with topology.joined(*BOTH):
                host.wait_for("stream_direct", times)
                transfer.go_on()
            host.wait_for("stream_resumed", times)
            transfer.go_on()
        transfer.finish()
    finally:
        transfer.kill()


@pytest.mark.parametrize("client", ["openssh", "kled"])
def test_a_path_that_falls_silent_is_given_up(
    topology: NatTopology, host: Host, client: str
) -> None:
    with topology.joined(*ONLY_4):
        transfer = Transfer(topology, commands(topology)[client])
        try:
            host.wait_for("stream_direct")
            transfer.go_on()
            block(topology.host, f"tcp dport {PORT}")
            try:
                host.wait_for("stream_resumed")
                transfer.go_on()
            finally:
                unblock(topology.host)
            host.wait_for("stream_direct", 2)
            transfer.go_on()
            transfer.finish()
        finally:
            transfer.kill()


def test_a_shell_lives_through_it_all(topology: NatTopology, host: Host) -> None:
    with topology.client.entered():
        terminal = Terminal([BIN / "kled", "ssh", "dev"], topology.site.env)
    try:
        terminal.type("stty -echo; echo up=$((20+1))\n")
        terminal.wait_for("up=21")
        with topology.joined(*ONLY_6):
            host.wait_for("stream_direct")
            terminal.type("echo direct=$((20+2))\n")
            terminal.wait_for("direct=22")
        terminal.type("echo relay=$((20+3))\n")
        terminal.wait_for("relay=23")
        host.wait_for("stream_resumed")
        terminal.type("exit 7\n")
        assert terminal.process.wait(20) == 7
        assert "connection is lost" not in terminal.text
    finally:
        terminal.close()


def test_a_direct_path_carries_on_without_the_coordinator(
    topology: NatTopology, host: Host
) -> None:
    with topology.joined(*ONLY_4):
        transfer = Transfer(topology, commands(topology)["openssh"])
        try:
            host.wait_for("stream_direct")
            with topology.coordinator.entered():
                topology.site.stop_serving()
                try:
                    transfer.go_on()
                finally:
                    topology.site.serve()
            host.wait_for("link_open", 2)
            transfer.finish()
        finally:
            transfer.kill()


# Not the same address twice: neighbours remember where they last saw it.
@pytest.mark.parametrize(
    ("client", "address"), [("openssh", "203.0.113.9"), ("kled", "203.0.113.10")]
)
def test_a_client_that_changes_its_network_is_back_at_once(
    topology: NatTopology, host: Host, client: str, address: str
) -> None:
    """It would take 15 s to find out by silence."""
    transfer = Transfer(topology, commands(topology)[client])
    try:
        transfer.go_on()
        interface = topology.network.plug(topology.internet, topology.client, f"{address}/24")
        try:
            host.wait_for("stream_resumed", within_s=8)
            transfer.go_on()
        finally:
            topology.client.ip("link", "del", interface)
        host.wait_for("stream_resumed", 2, within_s=8)
        transfer.go_on()
        transfer.finish()
    finally:
        transfer.kill()
