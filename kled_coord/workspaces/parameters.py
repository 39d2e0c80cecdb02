"""Which values a build gives to its template's variables. Decides; reads and writes nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kled_coord.store.records import TemplateVersion
from kled_coord.store.sealing import Sealer
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceId

_PARAMETERS_MAX: Final = 100
_PARAMETER_MAX: Final = 8192
# What an error names of them.
_NAMED_MAX: Final = 10
_PURPOSE: Final = "parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Values by name. `shown` is what everybody may see who sees the workspace."""

    plain: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> dict[str, str | None]:
        """All names; None stands for the value of a sensitive one."""
        return {**self.plain, **dict.fromkeys(self.secret)}

    def seal(self, sealer: Sealer, workspace_id: WorkspaceId) -> bytes | None:
        """The sensitive ones, sealed for their workspace; None where there are none."""
        if not self.secret:
            return None
        return sealer.seal(_PURPOSE, workspace_id, json.dumps(dict(self.secret)).encode())


NONE: Final = Parameters(plain={}, secret={})


def open_parameters(
    sealer: Sealer,
    workspace_id: WorkspaceId,
    shown: Mapping[str, str | None],
    sealed: bytes | None,
) -> Parameters:
    """What `Parameters.shown` and `seal` gave. Raises KledError("sealed_unreadable")."""
    secret = {} if sealed is None else json.loads(sealer.open(_PURPOSE, workspace_id, sealed))
    plain = {name: value for name, value in shown.items() if value is not None}
    return Parameters(plain=plain, secret=secret)


def decide_parameters(
    version: TemplateVersion, kept: Parameters, given: Mapping[str, str]
) -> Parameters:
    """The values for a build of `version`: what was given, over what was kept.

    Kept ones that the version does not declare are left out. Raises InputError.
    """
    check_sizes(given)
    names = {variable.name for variable in version.variables}
    for name in given:
        if name not in names:
            raise _unknown(version, name)
    values = {**kept.plain, **kept.secret, **given}
    missing = [v.name for v in version.variables if v.required and v.name not in values]
    if missing:
        raise _missing(version, missing)
    return split_parameters(version, values)


def split_parameters(version: TemplateVersion, values: Mapping[str, str]) -> Parameters:
    """Those values that the version declares, the sensitive ones apart."""
    plain: dict[str, str] = {}
    secret: dict[str, str] = {}
    for variable in version.variables:
        if variable.name in values:
            (secret if variable.secret else plain)[variable.name] = values[variable.name]
    return Parameters(plain=plain, secret=secret)


def check_sizes(given: Mapping[str, str]) -> None:
    """Raise InputError unless there are few enough parameters, each short enough and text."""
    if len(given) > _PARAMETERS_MAX:
        raise InputError("input_invalid", f"parameters: at most {_PARAMETERS_MAX}")
    for name, value in given.items():
        if len(name) + len(value) > _PARAMETER_MAX or not _is_text(name) or not _is_text(value):
            raise InputError(
                "input_invalid",
                f"parameters.{_shown(name)}: at most {_PARAMETER_MAX} characters, and no NUL",
            )


def _is_text(value: str) -> bool:
    # JSON can hold half a surrogate pair, which no encoding has.
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _unknown(version: TemplateVersion, name: str) -> InputError:
    names = [variable.name for variable in version.variables]
    near = difflib.get_close_matches(name[:80], names, n=1)
    message = f"{_template(version)} has no parameter {_shown(name)}"
    hint = f"its parameters are {_listed(names)}" if names else "it has none"
    return InputError(
        "parameter_unknown", f"{message}; did you mean {near[0]}?" if near else message, hint=hint
    )


def _missing(version: TemplateVersion, names: Sequence[str]) -> InputError:
    first = names[0]
    return InputError(
        "parameter_missing",
        f"{_template(version)} needs a value for {_listed(names)}",
        hint=f"-p {first}=VALUE, or -p {first}=@FILE for what others must not see",
    )


def _template(version: TemplateVersion) -> str:
    return f"the template {version.template} (version {version.number})"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = ["…"] if len(found) > _NAMED_MAX else []
    return ", ".join(found[:_NAMED_MAX] + more)


def _shown(name: str) -> str:
    return ascii(name[:40])
