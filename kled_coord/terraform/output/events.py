"""Parses the output of `terraform ... -json` as events, and tolerates other output.

Format: https://developer.hashicorp.com/terraform/internals/machine-readable-ui, one JSON object a
line. A type we do not know becomes a log line, and so does a line that is no JSON: providers and
Go itself print what they like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_TEXT = 64 << 10  # characters of one message kept; a provider may print a whole file
# Steps of work a planned action takes, by its name in `planned_change`; a replacement is two.
STEPS = {"create": 1, "read": 1, "update": 1, "delete": 1, "replace": 2}

_OF_RESOURCES: Final = frozenset(
    {"planned_change", "refresh_start", "apply_start", "apply_complete", "apply_errored"}
)
# Terraform is not run by hand here.
_OPTION_HINT: Final = re.compile(
    r"Use a -var or -var-file command line (?:argument|option) to provide a value for this variable"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerraformDiagnostic:
    """An error or warning in Terraform's own words; `file` is empty where it names no place."""

    severity: str
    summary: str
    detail: str = ""
    file: str = ""
    line: int = 0
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateOutput:
    """An output of the template. `value` is None where it is sensitive: Terraform hides it."""

    value: Any
    sensitive: bool


@dataclass(frozen=True, slots=True)
class ResourcePlanned:
    """A resource will change. `action` is a key of STEPS, or one that takes no work."""

    address: str
    action: str


@dataclass(frozen=True, slots=True)
class ResourceRefreshed:
    """What the state says of a resource was compared with what there is."""

    address: str
    text: str


@dataclass(frozen=True, slots=True)
class ResourceStarted:
    """Work on a resource began."""

    address: str
    action: str


@dataclass(frozen=True, slots=True)
class ResourceDone:
    """Work on a resource ended well."""

    address: str
    action: str
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class ResourceFailed:
    """Work on a resource failed; a DiagnosticFound says why."""

    address: str
    action: str
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class DiagnosticFound:
    """An error or a warning."""

    diagnostic: TerraformDiagnostic


@dataclass(frozen=True, slots=True)
class OutputsFound:
    """The template's outputs; the plan's have no values yet."""

    outputs: Mapping[str, TemplateOutput]


@dataclass(frozen=True, slots=True)
class ChangeSummary:
    """How many resources a `plan`, `apply` or `destroy` adds, changes and removes."""

    operation: str
    add: int
    change: int
    remove: int


@dataclass(frozen=True, slots=True)
class TerraformMessage:
    """Anything else, for a person to read."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class StillWorking:
    """Terraform says every ten seconds that a resource takes its time: no progress."""

    text: str


@dataclass(frozen=True, slots=True)
class StageBegan:
    """The build goes on to `init`, `plan`, `apply` or `destroy`. Ours, not Terraform's."""

    stage: str


Event = (
    ResourcePlanned
    | ResourceRefreshed
    | ResourceStarted
    | ResourceDone
    | ResourceFailed
    | DiagnosticFound
    | OutputsFound
    | ChangeSummary
    | TerraformMessage
    | StillWorking
    | StageBegan
)


def parse_line(line: bytes) -> Event | None:
    """Read one line; None where it holds nothing. Raises nothing."""
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return TerraformMessage("info", text[:MAX_TEXT])
    if not isinstance(value, dict):
        return TerraformMessage("info", text[:MAX_TEXT])
    return _parse_object(value)


def _parse_object(value: dict[str, Any]) -> Event:
    match value.get("type"):
        case str(kind) if kind in _OF_RESOURCES:
            return _parse_resource(kind, value)
        case "diagnostic":
            return DiagnosticFound(parse_diagnostic(_mapping(value, "diagnostic")))
        case "outputs":
            return OutputsFound(_parse_outputs(_mapping(value, "outputs")))
        case "change_summary":
            return _parse_summary(_mapping(value, "changes"))
        case "apply_progress":
            return StillWorking(_text(value, "@message"))
        case _:
            return TerraformMessage(_text(value, "@level") or "info", _text(value, "@message"))


