"""The `tcp` stream kind: one connection to a port on this machine."""

from __future__ import annotations

import trio

from kled_agent.machine.addresses import open_port
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.eventlog import EventLog
from kled_wire.resume.stream import ResumableStream
from kled_wire.transport.pump import pump


async def serve_tcp(
    stream: trio.abc.HalfCloseableStream, dial: messages.Dial, log: EventLog
) -> None:
    """Connect to the host and port of `dial` and copy both ways to the end; closes `stream`.

    A client that can be told, of a resumable stream, is told where nobody listens.
    """
    try:
        with trio.fail_after(limits.REPLY_TIMEOUT_S):
            target = await open_port(dial.host or "localhost", dial.port)
        async with target:
            await pump(stream, target)
    except (OSError, trio.TooSlowError) as exc:
        log.info("tcp_ended", port=dial.port, reason=str(exc))
        if isinstance(stream, ResumableStream):
            why = f"nothing in the workspace takes a connection to port {dial.port}"
            stream.reset("port_unreachable", why)
            with trio.move_on_after(limits.GOODBYE_S):
                await stream.wait_over()
    except trio.BrokenResourceError as exc:
        log.info("tcp_ended", port=dial.port, reason=str(exc))
    except (OverflowError, UnicodeError) as exc:  # no port or host name at all
        log.info("tcp_ended", port=dial.port, reason=str(exc))
    finally:
        await trio.aclose_forcefully(stream)
