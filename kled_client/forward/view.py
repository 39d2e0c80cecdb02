"""Shows the state of forwards: as a table, lines, or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Never

import trio

from kled_client.forward.serve import ForwardStatus
from kled_client.forward.spec import ForwardKind, TcpEnd
from kled_client.output import Output

_REFRESH_S: Final = 0.5
# How often a program is told the counters of the forwards that have done something.
_COUNTERS_S: Final = 5.0
# The columns that a narrow terminal drops, in this order.
_SPARE: Final = ("TOTAL", "SENT", "RECEIVED", "NOW")
_KINDS: Final = {"remote": " (in the workspace)", "udp": "/udp"}


# Services whose ports are known and that speak something else: a link would mislead.
_NOT_HTTP: Final = frozenset({22, 25, 53, 143, 389, 993, 1433, 3306, 5432, 6379, 27017})
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "*", ""})  # noqa: S104  # compared with


class ForwardView:
    """Told of each change; `run` shows the counters meanwhile."""

    def __init__(
        self, output: Output, workspace: str, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._on_ready = on_ready
        self._output = output
        self._workspace = workspace
        self._shown: list[ForwardStatus] = []
        self._last: dict[int, dict[str, Any]] = {}
        self._live = output.results.is_terminal and not output.as_json

    def added(self, status: ForwardStatus) -> None:
        """A forward listens from now on."""
        self._shown.append(status)
        self._say("listening", status, "")

    def removed(self, status: ForwardStatus) -> None:
        """A forward is gone."""
        self._shown.remove(status)
        self._last.pop(id(status), None)
        self._say("closed", status, "gone: ")

    def note(self, event: str, text: str) -> None:
        """Something about all of them, or about a forward that could not be."""
        if self._output.as_json:
            self._output.json_line({"event": event, "message": text})
        else:
            self._output.note(text)

    def link_changed(self, reason: str) -> None:
        """The connection was lost (why), or is back ("")."""
        if reason:
            self.note("disconnected", f"{self._workspace}: {reason}; connecting again")
        else:
            self.note("connected", f"{self._workspace}: connected again")

    async def run(self) -> Never:
        """Show the counters until cancelled; all forwards listen."""
        self._on_ready()
        if self._live:
            with self._output.live(spare=_SPARE) as show:
                while True:
                    show(columns(self._shown))
                    await trio.sleep(_REFRESH_S)
        while True:
            await trio.sleep(_COUNTERS_S)
            if self._output.as_json:
                self._tell_counters()

    def _tell_counters(self) -> None:
        for status in self._shown:
            raw = status.raw()
            if self._last.get(id(status)) != raw:
                self._last[id(status)] = raw
                self._output.json_line({"event": "counters", **raw})

    def _say(self, event: str, status: ForwardStatus, prefix: str) -> None:
        if self._output.as_json:
            raw = status.raw()
            self._last[id(status)] = raw
            self._output.json_line({"event": event, **raw})
        elif not self._live:
            self._output.line(prefix + describe(status, self._workspace))
            self._output.flush()


def describe(status: ForwardStatus, workspace: str) -> str:
    """One forward in a line: who listens, and where it leads."""
    target = status.forward.target
    match status.forward.kind:
        case "local":
            url = browser_url(status)
            return f"{status.listen} -> {workspace} {target}" + (f"  {url}" if url else "")
        case "remote":
            return f"{workspace} {status.listen} -> {target}"
        case "udp":
            return f"{status.listen}/udp -> {workspace} {target}/udp"
    return f"{status.listen} -> {workspace} (SOCKS5)"


def browser_url(status: ForwardStatus) -> str | None:
    """What a terminal lets a person click: of a local TCP port whose service may speak HTTP."""
    here, there = status.listen, status.forward.target
    if status.forward.kind is not ForwardKind.LOCAL or not isinstance(here, TcpEnd):
        return None
    if isinstance(there, TcpEnd) and there.port in _NOT_HTTP:
        return None
    return f"http://localhost:{here.port}" if here.host in _EVERYWHERE else f"http://{here}"


def columns(shown: Sequence[ForwardStatus]) -> dict[str, list[str]]:
    """The live table."""
    return {
        "LISTENS": [browser_url(s) or f"{s.listen}{_KINDS.get(s.forward.kind, '')}" for s in shown],
        "LEADS TO": [str(s.forward.target or "SOCKS5") for s in shown],
        "NOW": [str(s.open) for s in shown],
        "TOTAL": [str(s.total) for s in shown],
        "SENT": [amount(s.sent) for s in shown],
        "RECEIVED": [amount(s.received) for s in shown],
        "ERRORS": [f"{s.errors} ({s.last_error})" if s.errors else "-" for s in shown],
    }


def amount(count: int) -> str:
    """Bytes as a person reads them."""
    if count < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