def _parse_resource(kind: str, value: Mapping[str, Any]) -> Event:
    about = _mapping(value, "change" if kind == "planned_change" else "hook")
    address, action = _text(_mapping(about, "resource"), "addr"), _text(about, "action")
    if kind == "planned_change":
        return ResourcePlanned(address, action)
    if kind == "refresh_start":
        return ResourceRefreshed(address, _text(value, "@message"))
    if kind == "apply_start":
        return ResourceStarted(address, action)
    ended = ResourceDone if kind == "apply_complete" else ResourceFailed
    return ended(address, action, _number(about, "elapsed_seconds"))


def parse_diagnostic(value: Mapping[str, Any]) -> TerraformDiagnostic:
    """Read one diagnostic, as in the event stream and in `validate -json`."""
    place = _mapping(value, "range")
    return TerraformDiagnostic(
        severity=_text(value, "severity") or "error",
        summary=_text(value, "summary"),
        detail=_text(value, "detail"),
        file=_text(place, "filename"),
        line=int(_number(_mapping(place, "start"), "line")),
        address=_text(value, "address"),
    )


def parse_validation(document: bytes) -> list[TerraformDiagnostic] | None:
    """Read what `validate -json` prints; None where it is not that."""
    try:
        value = json.loads(document)
    except (ValueError, RecursionError):
        return None
    found = value.get("diagnostics") if isinstance(value, dict) else None
    if not isinstance(found, list):
        return None
    return [parse_diagnostic(item) for item in found if isinstance(item, dict)]


def format_diagnostic(diagnostic: TerraformDiagnostic) -> str:
    """Say it in one line: `main.tf:12: Summary: detail`."""
    place = f"{diagnostic.file}:{diagnostic.line}" if diagnostic.file else diagnostic.address
    parts = [" ".join(part.split()) for part in (place, diagnostic.summary, diagnostic.detail)]
    return _OPTION_HINT.sub("Give it with -p NAME=VALUE", ": ".join(filter(None, parts)))


def _parse_outputs(value: Mapping[str, Any]) -> dict[str, TemplateOutput]:
    return {
        name: TemplateOutput(value=output.get("value"), sensitive=bool(output.get("sensitive")))
        for name, output in value.items()
        if isinstance(output, dict)
    }


def _parse_summary(value: Mapping[str, Any]) -> ChangeSummary:
    add, change, remove = (int(_number(value, key)) for key in ("add", "change", "remove"))
    return ChangeSummary(_text(value, "operation"), add, change, remove)


def _mapping(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found[:MAX_TEXT] if isinstance(found, str) else ""


def _number(value: Mapping[str, Any], key: str) -> float:
    found = value.get(key)
    # Python's JSON reads Infinity and NaN, and huge integers that no float holds.
    if isinstance(found, int | float) and -(2**53) < found < 2**53:
        return found
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TerraformProgress:
    """How far a build is: `done` of `total` steps, and what is being worked on."""

    planned: Mapping[str, int] = field(default_factory=dict)  # steps by address
    done: int = 0
    failed: int = 0
    running: frozenset[str] = frozenset()

    @property
    def total(self) -> int:
        """Steps of work in the plan."""
        return sum(self.planned.values())

    def after(self, event: Event) -> TerraformProgress:
        """Return the progress once `event` has happened."""
        planned, done, failed, running = self.planned, self.done, self.failed, self.running
        match event:
            case ResourcePlanned(address, action) if action in STEPS:
                # Said at plan and again at apply: by address it counts once.
                planned = {**planned, address: STEPS[action]}
            # Data sources are read while planning, unplanned: no part of the work.
            case ResourceStarted(address, _) if address in planned:
                running |= {address}
            case ResourceDone(address, _, _) if address in planned:
                running, done = running - {address}, done + 1
            case ResourceFailed(address, _, _) if address in planned:
                running, failed = running - {address}, failed + 1
            case _:
                return self
        return TerraformProgress(planned=planned, done=done, failed=failed, running=running)
