"""Turns the findings of `kled doctor` into outcomes, sentences and a summary. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from kled_wire.errors import decode_error
from kled_wire.resume.direct.paths import PathReport
from kled_wire.version import PROTOCOL, is_compatible

# Certificates are good for ten minutes from a clock that is not this machine's.
SKEW_MAX_S = 60.0
EXPIRES_SOON_S = 7 * 24 * 3600.0
# A forward of a thousand connections needs two descriptors for each.
OPEN_FILES_MIN = 1024

# The row "streams" says what these two come to.
_TOLD_BY_STREAMS = frozenset({"kled-stream", "WebSockets"})


class CheckOutcome(StrEnum):
    """How a check ended. Only FAIL means that something needed does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found, on one line, and what to do about it."""

    outcome: CheckOutcome
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A finding with the name of its check."""

    name: str
    finding: Finding

    def as_json(self) -> dict[str, str]:
        """As JSON values."""
        return {"name": self.name, **asdict(self.finding)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What came back for one HTTP request; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ok(found: str) -> Finding:
    return Finding(outcome=CheckOutcome.OK, found=found)


def warn(found: str, hint: str = "") -> Finding:
    return Finding(outcome=CheckOutcome.WARN, found=found, hint=hint)


def fail(found: str, hint: str = "") -> Finding:
    return Finding(outcome=CheckOutcome.FAIL, found=found, hint=hint)


def skip(found: str) -> Finding:
    return Finding(outcome=CheckOutcome.SKIP, found=found)


def judge_version(answer: ProbeAnswer, ours: str) -> Finding:
    """Whether `GET /api/v1/version` was answered by a coordinator that we can talk to."""
    found = parse(answer)
    version, protocol = found.get("version"), found.get("protocol")
    if answer.status == 200 and isinstance(version, str) and isinstance(protocol, str):
        said = f"coordinator {shown(version)}, protocol {shown(protocol)}"
        if not is_compatible(protocol):
            return fail(f"{said}; this kled speaks {PROTOCOL}", "update the older of the two")
        return ok(said if version == ours else f"{said}; this is kled {ours}")
    if 300 <= answer.status < 400:
        where = shown(answer.headers.get("location", "nowhere"))
        hint = "sign in to the network in a browser, or correct the URL: kled login URL"
        return fail(f"redirected to {where}", hint)
    if answer.status == 407:
        return fail(
            "the proxy requires a user name and a password", "http://USER:PASSWORD@HOST:PORT"
        )
    if answer.status in {502, 503, 504}:
        return fail(
            f"{who_answers(answer)} answers {answer.status}: its coordinator does not respond",
            "is kled-coord serve running?",
        )
    return fail(
        f"{who_answers(answer)} answers {answer.status}{_page(answer)}, not a coordinator's answer",
        "check the coordinator's URL; kled login URL sets it",
    )


def judge_clock(answer: ProbeAnswer, now: float) -> Finding:
    """Compare the Date header with `now`, seconds since the epoch."""
    try:
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return skip("the answer has no date")
    skew = now - there
    if abs(skew) <= SKEW_MAX_S:
        return ok("agrees with the coordinator's to a minute")
    direction = "ahead of" if skew > 0 else "behind"
    return warn(
        f"{duration(abs(skew))} {direction} the coordinator's", "set this machine's clock (NTP)"
    )


def judge_user(answer: ProbeAnswer) -> Finding:
    """Who the token says we are."""
    found = parse(answer)
    name = found.get("name")
    if answer.status == 200 and isinstance(name, str):
        return ok(f"{shown(name)}, {shown(str(found.get('role')))}")
    if error := error_of(answer):
        return fail(f"{error[1]} ({error[0]})", "kled login")
    return fail(f"{who_answers(answer)} answers {answer.status}", "kled login")


def judge_upgrade(answer: ProbeAnswer, protocol: str) -> Finding:
    """Whether a request with `Upgrade: protocol` reached the coordinator with that header.

    The coordinator answers 426 without it, and with it says yes, or what is wrong in its own JSON.
    """
    error = error_of(answer)
    asked = answer.headers.get("upgrade", "").lower()
    if answer.status == 101 and asked == protocol:
        return ok("passes")
    if error is not None and answer.status != 426:
        return ok("passes")
    if error is not None:
        return warn("a proxy removes the Upgrade header")
    return warn(f"{who_answers(answer)} refuses it with {answer.status}{_page(answer)}")


def judge_streams(raw: Finding, websocket: Finding, proxy: str) -> Finding:
    """Which of the two upgrades streams use, and what is blocked."""
    blocked = raw.found + (f" (through {proxy})" if proxy else "")
    if raw.outcome is CheckOutcome.OK:
        return ok("Upgrade: kled-stream")
    if websocket.outcome is CheckOutcome.OK:
        return warn(
            f"Upgrade: kled-stream is blocked: {blocked}; WebSockets are used, and are slower",
            "let the proxy pass the headers Connection and Upgrade (docs/examples/nginx.conf)",
        )
    return fail(
        f"both are blocked; kled-stream: {blocked}; WebSockets: {websocket.found}",
        "the proxy must pass the headers Connection and Upgrade (docs/examples/nginx.conf)",
    )


def judge_families(connected: Mapping[str, Finding]) -> dict[str, Finding]:
    """What one connection by each address family ("IPv4", "IPv6") comes to: one is enough."""
    used = [family for family, finding in connected.items() if finding.outcome is CheckOutcome.OK]
    if not used:
        return dict(connected)
    return {
        family: finding
        if family in used
        else warn(f"{finding.found}; {' and '.join(used)} is used instead", finding.hint)
        for family, finding in connected.items()
    }


def judge_path(path: PathReport) -> Finding:
    """Whether a session goes directly to the agent, and what it takes instead, and why."""
    if path.kind == "direct":
        return ok(str(path))
    reason = shown(path.reason, 240)
    if path.blocked:
        return warn(
            f"blocked ({reason}); the relay is used instead",
            "open the agent's direct_bind port in its firewall, or set KLED_DIRECT=off",
        )
    return ok(f"none, the relay is used: {reason}")


def judge_certificate(
    protocol: str, issuer: str, ends: datetime, now: datetime, *, private: bool
) -> Finding:
    """A certificate that was trusted. `private`: by a file, not by the system."""
    said = f"{protocol}, issued by {shown(issuer)}, good until {ends:%Y-%m-%d}"
    said += " (your CA file)" if private else ""
    if (ends - now).total_seconds() < EXPIRES_SOON_S:
        return warn(said, "renew the certificate soon")
    return ok(said)


def judge_untrusted(why: str, issuer: str) -> Finding:
    """A certificate that was not trusted; `issuer` is "" where it cannot be told."""
    by = f"; it is issued by {shown(issuer)}" if issuer else ""
    return fail(
        f"not trusted: {shown(why)}{by}",
        "kled login --ca-file FILE with that authority's certificate; "
        "an unusual issuer means a proxy that intercepts TLS",
    )


def judge_open_files(soft: int) -> Finding:
    """The limit of open files."""
    if soft < OPEN_FILES_MIN:
        return warn(f"{soft}", f"ulimit -n {OPEN_FILES_MIN}, for forwards with many connections")
    return ok(f"{soft}")


def summarise(checks: Sequence[Check]) -> str:
    """One line: what does not work, else what is worth a look, or that all is well."""
    told = [check for check in checks if check.name not in _TOLD_BY_STREAMS]
    for words, outcome in (("does not work", CheckOutcome.FAIL), ("works, but", CheckOutcome.WARN)):
        found = [f"{c.name}: {c.finding.found}" for c in told if c.finding.outcome is outcome]
        if found:
            return f"{words}: {'; '.join(found)}"
    return "everything works"


def works(checks: Sequence[Check]) -> bool:
    """Whether everything needed does."""
    return all(check.finding.outcome is not CheckOutcome.FAIL for check in checks)


def parse(answer: ProbeAnswer) -> dict[str, Any]:
    """The JSON object of an answer, or an empty one."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def error_of(answer: ProbeAnswer) -> tuple[str, str] | None:
    """Code and message of a coordinator's error; None when the answer is none."""
    error = decode_error(answer.status, answer.body)
    return None if error is None else (shown(error.code), shown(error.message))


def who_answers(answer: ProbeAnswer) -> str:
    """A proxy on the path, by the name it gives itself."""
    name = answer.headers.get("via") or answer.headers.get("server") or ""
    return shown(name) if name else "a proxy on the path"


def _page(answer: ProbeAnswer) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return " and a web page" if kind == "text/html" else ""


def shown(text: str, most: int = 120) -> str:
    """A stranger's words on one line, which steer no terminal."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def duration(seconds: float) -> str:
    """For people: `90 s`, `5 min`, `3 h`, `4 d`."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"


def at(seconds: float) -> datetime:
    """Seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
