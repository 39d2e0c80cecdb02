"""The asyncio host behind a loopback port, and real OpenSSH clients with certificates for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from kled_agent.machine.orphans import Children, reap_orphans
from kled_agent.machine.users import LocalUser
from kled_agent.ssh.asyncio_host import AsyncioHost, serve_asyncio_host
from kled_agent.ssh.identity import SessionDefaults, SshIdentity
from kled_wire.eventlog import EventLog

T = TypeVar("T")

PRINCIPAL = "user:usr_1"


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Keys:
    """A certificate authority, a host and a user, as files in `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        keys = cls(folder)
        for name in ("ca", "other_ca", "host", "user"):
            keygen("-t", "ed25519", "-N", "", "-C", name, "-f", folder / name)
        keygen("-s", folder / "ca", "-h", "-I", "host", "-n", "ws.kled", folder / "host.pub")
        keys.certify("good")
        known = f"@cert-authority ws.kled {keys.text('ca.pub')}"
        (folder / "known_hosts").write_text(known)
        return keys

    def certify(
        self, name: str, *, ca: str = "ca", principal: str = PRINCIPAL, valid: str = "-1m:+3h"
    ) -> Path:
        """A certificate for the user's key."""
        public = self.folder / f"{name}.pub"
        public.write_text(self.text("user.pub"))
        keygen("-s", self.folder / ca, "-I", name, "-n", principal, "-V", valid, public)
        return self.folder / f"{name}-cert.pub"

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def identity(self) -> SshIdentity:
        return SshIdentity(
            host_key=self.text("host"),
            host_certificate=self.text("host-cert.pub"),
            user_ca=self.text("ca.pub").strip(),
            principals=(PRINCIPAL,),
        )


@dataclass
class Allowed:
    """Plain keys that may come in, by what they are called, and which have."""

    keys: dict[str, str] = field(default_factory=dict)
    used_: list[str] = field(default_factory=list)

    def find(self, key: str) -> str | None:
        return self.keys.get(key)

    def used(self, key_id: str) -> None:
        self.used_.append(key_id)


@dataclass
class Site:
    """What a test needs of a running asyncio host."""

    keys: Keys
    port: int
    host: AsyncioHost
    children: Children
    home: Path
    streams: list[trio.SocketStream] = field(default_factory=list)
    allowed: Allowed = field(default_factory=Allowed)
    defaults: SessionDefaults | None = None

    def options(self, certificate: str = "good") -> list[str]:
        folder = self.keys.folder
        settings = {
            "HostName": "127.0.0.1",
            "Port": str(self.port),
            "HostKeyAlias": "ws.kled",
            "UserKnownHostsFile": str(folder / "known_hosts"),
            "StrictHostKeyChecking": "yes",
            "IdentityFile": str(folder / "user"),
            "CertificateFile": str(folder / f"{certificate}-cert.pub"),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in settings.items())]

    async def ssh(
        self,
        *arguments: str,
        stdin: bytes = b"",
        certificate: str = "good",
        options: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `ssh` to its end."""
        argv = ["ssh", *self.options(certificate), *options, "any@ws.kled", *arguments]
        return await run(argv, stdin=stdin, env=env)


async def run(
    argv: Sequence[str], *, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(
            list(argv),
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, **(env or {})},
        )


@asynccontextmanager
async def serving(
    keys: Keys, user: LocalUser, log: EventLog, *, reap: bool = False
) -> AsyncIterator[Site]:
    """An asyncio host whose streams are connections to a loopback port."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    children = Children()
    defaults = SessionDefaults(user=user, environment={"KLED_WORKSPACE": "ws"}, children=children)
    async with trio.open_nursery() as nursery:
        if reap:
            await nursery.start(reap_orphans, children)
        host: AsyncioHost = await nursery.start(serve_asyncio_host, keys.identity(), defaults)
        port = listeners[0].socket.getsockname()[1]
        site = Site(keys, port, host, children, Path(user.home), defaults=defaults)

        async def arrive(stream: trio.SocketStream) -> None:
            site.streams.append(stream)
            ended = trio.Event()
            await host.accept(stream, site.allowed, log, ended)
            await ended.wait()

        nursery.start_soon(partial(trio.serve_listeners, arrive, listeners))
        yield site
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def forwarding(site: Site, *arguments: str) -> AsyncIterator[None]:
    """`ssh -N` with forwards that are in place."""
    control = str(site.home / "mux")
    options = ["-oExitOnForwardFailure=yes", f"-oControlPath={control}"]
    argv = ["ssh", *site.options(), *options, "-M", "-f", "-N", *arguments, "any@ws.kled"]
    with trio.fail_after(20):
        await trio.run_process(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await run(["ssh", *site.options(), f"-oControlPath={control}", "-O", "exit", "x"])


async def run_asyncio(work: Coroutine[Any, Any, T]) -> T:
    """Run asyncio's own loop in a thread: not trio-asyncio's, which it puts into its place."""

    def run() -> T:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(work)

    return await trio.to_thread.run_sync(run)
