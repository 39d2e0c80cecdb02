"""Decides which values a build gives to its template's variables. No I/O."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kled_coord.exponents import has_huge_number
from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateParameter, TemplateVersion, Variable
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceId

_PARAMETERS_MAX: Final = 100
_PARAMETER_MAX: Final = 8192
# How many parameters an error names.
_NAMED_MAX: Final = 10
_PURPOSE: Final = "parameters"
# Texts that Terraform converts to a type, and what the others are.
_FORMS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "number": (re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"), "not a number"),
    "bool": (re.compile("true|false|1|0"), "neither true nor false"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Values by name, those of `ephemeral` for one build alone."""

    plain: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)
    ephemeral: frozenset[str] = frozenset()

    @property
    def shown(self) -> dict[str, str | None]:
        """All names, for everybody who sees the workspace; None stands for a sensitive value."""
        return {**self.plain, **dict.fromkeys(self.secret)}

    @property
    def lasting(self) -> dict[str, str | None]:
        """The same without parameters that are for one build alone."""
        return {name: v for name, v in self.shown.items() if name not in self.ephemeral}

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
    version: TemplateVersion,
    kept: Parameters,
    given: Mapping[str, str],
    *,
    asked: Sequence[TemplateParameter] | None = None,
    applied: TemplateVersion | None = None,
) -> Parameters:
    """The values for a build of `version`: what was given, over what was kept.

    `asked` are the parameters that Terraform has with these answers; None: it was not asked, and
    none of them changes. `applied` is the version that the kept ones were for. What a parameter had
    stays for as long as it is not there (`count = 0`). Raises InputError.
    """
    names = {variable.name for variable in version.variables}
    values = {**kept.plain, **kept.secret, **given}
    missing = missing_variables(version, values)
    if missing and asked is None and version.parameters != ():
        # Terraform could not be asked without them: what else there is, nobody knows.
        raise _missing(version, missing)
    check_given(version, given, asked)
    if missing:
        raise _missing(version, missing)
    if asked is not None:
        _check_asked(version, asked, kept, given)
    former = names | {variable.name for variable in (applied or version).variables}
    chosen = split_parameters(version, values)
    parameters = {name: value for name, value in kept.plain.items() if name not in former}
    parameters |= {each.name: each.value for each in asked or ()}
    return Parameters(
        plain={**parameters, **chosen.plain},
        secret=chosen.secret,
        ephemeral=frozenset(each.name for each in asked or () if each.ephemeral),
    )


def check_given(
    version: TemplateVersion, given: Mapping[str, str], asked: Sequence[TemplateParameter] | None
) -> None:
    """Raise InputError unless every value is of a parameter of the version, and short enough."""
    check_sizes(given)
    check_values(version.open_variables, given)
    names = [variable.name for variable in version.open_variables]
    names += [each.name for each in asked or ()]
    for name in given:
        if name in version.fixed:
            raise _fixed(version, name)
        if name not in names:
            raise _unknown(version, name, names)


def missing_variables(version: TemplateVersion, values: Mapping[str, str]) -> list[str]:
    """The variables that need a value and have none."""
    needed = [each for each in version.open_variables if each.required]
    return [each.name for each in needed if each.name not in values]


def _check_asked(
    version: TemplateVersion,
    asked: Sequence[TemplateParameter],
    kept: Parameters,
    given: Mapping[str, str],
) -> None:
    values = {**kept.plain, **kept.secret, **given}
    wrong = [each for each in asked if each.error is not None]
    missing = [each.name for each in wrong if each.name not in values]
    for each in wrong:
        if each.name in values:
            raise InputError(
                "parameter_invalid",
                f"parameter {_shown(each.name)}: {_one_line(each.error or '')}",
                hint=_hint_of(each, is_chosen=each.name in kept.plain and each.name in given),
            )
    for each in wrong:
        if each.default is not None:
            raise InputError(
                "parameter_missing",
                f"{_template(version)} needs a value for {_listed(missing)}: the default of "
                f"{each.name} does not fit: {_one_line(each.error or '')}",
                hint=f"-p {each.name}=VALUE",
            )
    if missing:
        raise _missing(version, missing)


def _hint_of(parameter: TemplateParameter, *, is_chosen: bool) -> str | None:
    """How another value is given; for one that `is_chosen` for good the error says what to do."""
    if not parameter.name.isprintable() or (is_chosen and not parameter.mutable):
        return None
    return f"-p {parameter.name}=VALUE"


def split_parameters(version: TemplateVersion, values: Mapping[str, str]) -> Parameters:
    """The values that the version declares, the sensitive ones apart."""
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
        if len(name) + len(value) > _PARAMETER_MAX or not is_text(name) or not is_text(value):
            raise InputError(
                "input_invalid",
                f"parameters.{_shown(name)}: at most {_PARAMETER_MAX} characters, and no NUL",
            )


def check_numbers(variables: Iterable[Variable], values: Mapping[str, str]) -> None:
    """Raise InputError where a value has a number that Terraform would be busy with."""
    for variable in variables:
        is_of_numbers = "number" in variable.type and "string" not in variable.type
        if is_of_numbers and has_huge_number(values.get(variable.name, "")):
            raise InputError(
                "parameter_invalid",
                f"parameter {_shown(variable.name)}: the number is out of range",
            )


def check_values(variables: Iterable[Variable], values: Mapping[str, str]) -> None:
    """Raise InputError where a text is no value of its variable's primitive type.

    Of other types Terraform says more in its plan.
    """
    check_numbers(variables, values)
    for variable in variables:
        value = values.get(variable.name)
        form, wanted = _FORMS.get(variable.type, (None, ""))
        if value is not None and form is not None and not form.fullmatch(value):
            shown = "its value" if variable.secret else _shown(value)
            raise InputError(
                "parameter_invalid",
                f"parameter {_shown(variable.name)}: {shown} is {wanted}",
                hint=f"-p {variable.name}=VALUE",
            )


def is_text(value: str) -> bool:
    """Whether Terraform and the database can hold it."""
    # JSON can hold half a surrogate pair, which no encoding has.
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _unknown(version: TemplateVersion, name: str, names: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name[:80], names, n=1)
    message = f"{_template(version)} has no parameter {_shown(name)}"
    hint = f"its parameters are {_listed(names)}" if names else "it has none"
    return InputError(
        "parameter_unknown", f"{message}; did you mean {near[0]}?" if near else message, hint=hint
    )


def _fixed(version: TemplateVersion, name: str) -> InputError:
    return InputError(
        "parameter_fixed",
        f"{_template(version)} has a value for {name} that its author has fixed",
        hint="leave it out; kled template push --var gives it another",
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


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
