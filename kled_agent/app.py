"""The composition root of the agent: starts every task.

docs/architecture.md has the tree of tasks.
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

import trio

from kled_agent.config import AgentConfig, parse_bind
from kled_agent.control.dialback import Dialback
from kled_agent.control.direct import DirectListener, DirectSettings
from kled_agent.control.grants import Grants
from kled_agent.control.key_uses import KeyUses
from kled_agent.control.link import LinkSettings, serve_link
from kled_agent.control.resumption import ResumeLimits, Resumption
from kled_agent.host_key import HostKeyMaking
from kled_agent.identity import (
    Identity,
    enroll,
    load_identity,
    make_identity,
    save_identity,
    session_environment,
)
from kled_agent.machine.descendants import become_reaper, kill_descendants
from kled_agent.machine.inherited import for_sessions, read_environment
from kled_agent.machine.orphans import Children, reap_orphans
from kled_agent.machine.systemd import notify
from kled_agent.machine.users import load_user
from kled_agent.scripts.login import ScriptDirectory
from kled_agent.scripts.running import Runner
from kled_agent.scripts.service import Scripts
from kled_agent.sessions.directory import SessionDirectory, SessionSettings
from kled_agent.sessions.fresh import stop_ignoring
from kled_agent.ssh.identity import SessionDefaults
from kled_agent.ssh.keys import AcceptedKeys
from kled_agent.ssh.service import SshService
from kled_agent.tcp import serve_tcp
from kled_wire import limits
from kled_wire.backoff import Backoff
from kled_wire.control.agent_spec import AgentSpec
from kled_wire.control.messages import Welcome
from kled_wire.errors import KledError, UnauthenticatedError
from kled_wire.eventlog import EventLog
from kled_wire.private import make_private
from kled_wire.transport.address import parse_url
from kled_wire.trees import discard_tree

# Host certificates live for 30 days; a daily renewal leaves room for a month of outage.
_RENEW_S: Final = 24 * 3600.0

# The last message that SSH clients get from the server.
_STOPPED: Final = "the workspace's agent was stopped, as when the workspace stops"
_RESTARTED: Final = "the workspace's agent is started again; connect again"


async def _nobody_to_tell(_reason: str) -> None:
    """Before anybody can have come."""


@dataclass(slots=True)
class AgentStop:
    """How the agent ends: whether the workspace does too, and who tells the clients why.

    `scripts` are those to run first then, and `place` is what goes with the workspace; None before
    there are any.
    """

    of_workspace: bool = False
    scripts: Scripts | None = None
    place: ScriptDirectory | None = None
    dismiss: Callable[[str], Awaitable[None]] = _nobody_to_tell


async def run_agent(
    config: AgentConfig, log: EventLog, making: HostKeyMaking | None = None
) -> None:
    """Run until SIGTERM, SIGINT or SIGUSR2. Raises KledError for what only a person can mend.

    `making` is a host key for an agent that has no identity yet.
    """
    user = load_user(config.user or None, shell=config.shell or None)
    if config.session_environment == "parent":
        given = for_sessions(read_environment(os.getppid()), config.token)
        user = replace(user, inherited=given)
    become_reaper()
    stop_ignoring()
    children = Children()
    named = open_sessions(config, children, log)
    stop = AgentStop()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope, stop, log)
            # Before the reaping: making the host key is a child process too.
            identity = await obtain_identity(config, log, making)
            await nursery.start(reap_orphans, children)
            user = replace(user, variables=identity.environment, start_in=identity.directory)
            place = ScriptDirectory(directory=f"{tempfile.gettempdir()}/kled-{identity.agent_id}")
            user = replace(user, programs=(place.bin, place.ours), path_file=place.path_file)
            defaults = SessionDefaults(
                user=user,
                environment=session_variables(identity),
                children=children,
                named=named,
            )
            scripts = defaults.logins = make_scripts(defaults, place, log)
            stop.place, stop.scripts = place, scripts
            nursery.start_soon(scripts.serve)
            await _serve(config, identity, defaults, scripts, log, nursery, stop)
    finally:
        _end_programs(named, all_of_them=stop.of_workspace)
        if stop.of_workspace and stop.place is not None:
            # Only here: another agent that comes goes on with what is there.
            discard_tree(stop.place.directory)


def session_variables(identity: Identity) -> dict[str, str]:
    """What tells sessions and scripts where they are; CODER_… for templates made for Coder."""
    return {
        "KLED_WORKSPACE": identity.workspace,
        "KLED_OWNER": identity.owner,
        "CODER": "true",
        "CODER_AGENT_URL": identity.coordinator_url,
        "CODER_WORKSPACE_NAME": identity.workspace,
        "CODER_WORKSPACE_OWNER_NAME": identity.owner,
    }


def make_scripts(defaults: SessionDefaults, place: ScriptDirectory, log: EventLog) -> Scripts:
    """The scripts of this agent, which run as sessions do."""
    runner = Runner(
        user=lambda: defaults.user,
        environment=defaults.environment,
        children=defaults.children,
        place=place,
    )
    # Local and naive, as cron wants it.
    return Scripts(runner, log, new_id=lambda: secrets.token_hex(8), clock=datetime.now)


def open_sessions(
    config: AgentConfig, children: Children, log: EventLog
) -> SessionDirectory | None:
    """The named sessions, with those of an agent before us; None where there can be none."""
    settings = SessionSettings(
        directory=config.state_dir / "sessions",
        size="smallest" if config.session_size == "smallest" else "latest",
        idle_s=config.session_idle_s,
        orphan_s=config.session_orphan_s,
        limit=int(config.session_limit),
        ring_bytes=int(config.session_ring_bytes),
    )
    named = SessionDirectory(settings=settings, children=children, log=log)
    try:
        if (was := make_private(config.state_dir)) is not None:
            log.warning("state_dir_closed", path=str(config.state_dir), mode=f"{was:04o}")
        named.open()
    except OSError as exc:
        log.warning("sessions_unavailable", path=str(settings.directory), reason=exc.strerror)
        return None
    return named


def _end_programs(named: SessionDirectory | None, *, all_of_them: bool) -> None:
    """When the workspace stops all programs end; else named sessions wait for the next agent."""
    if named is None:
        kill_descendants()
        return
    if all_of_them:
        named.end_all()
        kill_descendants()
    else:
        kill_descendants(spared={held.pid for held in named.living()})
    named.close()


async def _serve(
    config: AgentConfig,
    identity: Identity,
    defaults: SessionDefaults,
    scripts: Scripts,
    log: EventLog,
    nursery: trio.Nursery,
    stop: AgentStop,
) -> None:
    async with trio.open_nursery() as streams:
        keys, uses = AcceptedKeys(), KeyUses(log)
        ssh = SshService(streams, identity.ssh(), defaults, keys, uses.note)
        stop.dismiss = ssh.dismiss
        bounds = ResumeLimits(detached_s=config.detached_s, vouched_s=config.direct_vouched_s)
        grants = Grants()
        resumption = Resumption(streams, bounds, grants)
        streams.start_soon(resumption.sweep)
        direct = DirectListener(direct_settings(config), resumption, log)
        streams.start_soon(direct.serve)
        dialback = Dialback(
            streams,
            parse_url(config.coordinator_url),
            {"ssh": ssh.serve, "tcp": serve_tcp},
            resumption,
            grants,
            log,
        )
        settings = LinkSettings(
            identity=identity,
            on_dial=dialback.accept_nowait,
            on_welcome=partial(_welcomed, scripts),
            count_streams=lambda: dialback.open_streams + direct.open_streams,
            keys=keys,
            key_uses=uses,
            grants=grants,
            scripts=scripts,
            on_spec=partial(set_spec, defaults, scripts),
            log=log,
        )
        nursery.start_soon(renew_certificate, config, identity, ssh, log)
        await serve_link(settings)


def set_spec(defaults: SessionDefaults, scripts: Scripts, spec: AgentSpec) -> None:
    """Go by what the template says from now on."""
    named = {"CODER_WORKSPACE_AGENT_NAME": spec.name} if spec.name else {}  # by an older one not
    variables = {**named, **session_environment(spec.env)}
    defaults.user = replace(defaults.user, variables=variables, start_in=spec.directory)
    scripts.set_spec(spec)


def direct_settings(config: AgentConfig) -> DirectSettings:
    """What the configuration says of the direct path."""
    host, port = parse_bind(config.direct_bind)
    return DirectSettings(listen=config.direct_listen, host=host, port=port)


def _welcomed(scripts: Scripts, welcome: Welcome) -> None:
    scripts.spec_follows = welcome.spec_follows
    notify("READY=1")


async def obtain_identity(
    config: AgentConfig, log: EventLog, making: HostKeyMaking | None = None
) -> Identity:
    """The identity on disk or a new one, enrolled again so that its certificate is fresh.

    Where the coordinator cannot be reached an identity that was enrolled before is used as it is;
    a new one waits. Raises UnauthenticatedError when the token is refused and nothing is kept.
    """
    identity = load_identity(config) or await make_identity(config, making)
    backoff, failures = Backoff(), 0
    while True:
        try:
            identity = await enroll(identity)
        except UnauthenticatedError as exc:
            # The link says so too and asks again slowly; without an identity there is no link.
            if identity.enrolled:
                return identity
            log.error("agent_refused", code=exc.code, reason=exc.message)
            await trio.sleep(limits.REDIAL_REFUSED_S)
        except KledError as exc:
            if identity.enrolled:
                return identity
            failures += 1
            wait_s = backoff.ceiling(failures)
            log.info("enroll_failed", code=exc.code, reason=exc.message, retry_s=wait_s)
            await trio.sleep(wait_s)
        else:
            save_identity(config, identity)
            log.info("agent_enrolled", agent=identity.agent_id, workspace=identity.workspace)
            return identity


async def renew_certificate(
    config: AgentConfig, identity: Identity, ssh: SshService, log: EventLog
) -> None:
    """Enroll again once a day; failures are tried again the next time."""
    while True:
        await trio.sleep(_RENEW_S)
        try:
            renewed = await enroll(identity)
            ssh.renew(renewed.ssh())
            save_identity(config, renewed)
        except KledError as exc:
            log.warning("renewal_failed", code=exc.code, reason=exc.message)
        else:
            identity = renewed


async def _stop_on_signal(scope: trio.CancelScope, stop: AgentStop, log: EventLog) -> None:
    """SIGTERM and SIGINT: the workspace stops. SIGUSR2: only we do; another agent comes."""
    ending = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    with trio.open_signal_receiver(*ending) as signals:
        number = await anext(signals)
        log.info("agent_stopping", signal=signal.Signals(number).name)
        notify("STOPPING=1")
        stop.of_workspace = number != signal.SIGUSR2
        if stop.of_workspace and stop.scripts is not None:
            await _shut_down(stop.scripts, signals)
        with trio.move_on_after(limits.GOODBYE_S):
            await stop.dismiss(_STOPPED if stop.of_workspace else _RESTARTED)
        scope.cancel()


async def _shut_down(scripts: Scripts, signals: AsyncIterator[int]) -> None:
    """Run the scripts of a stop, if the coordinator has not had them run; a second signal ends it.

    Whoever sends the signal has a limit of their own: docker stop kills after 10 s, Kubernetes
    after 30 s, systemd after 90 s.
    """
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await anext(signals)
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        await scripts.shut_down()
        nursery.cancel_scope.cancel()
