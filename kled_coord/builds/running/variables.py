"""What a build gives to the variables of its template: chosen parameters as Terraform's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kled_coord.store.records import TemplateVersion, Variable
from kled_coord.terraform.varfile import Value
from kled_coord.workspaces.parameters import Parameters

_PRIMITIVE: Final = frozenset({"", "string", "number", "bool"})


def values_of(version: TemplateVersion, parameters: Parameters) -> Mapping[str, Value]:
    """The values of those parameters that the version declares."""
    chosen = {**parameters.plain, **parameters.secret}
    return {
        variable.name: _value(variable, chosen[variable.name])
        for variable in version.variables
        if variable.name in chosen
    }


def _value(variable: Variable, text: str) -> Value:
    return Value(
        text=text,
        # As for TF_VAR_NAME: a text stands for itself where the type is a primitive or not said.
        is_expression=variable.type not in _PRIMITIVE,
        is_secret=variable.secret,
        is_ephemeral=variable.ephemeral,
    )
