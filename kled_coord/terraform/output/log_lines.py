"""Formats Terraform's events as lines of a build's log. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kled_coord.terraform.output.events import (
    ChangeSummary,
    DiagnosticFound,
    Event,
    OutputsFound,
    ResourceDone,
    ResourceFailed,
    ResourcePlanned,
    ResourceRefreshed,
    ResourceStarted,
    StillWorking,
    TemplateOutput,
    TerraformMessage,
    format_diagnostic,
)

Line = tuple[str, str]  # level and text

_LEVELS: Final = {"warn": "warning", "error": "error", "debug": "debug", "trace": "debug"}
# The words for what will happen to a resource, is happening and has happened.
_VERBS: Final = {
    "create": ("will be created", "creating", "created"),
    "read": ("will be read", "reading", "read"),
    "update": ("will be updated in place", "updating", "updated"),
    "delete": ("will be destroyed", "destroying", "destroyed"),
    "replace": ("will be replaced", "replacing", "replaced"),
}
# Outputs are kept beside the workspace and shown in one line each.
OUTPUTS_MAX: Final = 100
OUTPUT_BYTES_MAX: Final = 8 << 10


def event_lines(event: Event, stage: str) -> list[Line]:
    """What the log says about `event` in a `stage` of the build; for many events nothing."""
    match event:
        case TerraformMessage(level, text):
            return [(_LEVELS.get(level, "info"), text)]
        case DiagnosticFound(diagnostic):
            level = "error" if diagnostic.severity == "error" else "warning"
            return [(level, line) for line in format_diagnostic(diagnostic).splitlines()]
        # An apply says again what was planned, and a plan names outputs without their values.
        case ResourcePlanned(address, action) if stage != "apply":
            return [("info", f"{address}: {_verb(action, 0)}")]
        case OutputsFound(outputs) if stage == "apply":
            return [("info", f"output {text}") for text in _tell_outputs(outputs)]
        case ChangeSummary():
            return [("info", _tell_summary(event))]
        case _:
            return _tell_work(event)


def _tell_work(event: Event) -> list[Line]:
    match event:
        case StillWorking(text) | ResourceRefreshed(_, text):
            return [("info", text)]
        case ResourceStarted(address, action):
            return [("info", f"{address}: {_verb(action, 1)}")]
        case ResourceDone(address, action, elapsed_s):
            return [("info", f"{address}: {_verb(action, 2)} after {elapsed_s:.0f} s")]
        case ResourceFailed(address, action, elapsed_s):
            return [("info", f"{address}: {_verb(action, 1)} failed after {elapsed_s:.0f} s")]
        case _:
            return []


def shown_outputs(outputs: Mapping[str, TemplateOutput]) -> dict[str, dict[str, Any]]:
    """Outputs as they are kept and shown: `value` and `sensitive` by name.

    The value of a sensitive one is null (Terraform has hidden it), and so is one that is over
    OUTPUT_BYTES_MAX, or no number of JSON's, which has `too_long`. Those after OUTPUTS_MAX are
    left out.
    """
    shown: dict[str, dict[str, Any]] = {}
    for name, output in sorted(outputs.items())[:OUTPUTS_MAX]:
        value = None if output.sensitive else output.value
        shown[name] = {"value": value, "sensitive": output.sensitive}
        if not _can_be_kept(value):
            shown[name] |= {"value": None, "too_long": True}
    return shown


def _can_be_kept(value: Any) -> bool:
    try:
        return len(json.dumps(value, allow_nan=False)) <= OUTPUT_BYTES_MAX
    except ValueError:
        return False  # a number that Python reads as infinity


def _tell_outputs(outputs: Mapping[str, TemplateOutput]) -> list[str]:
    lines = []
    for name, output in shown_outputs(outputs).items():
        value = json.dumps(output["value"], ensure_ascii=False)
        if output["sensitive"]:
            value = "(sensitive)"
        elif output.get("too_long"):
            value = "(too long to show)"
        lines.append(f"{name} = {value}")
    return lines


def _tell_summary(summary: ChangeSummary) -> str:
    changes = summary.add, summary.change, summary.remove
    if summary.operation == "plan":
        return "plan: {} to add, {} to change, {} to destroy".format(*changes)
    return summary.operation + ": {} added, {} changed, {} destroyed".format(*changes)


def _verb(action: str, tense: int) -> str:
    return _VERBS[action][tense] if action in _VERBS else action
