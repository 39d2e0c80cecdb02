"""The JSON answers about templates and parameters, as docs/protocol.md specifies them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from kled_coord.api.answers import fields_of
from kled_coord.builds.runner import CheckedTemplate
from kled_coord.store.template_records import (
    Template,
    TemplateParameter,
    TemplatePreset,
    TemplateVersion,
    Variable,
)
from kled_coord.templates.questions import Evaluation
from kled_coord.templates.service import VersionDetails


class VariableAnswer(BaseModel):
    """A variable that a template declares; `fixed` is the value that its author has given it."""

    name: str
    type: str
    default: str | None
    description: str
    sensitive: bool
    required: bool
    is_fixed: bool
    fixed: str | None

    @classmethod
    def of(cls, variable: Variable, version: TemplateVersion) -> VariableAnswer:
        """Make one from a record."""
        name = variable.name
        more = {"is_fixed": name in version.fixed, "fixed": version.fixed.get(name)}
        return cls.model_validate({**fields_of(variable), **more})


class OptionAnswer(BaseModel):
    """One of a parameter's possible values."""

    name: str
    value: str
    description: str
    icon: str


class ValidationAnswer(BaseModel):
    """What a parameter's value has to be."""

    min: float | None
    max: float | None
    monotonic: str | None
    regex: str | None
    error: str | None


class ParameterAnswer(BaseModel):
    """A parameter with the value that it has, and what is wrong with it."""

    name: str
    display_name: str
    description: str
    type: str
    form_type: str
    default: str | None
    mutable: bool
    ephemeral: bool
    icon: str
    options: list[OptionAnswer]
    validation: ValidationAnswer | None
    value: str
    error: str | None

    @classmethod
    def of(cls, parameter: TemplateParameter) -> ParameterAnswer:
        """Make one from a record."""
        rules = parameter.validation
        more = {
            "options": [fields_of(option) for option in parameter.options],
            "validation": None if rules is None else fields_of(rules),
        }
        return cls.model_validate({**fields_of(parameter), **more})


class PresetAnswer(BaseModel):
    """Values for some parameters under one name."""

    name: str
    description: str
    icon: str
    default: bool
    parameters: dict[str, str]

    @classmethod
    def of(cls, preset: TemplatePreset) -> PresetAnswer:
        """Make one from a record."""
        return cls.model_validate(fields_of(preset))


class EvaluationAnswer(BaseModel):
    """What a template asks for with some answers; parameters null: `missing` variables first."""

    variables: list[VariableAnswer]
    missing: list[str]
    parameters: list[ParameterAnswer] | None
    presets: list[PresetAnswer]

    @classmethod
    def of(cls, version: TemplateVersion, evaluation: Evaluation) -> EvaluationAnswer:
        """Make one from what was evaluated."""
        asked = evaluation.parameters
        return cls(
            variables=[VariableAnswer.of(each, version) for each in version.open_variables],
            missing=list(evaluation.missing),
            parameters=None if asked is None else _parameters(asked),
            presets=_presets(evaluation.presets),
        )


class VersionAnswer(BaseModel):
    """A version of a template; parameters are those of a start with the defaults, null unknown."""

    id: str
    template: str
    number: int
    name: str | None
    message: str
    variables: list[VariableAnswer]
    parameters: list[ParameterAnswer] | None
    presets: list[PresetAnswer]
    created_at: datetime
    created_by: str
    archived_at: datetime | None

    @classmethod
    def of(cls, version: TemplateVersion) -> VersionAnswer:
        """Make one from a record."""
        return cls.model_validate(_version(version))


class VersionDetailsAnswer(VersionAnswer):
    """A version with its README, "" where it has none."""

    readme: str

    @classmethod
    def of_details(cls, details: VersionDetails) -> VersionDetailsAnswer:
        """Make one from a record."""
        return cls.model_validate({**_version(details.version), "readme": details.readme})


class ChangeAnswer(BaseModel):
    """What a start would do to a resource: create, read and so on."""

    address: str
    action: str


class CheckAnswer(BaseModel):
    """What the check of an upload has found; null where it could not be planned."""

    changes: list[ChangeAnswer] | None
    warnings: list[str]
    parameters: list[ParameterAnswer] | None

    @classmethod
    def of(cls, checked: CheckedTemplate) -> CheckAnswer:
        """Make one from what was found."""
        return cls.model_validate(_checked(checked))


class PushedAnswer(VersionAnswer):
    """A new version, with what its check has found."""

    changes: list[ChangeAnswer] | None
    warnings: list[str]

    @classmethod
    def of_push(cls, version: TemplateVersion, checked: CheckedTemplate) -> PushedAnswer:
        """Make one from a record and what was found."""
        return cls.model_validate({**_checked(checked), **_version(version)})


class TemplateAnswer(BaseModel):
    """A template; `versions` only where one template was asked for."""

    id: str
    name: str
    display_name: str
    description: str
    icon: str
    active_version: int
    check_deadline_s: int | None
    build_quiet_s: int | None
    stop_after_s: int | None
    usable_by: str
    created_at: datetime
    updated_at: datetime
    versions: list[VersionAnswer] | None = None

    @classmethod
    def of(
        cls, template: Template, versions: list[TemplateVersion] | None = None
    ) -> TemplateAnswer:
        """Make one from a record."""
        shown = None if versions is None else [VersionAnswer.of(v) for v in versions]
        return cls.model_validate({**fields_of(template), "versions": shown})


def _version(version: TemplateVersion) -> dict[str, object]:
    asked = version.parameters
    return {
        **fields_of(version),
        "variables": [VariableAnswer.of(variable, version) for variable in version.variables],
        "parameters": None if asked is None else _parameters(asked),
        "presets": _presets(version.presets),
    }


def _checked(checked: CheckedTemplate) -> dict[str, object]:
    found = checked.changes
    changes = found and [{"address": address, "action": action} for address, action in found]
    return {
        "changes": changes if found is None else list(changes or ()),
        "warnings": list(checked.warnings),
        "parameters": None if checked.answer is None else _parameters(checked.answer.parameters),
    }


def _parameters(parameters: Sequence[TemplateParameter]) -> list[ParameterAnswer]:
    return [ParameterAnswer.of(parameter) for parameter in parameters]


def _presets(presets: Sequence[TemplatePreset]) -> list[PresetAnswer]:
    return [PresetAnswer.of(preset) for preset in presets]
