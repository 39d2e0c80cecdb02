"""Runs all checks of `kled doctor` in order: a failure skips only the checks that depend on it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

import trio

from kled_client.account import profile
from kled_client.account.endpoint import proxy_for
from kled_client.account.profile import Profile
from kled_client.doctor import judge, local, probe
from kled_client.doctor.judge import Check, CheckOutcome, Finding, ProbeAnswer
from kled_client.output import Meter
from kled_client.report import only_cause
from kled_wire.errors import KledError
from kled_wire.names import WorkspaceRef
from kled_wire.resume.direct.paths import PathReport
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.transport.address import parse_url
from kled_wire.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from kled_client.api.client import Api

# No check takes longer, whatever it meets.
DEADLINE_S = 10.0
SESSION_DEADLINE_S = 30.0
_ECHOES = 5
_NEEDS_HTTP = "the coordinator does not answer"
# The findings that one SSH session yields.
_BY_SESSION = ("session", "direct path")


class Access(Protocol):
    """Whose connections are examined: the profile in use, and what it opens."""

    @property
    def env(self) -> Mapping[str, str]: ...
    def profile(self) -> Profile: ...
    def token(self) -> str: ...
    def api(self) -> AbstractAsyncContextManager[Api]: ...
    def ssh(
        self, ref: WorkspaceRef, *, direct: DirectSeeker | None = None
    ) -> AbstractAsyncContextManager[Any]: ...


@dataclass(kw_only=True)
class Examination:
    """The checks in their order; what fails ends only what needs it."""

    access: Access
    meter: Meter
    checks: list[Check] = field(default_factory=list)

    async def examine(self, ref: WorkspaceRef | None) -> None:
        used = await self._profile()
        if used is not None:
            version = await self._network(used)
            if version is not None:
                await self._coordinator(used, version, ref)
            else:
                for name in (
                    "clock",
                    "token",
                    "kled-stream",
                    "WebSockets",
                    "streams",
                    *(("agent", *_BY_SESSION) if ref else ()),
                ):
                    self._add(name, judge.skip(_NEEDS_HTTP))
        await self._machine(used.name if used else profile.DEFAULT_PROFILE)

    # --- in order

    async def _profile(self) -> Profile | None:
        try:
            used = self.access.profile()
        except KledError as exc:
            self._add("profile", judge.fail(exc.message, exc.hint or ""))
            return None
        self._add("profile", judge.ok(f"{used.name}, {used.url}"))
        return used

    async def _network(self, used: Profile) -> ProbeAnswer | None:
        """Down to one answer of the coordinator; None when there is no usable one."""
        env = self.access.env
        proxy = await self._check("proxy", partial(local.check_proxy, env, used))
        if proxy.outcome is CheckOutcome.FAIL:
            return None
        address = parse_url(used.url)
        via = proxy_for(address, env)
        host, port = (via.host, via.port) if via else (address.host, address.port)
        if not await self._addresses(host, port):
            return None
        if address.tls:
            tls = await self._check("TLS", partial(probe.check_tls, env, used, time.time()))
            if tls.outcome is CheckOutcome.FAIL:
                return None
        got: list[ProbeAnswer] = []

        def ask() -> Finding:
            got.append(probe.ask(env, used, "/api/v1/version"))
            return judge.judge_version(got[0], SOFTWARE_VERSION)

        found = await self._check("coordinator", ask)
        return got[0] if found.outcome is not CheckOutcome.FAIL else None

    async def _addresses(self, host: str, port: int) -> bool:
        """Whether one of the name's addresses can be connected to."""
        addresses: list[tuple[int, str]] = []

        def look_up() -> Finding:
            addresses.extend(probe.lookup(host, port))
            return judge.ok(", ".join(address for _, address in addresses))

        await self._check("name", look_up)
        answers: dict[str, Finding] = {}
        for family, address in addresses:
            label = probe.name_of(family)
            if label not in answers or answers[label].outcome is CheckOutcome.FAIL:
                answers[label] = await self._try(label, partial(_connect, address, port))
        judged = judge.judge_families(answers)
        for label, finding in judged.items():
            self._add(label, finding)
        return any(finding.outcome is CheckOutcome.OK for finding in judged.values())

    async def _coordinator(
        self, used: Profile, version: ProbeAnswer, ref: WorkspaceRef | None
    ) -> None:
        env = self.access.env
        self._add("clock", judge.judge_clock(version, time.time()))
        try:
            token = self.access.token()
        except KledError as exc:
            self._add("token", judge.fail(exc.message, exc.hint or ""))
            token = ""
        else:
            headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
            me = partial(probe.ask, env, used, "/api/v1/users/me", headers)
            await self._check("token", lambda: judge.judge_user(me()))
        path = probe.NOWHERE
        raw, websocket = [
            await self._try(name, partial(probe.check_upgrade, env, used, token, path, protocol))
            for name, protocol in (("kled-stream", "kled-stream"), ("WebSockets", "websocket"))
        ]
        self._add("kled-stream", raw)
        self._add("WebSockets", websocket)
        self._add("streams", judge.judge_streams(raw, websocket, local.proxy_of(env, used)))
        if ref is not None:
            await self._workspace(ref)

    async def _workspace(self, ref: WorkspaceRef) -> None:
        agent = await self._await("agent", self._agent(ref), DEADLINE_S)
        self._add("agent", agent)
        if agent.outcome is CheckOutcome.FAIL:
            for name in _BY_SESSION:
                self._add(name, judge.skip("the agent is not connected"))
            return
        paths: list[PathReport] = []
        session = await self._await("session", self._echo(ref, paths), SESSION_DEADLINE_S)
        self._add("session", session)
        by_path = judge.judge_path(paths[0]) if paths else judge.skip("there is no session")
        self._add("direct path", by_path)

    async def _machine(self, profile_name: str) -> None:
        env = self.access.env
        await self._check("ssh", local.check_ssh)
        await self._check("ssh config", partial(local.check_ssh_config, env, profile_name))
        await self._check("ssh key", partial(local.check_identity, env, profile_name))
        await self._check("open files", local.check_open_files)

    # --- one check

    async def _agent(self, ref: WorkspaceRef) -> Finding:
        async with self.access.api() as api:
            found = await api.workspace(str(ref))
        several = found.get("agents") and not found["agent"]
        missing = "ambiguous: none is named main" if several else "missing"
        status = found["agent"]["status"] if found["agent"] else missing
        said = f"{found['name']} is {found['status']}, its agent {status}"
        if status != "connected":
            return judge.fail(said, f"kled start {ref}")
        return judge.ok(said)

    async def _echo(self, ref: WorkspaceRef, paths: list[PathReport]) -> Finding:
        """Round trips through a session; the path that they took is put into `paths`."""
        from kled_client.ssh.connection import open_channel  # noqa: PLC0415  # asyncssh, when it runs
        from kled_client.ssh.opening import make_seeker  # noqa: PLC0415

        took: list[float] = []
        seeker = make_seeker(self.access.env, self.access.profile())
        async with self.access.ssh(ref, direct=seeker) as connection:
            channel = await open_channel(connection, "cat", env={})
            await seeker.wait_settled()
            paths.append(seeker.report())
            for _ in range(_ECHOES):
                began = time.perf_counter()
                await channel.send(b"\n")
                if await channel.receive() is None:
                    return judge.fail("the session ended at once", f"kled ssh {ref}")
                took.append(time.perf_counter() - began)
            channel.close()
        return judge.ok(f"opens, and answers in {median(took) * 1000:.1f} ms")

    async def _check(self, name: str, work: Callable[[], Finding]) -> Finding:
        finding = await self._try(name, work)
        self._add(name, finding)
        return finding

    async def _try(self, name: str, work: Callable[[], Finding]) -> Finding:
        """Run blocking `work` in a thread, which is left alone when it takes too long."""
        return await self._await(
            name, trio.to_thread.run_sync(work, abandon_on_cancel=True), DEADLINE_S
        )

    async def _await(self, name: str, work: Awaitable[Finding], within_s: float) -> Finding:
        self.meter.update(len(self.checks), None, name)
        try:
            with trio.move_on_after(within_s):
                return await work
        except KledError as exc:
            return judge.fail(judge.shown(exc.message), exc.hint or "")
        except (OSError, UnicodeError) as exc:
            return judge.fail(_words(exc))
        except BaseExceptionGroup as group:
            cause = only_cause(group)
            if not isinstance(cause, KledError):
                raise
            return judge.fail(judge.shown(cause.message), cause.hint or "")
        return judge.fail(f"no answer within {within_s:.0f} s")

    def _add(self, name: str, finding: Finding) -> None:
        self.checks.append(Check(name=name, finding=finding))


def _connect(address: str, port: int) -> Finding:
    try:
        probe.connect(address, port)
    except OSError as exc:
        return judge.fail(
            f"{address} port {port}: {probe.explain(exc)}",
            "check that it runs there and that no firewall blocks it",
        )
    return judge.ok(f"{address} answers on port {port}")


def _words(error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError):
        return probe.explain(error)
    return judge.shown(str(error))
