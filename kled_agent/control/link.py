"""One agent's control link: dials, sends hello, serves the link, and redials when it ends."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Never, Protocol

import trio

from kled_agent.control.grants import Grants
from kled_agent.control.key_uses import KeyUses
from kled_agent.identity import Identity, about_machine
from kled_agent.memory.sampler import sample_report
from kled_agent.scripts.service import Scripts
from kled_agent.ssh.keys import AcceptedKeys
from kled_wire import limits
from kled_wire.backoff import Backoff, Pace, Redials
from kled_wire.control import messages, standby
from kled_wire.control.agent_spec import AgentSpec
from kled_wire.control.link import (
    LINK_TIMES,
    CloseCode,
    ControlLink,
    LinkClosed,
    LinkTimes,
    close_code_for,
)
from kled_wire.errors import KledError, ProtocolError, UnauthenticatedError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.lasting_nursery import open_lasting_nursery
from kled_wire.transport.address import Address, parse_url
from kled_wire.transport.dial import open_connection
from kled_wire.transport.websocket import open_websocket
from kled_wire.version import PROTOCOL, SOFTWARE_VERSION

_REPORT_S: Final = 30.0
_CONNECT_TIMEOUT_S: Final = 20.0


class Connect(Protocol):
    """Opens a connection to a coordinator. Raises KledError."""

    async def __call__(
        self, address: Address, *, ssl_context: ssl.SSLContext | None
    ) -> trio.abc.HalfCloseableStream: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """What a link needs: who we are, and what to do when a stream is asked for.

    In seconds: `refused_s` is the longest time between two dials, kept where our token or version
    was refused; `replaced_s` is kept where another process has our identity.
    """

    identity: Identity
    on_dial: Callable[[messages.Dial, ControlLink], None]
    on_welcome: Callable[[messages.Welcome], None]
    count_streams: Callable[[], int]
    keys: AcceptedKeys
    key_uses: KeyUses
    grants: Grants
    scripts: Scripts
    on_spec: Callable[[AgentSpec], None]
    log: EventLog
    ssl_context: ssl.SSLContext | None = None
    connect: Connect = open_connection
    times: LinkTimes = LINK_TIMES
    refused_s: float = limits.REDIAL_REFUSED_S
    replaced_s: float = limits.REDIAL_CAP_S


async def serve_link(settings: LinkSettings, *, redials: Redials | None = None) -> Never:
    """Keep a link to the coordinator until cancelled; `on_welcome` says when it is up.

    A link that was welcomed was a good one: the coordinator is there and takes us, so when it ends,
    the next is dialled as soon as `redials` allows. A refused token is reported and asked about
    again every `refused_s`.
    """
    # At most 12 dials in any minute, 8 a minute in the long run, whatever happens: of 5,000 agents
    # 670 a second reach a coordinator that welcomes them and then crashes, again and again, which
    # is as many as reach one that never answers.
    redials = redials or Redials(
        Backoff(),
        Pace(limits.REDIAL_BURST, limits.REDIAL_EVERY_S),
        random.random,  # the jitter needs no secrecy
        spread_s=limits.REDIAL_SPREAD_S,
    )
    while True:
        welcomed = trio.Event()
        away_s = 0.0
        try:
            await _run_once(settings, welcomed)
        except _Shutdown as exc:
            away_s = min(max(exc.back_in_s, 0.0), settings.refused_s)
            settings.log.info("coordinator_stopping", reason=exc.reason, retry_s=away_s)
        except LinkClosed as exc:
            away_s = _delay_after_close(exc, settings)
            settings.log.info("link_closed", code=exc.code, reason=exc.reason)
        except UnauthenticatedError as exc:
            away_s = settings.refused_s
            settings.log.error("agent_refused", code=exc.code, reason=exc.message, retry_s=away_s)
        except KledError as exc:
            settings.log.info("link_failed", code=exc.code, reason=exc.message)
        ended = redials.lost if welcomed.is_set() else redials.failed
        await trio.sleep(ended(trio.current_time(), away_s=away_s))


class _Shutdown(LinkClosed):
    """The coordinator says that it ends the link, and for how long."""

    def __init__(self, message: messages.Shutdown) -> None:
        super().__init__(CloseCode.GOING_AWAY, message.reason)
        self.back_in_s = message.back_in_s


def _delay_after_close(closed: LinkClosed, settings: LinkSettings) -> float:
    """How long a close by the coordinator asks us to stay away, in seconds."""
    if closed.code in {CloseCode.TOKEN_REFUSED, CloseCode.VERSION_UNSUPPORTED}:
        return settings.refused_s
    if closed.code == CloseCode.REPLACED:
        # Another process has our identity. Coming straight back would make the two take turns.
        return settings.replaced_s
    return 0.0


async def _run_once(settings: LinkSettings, welcomed: trio.Event) -> None:
    """One link from dial to end; sets `welcomed`. Raises LinkClosed or KledError."""
    problem: Exception | None = None
    stream = await _dial(settings)
    try:
        # Cancelled with the rest, its tasks could not read the answer to our goodbye, and each stop
        # of an agent would wait for that.
        async with open_lasting_nursery() as reading:
            try:
                link = await _open_link(settings, stream, reading)
                await _converse(link, settings, welcomed)
            except (LinkClosed, KledError) as exc:
                problem = exc
            finally:
                reading.cancel_scope.cancel()
    finally:
        # trio-websocket does not close it when the other end has begun.
        await trio.aclose_forcefully(stream)
    if problem is not None:
        raise problem


async def _dial(settings: LinkSettings) -> trio.abc.Stream:
    address = parse_url(settings.identity.coordinator_url)
    with trio.move_on_after(_CONNECT_TIMEOUT_S):
        return await settings.connect(address, ssl_context=settings.ssl_context)
    raise UnavailableError("coordinator_silent", "the coordinator did not answer in time")


async def _open_link(
    settings: LinkSettings, stream: trio.abc.Stream, nursery: trio.Nursery
) -> ControlLink:
    address = parse_url(settings.identity.coordinator_url)
    with trio.move_on_after(_CONNECT_TIMEOUT_S):
        connection = await open_websocket(
            nursery,
            stream,
            address,
            f"{address.base}/api/v1/agent/control",
            headers={"authorization": f"Bearer {settings.identity.token}"},
            max_message_size=limits.CONTROL_MESSAGE_MAX_BYTES,
        )
        return ControlLink(connection, settings.times)
    raise UnavailableError("coordinator_silent", "the coordinator did not answer in time")


async def _converse(link: ControlLink, settings: LinkSettings, welcomed: trio.Event) -> None:
    """Greet and stay; the link is closed at the end, however it comes."""
    code, reason = CloseCode.GOING_AWAY, "the agent is stopping"
    try:
        welcome = await _greet(link, settings.times.hello_s)
        welcomed.set()
        settings.on_welcome(welcome)
        settings.log.info("link_open", coordinator=welcome.version, workspace=welcome.workspace)
        await _stay(link, settings, welcome.heartbeat_s)
    except ProtocolError as exc:
        code, reason = close_code_for(exc), exc.message
        raise
    except UnavailableError as exc:
        code, reason = CloseCode.DEAD_PEER, exc.message
        raise
    finally:
        await link.close(code, reason)


async def _greet(link: ControlLink, within_s: float) -> messages.Welcome:
    about = about_machine()
    await link.send(
        messages.Hello(
            protocol=PROTOCOL,
            version=SOFTWARE_VERSION,
            hostname=about["hostname"],
            os=about["os"],
            arch=about["arch"],
            features=(
                standby.FEATURE,
                messages.KEYS_FEATURE,
                messages.GRANTS_FEATURE,
                messages.SCRIPTS_FEATURE,
            ),
        )
    )
    with trio.move_on_after(within_s):
        answer = await link.receive()
        if not isinstance(answer, messages.Welcome):
            raise ProtocolError("welcome_expected", f"received {answer.type} before welcome")
        return answer
    raise UnavailableError("coordinator_silent", "the coordinator did not send welcome")


async def _stay(link: ControlLink, settings: LinkSettings, heartbeat_s: float) -> None:
    """Receive, and beside it send heartbeats and reports, until the link ends."""
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        listed = trio.Event()
        nursery.start_soon(_beat, link, heartbeat_s, settings, listed, nursery.cancel_scope)
        nursery.start_soon(_report, link, settings)
        nursery.start_soon(_tell_uses, link, settings.key_uses)
        nursery.start_soon(_tell_scripts, link, settings.scripts)
        try:
            await _receive(link, settings, listed)
        except (LinkClosed, KledError) as exc:
            problem = exc
        nursery.cancel_scope.cancel()
    raise problem or UnavailableError("peer_silent", "the coordinator stopped answering")


async def _receive(link: ControlLink, settings: LinkSettings, listed: trio.Event) -> Never:
    """Act on what comes; `listed` is set when the first list of keys has."""
    while True:
        message = await link.receive()
        if isinstance(message, messages.Dial):
            settings.on_dial(message, link)
        elif isinstance(message, messages.SetKeys):
            settings.keys.replace(message, trio.current_time())
            listed.set()
            await link.send(messages.KeysSet(number=message.number))
        elif isinstance(message, messages.ListGrants):
            await _say_grants(link, settings)
        elif isinstance(message, messages.EndGrants):
            ended = settings.grants.end(message.grants)
            settings.log.info("access_ended", grants=len(message.grants), ended=ended)
        elif isinstance(message, messages.Shutdown):
            raise _Shutdown(message)
        elif not _take_of_scripts(message, settings) and not isinstance(
            message, (messages.Ping, messages.Unsupported)
        ):
            raise ProtocolError(
                "message_unexpected", f"{message.type} must not be sent to an agent"
            )


def _take_of_scripts(message: messages.Message, settings: LinkSettings) -> bool:
    """Act on what is about scripts; whether it was."""
    if isinstance(message, messages.SetSpec):
        settings.on_spec(message.spec)
    elif isinstance(message, messages.OutputKept):
        settings.scripts.output_kept(message)
    elif isinstance(message, messages.RunStopScripts):
        settings.scripts.stop(message.within_s)
    else:
        return False
    return True


async def _beat(
    link: ControlLink,
    heartbeat_s: float,
    settings: LinkSettings,
    listed: trio.Event,
    scope: trio.CancelScope,
) -> None:
    """Ping at each heartbeat; an answer that stays out ends the link.

    An answer says that the list of keys that came on this link, if one did, is still the newest.
    """
    rtt_s = 0.0
    try:
        while True:
            rtt_s = await link.ping(rtt_s=rtt_s)
            if listed.is_set():
                settings.keys.heard(trio.current_time())
            await trio.sleep(heartbeat_s)
    except LinkClosed:
        return  # the receiver notices as well, and knows the reason
    except UnavailableError as exc:
        settings.log.info("heartbeat_failed", reason=str(exc))
        scope.cancel()


async def _tell_uses(link: ControlLink, uses: KeyUses) -> None:
    with suppress(LinkClosed):  # the receiver notices as well, and ends the link
        await uses.tell(link)


async def _tell_scripts(link: ControlLink, scripts: Scripts) -> None:
    with suppress(LinkClosed):  # the receiver notices as well, and ends the link
        await scripts.tell(link)


async def _say_grants(link: ControlLink, settings: LinkSettings) -> None:
    for message in settings.grants.report():
        await link.send(message)


async def _report(link: ControlLink, settings: LinkSettings) -> None:
    """How the machine is, and what is served under which grant: some may have ended meanwhile."""
    try:
        while True:
            await _say_grants(link, settings)
            await link.send(sample_report(settings.count_streams()))
            await trio.sleep(_REPORT_S)
    except LinkClosed:
        return  # the receiver notices as well, and ends the link
