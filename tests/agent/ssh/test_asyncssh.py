"""What we know of asyncssh's inside is of one version: another is looked at first."""

from __future__ import annotations

import hashlib
import inspect
import tomllib
from pathlib import Path

import asyncssh
import pytest
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection, SSHServerConnection
from asyncssh.encryption import GCMEncryption
from packaging.requirements import Requirement

KNOWN = "2.24"

# Not inside a test: whoever has another asyncssh sees this first, and not fifty failures.
assert asyncssh.__version__.startswith(f"{KNOWN}."), (
    f"asyncssh {asyncssh.__version__} is not {KNOWN}.x: kled_agent/ssh replaces parts of it by"
    " their private names; follow docs/asyncssh.md"
)

# What fastpath.py, window.py and server.py replace, or call by a private name: a digest of its
# source.
INSIDE = {
    SSHConnection.send_packet: "fb9da7bec6dd395a",
    SSHConnection._recv_pkthdr: "7adc4d88fe20593c",
    SSHConnection._recv_packet: "b3daa22e9763eee9",
    SSHConnection._choose_alg: "539a102decdbce87",
    SSHServerConnection.choose_server_host_key: "bba591c6ea86a53b",
    SSHServerConnection.validate_public_key: "eb5e224339282892",
    SSHServerConnection.create_tcp_channel: "95f3866de1ad5601",
    SSHServerConnection.create_unix_channel: "5aa961283c7b0cd2",
    SSHServerConnection.create_agent_listener: "cb684d65dcc04fc5",
    SSHChannel._accept_data: "33121e9e185c9850",
    SSHChannel._process_data: "342490795c4b893c",
    SSHChannel._deliver_data: "bd94ccbaa59ab510",
    SSHChannel._close_send: "5dcbc60194d9a29b",
    SSHChannel.process_connection_close: "a9a665f08780e013",
    GCMEncryption: "d255f9e6b1fa73ee",
}


def digest(part: object) -> str:
    return hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16]  # type: ignore[arg-type]  # a class or a function


@pytest.mark.parametrize("part", INSIDE, ids=lambda part: part.__qualname__)
def test_what_is_replaced_is_what_it_was(part: object) -> None:
    assert digest(part) == INSIDE[part], "it has changed: follow docs/asyncssh.md"


def test_no_other_version_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    [bound] = [
        found.specifier
        for found in map(Requirement, project["dependencies"])
        if found.name == "asyncssh"
    ]
    assert f"{KNOWN}.1" in bound
    major, minor = KNOWN.split(".")
    assert f"{major}.{int(minor) + 1}" not in bound
    assert f"{int(major) + 1}.0" not in bound
