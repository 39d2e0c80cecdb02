"""A coordinator with a workspace, and beside it an OpenSSH bastion: both on loopback.

Both shells skip ~/.bashrc (the workspace uses /bin/sh; sshd says SHLVL=5, with which bash does not
think it is a login), because a slow one would drown what is measured. Both use one cipher.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.kit.authority import issue

ROOT = Path(__file__).resolve().parent.parent.parent
CIPHER = "aes128-gcm@openssh.com"
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where everything is. `ours` and `peer` are ssh commands up to the remote command."""

    directory: Path
    url: str
    environment: dict[str, str]
    coordinator: int
    workspace: str
    ours: list[str]

    def ours_beside_others(self) -> list[str]:
        """`ours` with what it needs of the environment, where more than one world is open."""
        needed = ("KLED_CONFIG_DIR", "SSL_CERT_FILE")
        found = [f"{n}={self.environment[n]}" for n in needed if n in self.environment]
        return ["env", *found, *self.ours]

    def through(self, *options: str) -> list[str]:
        """`ours_beside_others` through `kled stream` with these options."""
        *ssh, host = self.ours_beside_others()
        fdpass = "yes" if "--fdpass" in options else "no"
        proxy = f"{program('kled')} stream {' '.join(options)} %h"
        return [*ssh, "-o", f"ProxyUseFdpass={fdpass}", "-o", f"ProxyCommand={proxy}", host]

    def kled(self, *arguments: str) -> str:
        """Run `kled` and return what it prints."""
        return _run([program("kled"), *arguments], self.environment)

    def push_template(self, environment: Mapping[str, str]) -> None:
        """Push the template `bench`: the shipped one with /bin/sh as the shell.

        `environment` is more of the agent's.
        """
        template = self.directory / "bench"
        shutil.copytree(ROOT / "templates" / "process", template)
        main = template / "main.tf"
        url = "KLED_COORDINATOR_URL = data.kled_workspace.me.access_url"
        text = main.read_text()
        assert url in text
        more = {"KLED_AGENT_SHELL": "/bin/sh", **environment}
        lines = "".join(f'\n    {name} = "{value}"' for name, value in more.items())
        main.write_text(text.replace(url, url + lines))
        self.kled("template", "push", str(template))

    def agent_process(self) -> psutil.Process:
        """The workspace's agent."""
        for process in psutil.process_iter(["cmdline", "environ"]):
            found = process.info
            mine = (found["environ"] or {}).get("KLED_COORDINATOR_URL") == self.url
            if mine and "kled_agent" in (found["cmdline"] or []):
                return process
        raise RuntimeError("the agent is not running")


def program(name: str) -> str:
    """A console script of the environment this runs in."""
    return str(Path(sys.executable).parent / name)


@contextmanager
def open_world(
    *,
    workspace: bool = True,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
    agent: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Start it all, listening on `host`; everything is gone at the end.

    `environment` is more of the coordinator's and the client's, `agent` of the agent's.
    """
    directory = Path(tempfile.mkdtemp(prefix="kled-bench-"))
    environment = _environment(directory, host) | dict(environment or {})
    server: subprocess.Popen[bytes] | None = None
    try:
        made = json.loads(_run([program("kled-coord"), "init", "--output", "json"], environment))
        server = subprocess.Popen([program("kled-coord"), "serve"], env=environment)
        wait_port(int(environment["KLED_COORD_PORT"]), host)
        _run([program("kled"), "login", made["url"], "--code", "-"], environment, made["code"])
        ssh_config = directory / "ssh_config"
        _run([program("kled"), "config-ssh", "--ssh-config-file", str(ssh_config)], environment)
        world = World(
            directory=directory,
            url=made["url"],
            environment=environment,
            coordinator=server.pid,
            workspace="bench",
            ours=_ssh(
                ssh_config, ["-o", "ControlMaster=no", "-o", "ControlPath=none"], "bench.kled"
            ),
        )
        if workspace:
            world.push_template(agent or {})
            world.kled("create", world.workspace, "--template", "bench")
        os.environ["KLED_CONFIG_DIR"] = environment["KLED_CONFIG_DIR"]  # for ssh's ProxyCommand
        yield world
        if workspace:
            world.kled("delete", world.workspace, "--yes")
    finally:
        if server is not None:
            server.terminate()
            server.wait(DEADLINE_S)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def open_tls_world() -> Iterator[World]:
    """As `open_world`, where TLS ends at the coordinator."""
    with tempfile.TemporaryDirectory(prefix="kled-tls-") as directory:
        certificates = issue(Path(directory))
        trust = {"SSL_CERT_FILE": str(certificates.authority)}
        port = free_port()
        settings = {
            "KLED_COORD_TLS_CERT_FILE": str(certificates.chain),
            "KLED_COORD_TLS_KEY_FILE": str(certificates.key),
            "KLED_COORD_PORT": str(port),
            "KLED_COORD_ACCESS_URL": f"https://localhost:{port}",
        }
        with open_world(environment={**trust, **settings}, agent=trust) as world:
            yield world


@contextmanager
def open_bastion(host: str = "127.0.0.1") -> Iterator[list[str]]:
    """Two sshd on `host`, one the bastion; gives the ssh command through it."""
    directory = Path(tempfile.mkdtemp(prefix="kled-bastion-"))
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    shutil.copy(directory / "user.pub", directory / "authorized_keys")
    servers, ports = [], [free_port(), free_port()]
    # `kled` is found by who asks for it there.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    try:
        for port in ports:
            config = directory / f"sshd_{port}"
            config.write_text(
                f"Port {port}\nListenAddress {host}\nHostKey {directory}/host\n"
                f"AuthorizedKeysFile {directory}/authorized_keys\nStrictModes no\nPidFile none\n"
                "Subsystem sftp /usr/lib/openssh/sftp-server\n"
                f"UsePAM no\nSetEnv SHLVL=5 PATH={path}\nMaxStartups 200\nMaxSessions 200\n"
            )
            servers.append(subprocess.Popen([sshd, "-D", "-f", str(config)]))
            wait_port(port, host)
        client = directory / "ssh_config"
        client.write_text(
            f"Host *\n  IdentityFile {directory}/user\n  IdentitiesOnly yes\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
            f"  HostName {host}\n  ControlMaster no\n"
            f"Host bastion\n  Port {ports[0]}\n"
            f"Host target\n  Port {ports[1]}\n  ProxyJump bastion\n"
        )
        yield _ssh(client, [], "target")
    finally:
        for server in servers:
            server.terminate()
            server.wait(DEADLINE_S)
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_port(port: int, host: str = "127.0.0.1") -> None:
    """Return once something listens; raises TimeoutError."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")


def _ssh(config: Path, options: list[str], host: str) -> list[str]:
    return ["ssh", "-F", str(config), "-c", CIPHER, *options, host]


def _environment(directory: Path, host: str) -> dict[str, str]:
    return {
        **os.environ,
        "KLED_CONFIG_DIR": str(directory / "client"),
        "KLED_COORD_DATA_DIR": str(directory / "coord"),
        "KLED_COORD_SANDBOX": "off",  # files of both ends are compared from outside
        "KLED_COORD_HOST": host,
        "KLED_COORD_PORT": str(free_port()),
        "KLED_COORD_LOG_LEVEL": "warning",
        "KLED_COORD_STREAMS_PER_USER": "10000",
    }


def _run(command: list[str], environment: dict[str, str], text: str = "") -> str:
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        input=text,
        text=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])}: {done.stderr.strip()[-2000:]}")
    return done.stdout
