"""The values of a template's variables in a build, from the chosen parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateVersion, Variable
from kled_coord.terraform.process.varfile import Value, is_expression
from kled_coord.workspaces.parameters import Parameters

_PURPOSE: Final = "fixed_variables"


def values_of(
    version: TemplateVersion, parameters: Parameters, fixed: Mapping[str, str]
) -> Mapping[str, Value]:
    """The values of those parameters that are variables of the version, and of what is `fixed`."""
    chosen = {**parameters.plain, **parameters.secret}
    return {
        variable.name: _fixed(variable, fixed[variable.name])
        if variable.name in fixed
        else _value(variable, chosen[variable.name])
        for variable in version.variables
        if variable.name in fixed or variable.name in chosen
    }


def seal_fixed(sealer: Sealer, version_id: str, secret: Mapping[str, str]) -> bytes | None:
    """The sensitive ones of a version's fixed values; None where there are none."""
    if not secret:
        return None
    return sealer.seal(_PURPOSE, version_id, json.dumps(dict(secret)).encode())


def open_fixed(sealer: Sealer, version: TemplateVersion, sealed: bytes | None) -> dict[str, str]:
    """All values that a version's author has fixed. Raises KledError("sealed_unreadable")."""
    secret = {} if sealed is None else json.loads(sealer.open(_PURPOSE, version.id, sealed))
    return {**{name: text for name, text in version.fixed.items() if text is not None}, **secret}


def _fixed(variable: Variable, text: str) -> Value:
    return Value(
        text=text, is_expression=True, is_secret=variable.secret, is_ephemeral=variable.ephemeral
    )


def _value(variable: Variable, text: str) -> Value:
    return Value(
        text=text,
        is_expression=is_expression(variable.type),
        is_secret=variable.secret,
        is_ephemeral=variable.ephemeral,
    )
