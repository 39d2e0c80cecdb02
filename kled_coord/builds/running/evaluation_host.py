"""The host of an evaluation without a build: answers the provider and notes the parameters.

What the provider says of a parameter comes from a stranger's template. So texts and numbers of
entries are bounded, and whatever is no value of the type that we keep is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import trio

from kled_coord.builds.runner import TemplateForm
from kled_coord.store.template_records import (
    ParameterOption,
    ParameterValidation,
    TemplateParameter,
    TemplatePreset,
)
from kled_coord.terraform.checking import SchemaOnlyHost
from kled_wire.errors import InputError

PARAMETERS_MAX: Final = 100
PRESETS_MAX: Final = 50
OPTIONS_MAX: Final = 64
_TEXT_MAX: Final = 4096
VALUE_MAX: Final = 8192


class EvaluationHost(SchemaOnlyHost):
    """Has the methods of `kled_provider.host.Host` that a plan needs.

    `variables` are the names that the template's variables have. `bundles` are the architectures
    for which an agent can be fetched; None where that is not checked.
    """

    def __init__(
        self,
        workspace: Mapping[str, Any],
        variables: Collection[str] = (),
        bundles: Collection[str] | None = None,
    ) -> None:
        self._workspace = workspace
        self._variables = variables
        self._bundles = bundles
        self._parameters: dict[str, tuple[int, TemplateParameter]] = {}
        self._presets: dict[str, TemplatePreset] = {}

    async def workspace(self) -> Mapping[str, Any]:
        """The workspace that it would be."""
        await trio.lowlevel.checkpoint()
        return self._workspace

    async def has_bundle(self, architecture: str) -> bool:
        """Whether an agent for `architecture` can be fetched; True where that is not checked."""
        await trio.lowlevel.checkpoint()
        return self._bundles is None or architecture in self._bundles

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        """Note a parameter; Terraform goes on. Raises InputError where its name is taken."""
        await trio.lowlevel.checkpoint()
        name = _text(parameter.get("name"))
        if name in self._parameters:
            raise InputError("template_invalid", f"two parameters are called {name[:80]!r}")
        if name in self._variables:  # whose would a value be?
            raise InputError(
                "template_invalid",
                f"a variable and a parameter are both called {name[:80]!r}",
                hint="Give one of them another name.",
            )
        if len(self._parameters) >= PARAMETERS_MAX:
            raise InputError("template_invalid", f"there are more than {PARAMETERS_MAX} parameters")
        order = parameter.get("order")
        self._parameters[name] = (
            int(order) if isinstance(order, int | float) else 0,
            _parameter(name, parameter),
        )
        return True

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """Note a preset. Raises InputError where its name is taken, or another is the default."""
        await trio.lowlevel.checkpoint()
        if len(self._presets) >= PRESETS_MAX:
            raise InputError("template_invalid", f"there are more than {PRESETS_MAX} presets")
        name = _text(preset.get("name"))
        if name in self._presets:
            raise InputError("template_invalid", f"two presets are called {name[:80]!r}")
        others = [each.name for each in self._presets.values() if each.default]
        if others and preset.get("default") is True:
            raise InputError(
                "template_invalid",
                f"two presets are the default: {others[0][:80]!r} and {name[:80]!r}",
            )
        given = preset.get("parameters")
        self._presets[name] = TemplatePreset(
            name=name,
            description=_text(preset.get("description")),
            icon=_text(preset.get("icon")),
            default=preset.get("default") is True,
            parameters={
                _text(key): value[:VALUE_MAX]
                for key, value in (given if isinstance(given, Mapping) else {}).items()
                if isinstance(value, str)
            },
        )

    async def note(self, message: str) -> None:
        """Ignored: only a build shows notes."""

    def is_missing_a_value(self) -> bool:
        """Whether a parameter needs a value that nobody has given."""
        given = self._workspace["parameters"]
        found = [parameter for _, parameter in self._parameters.values()]
        return any(each.error is not None and each.name not in given for each in found)

    def answer(self) -> TemplateForm:
        """What was told: parameters by their order and name, the default preset first."""
        ordered = sorted(self._parameters.values(), key=lambda each: (each[0], each[1].name))
        presets = sorted(self._presets.values(), key=lambda each: (not each.default, each.name))
        return TemplateForm(parameters=tuple(each for _, each in ordered), presets=tuple(presets))


def _parameter(name: str, told: Mapping[str, Any]) -> TemplateParameter:
    default, error = told.get("default"), told.get("error")
    return TemplateParameter(
        name=name,
        display_name=_text(told.get("display_name")) or name,
        description=_text(told.get("description")),
        type=_text(told.get("type")) or "string",
        form_type=_text(told.get("form_type")),
        default=default[:VALUE_MAX] if isinstance(default, str) else None,
        mutable=told.get("mutable") is True,
        ephemeral=told.get("ephemeral") is True,
        icon=_text(told.get("icon")),
        options=tuple(_option(each) for each in _list(told.get("option"))[:OPTIONS_MAX]),
        validation=_validation(told.get("validation")),
        value=str(told.get("value") or "")[:VALUE_MAX],
        error=_text(error) if isinstance(error, str) else None,
    )


def _option(told: Mapping[str, Any]) -> ParameterOption:
    value = _text(told.get("value"))
    return ParameterOption(
        name=_text(told.get("name")) or value,
        value=value,
        description=_text(told.get("description")),
        icon=_text(told.get("icon")),
    )


def _validation(told: object) -> ParameterValidation | None:
    if not isinstance(told, Mapping):
        return None
    return ParameterValidation(
        min=_number(told.get("min")),
        max=_number(told.get("max")),
        monotonic=_text(told.get("monotonic")) or None,
        regex=_text(told.get("regex")) or None,
        error=_text(told.get("error")) or None,
    )


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -(2**53) < value < 2**53 else None  # type: ignore[operator, arg-type]


def _text(value: object) -> str:
    return value[:_TEXT_MAX] if isinstance(value, str) else ""
