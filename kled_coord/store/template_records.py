"""The results of queries about templates: rows as frozen values, as in records.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template; `active_version` is a version's number, 0 before the first.

    Its deadlines are seconds, None where the settings' count. Workspaces that nobody has used for
    `stop_after_s` are stopped, with None never. `usable_by` is "everybody", or "template-admins".
    """

    id: str
    name: str
    display_name: str
    description: str
    icon: str
    active_version_id: str | None
    active_version: int
    check_deadline_s: int | None
    build_quiet_s: int | None
    stop_after_s: int | None
    usable_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable that a template declares. `type` is source text, "" where it says none.

    `default` is a string's value, else source text; None where there is none, and for a sensitive
    one. `required`: nothing in the template gives it a value, not even null.
    """

    name: str
    type: str
    default: str | None
    description: str
    sensitive: bool
    required: bool
    ephemeral: bool

    @property
    def secret(self) -> bool:
        """Whether its value is kept sealed; Terraform itself keeps an ephemeral one nowhere."""
        return self.sensitive or self.ephemeral


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterOption:
    """One of the values that a parameter may have."""

    name: str
    value: str
    description: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterValidation:
    """What a parameter's value has to be; `error` is the author's word for what is not."""

    min: float | None = None
    max: float | None = None
    monotonic: str | None = None
    regex: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateParameter:
    """A parameter as Terraform has evaluated it, in the order in which people are asked.

    `default` None: it needs a value. `value` is what it has with the answers that were given, and
    `error` what is wrong with that.
    """

    name: str
    display_name: str
    description: str
    type: str
    form_type: str
    default: str | None
    mutable: bool
    ephemeral: bool
    icon: str
    options: tuple[ParameterOption, ...]
    validation: ParameterValidation | None
    value: str
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePreset:
    """Values for some parameters under one name, of which one may be the `default`."""

    name: str
    description: str
    icon: str
    default: bool
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """An immutable version, without its archive. `created_by` is a user's name.

    `fixed` are values that its author has given to variables, as Terraform's source text by name;
    None: sealed. `parameters` and `presets` are those of a start with the defaults; None: nobody
    has looked. `archived_at`: nothing new is made of it. `name` is its author's, if it has one.
    """

    id: str
    template_id: str
    template: str
    number: int
    name: str | None
    message: str
    variables: tuple[Variable, ...]
    fixed: Mapping[str, str | None]
    parameters: tuple[TemplateParameter, ...] | None
    presets: tuple[TemplatePreset, ...]
    created_at: datetime
    created_by: str
    archived_at: datetime | None

    @property
    def open_variables(self) -> tuple[Variable, ...]:
        """The variables that are the workspace's owner's to give."""
        return tuple(each for each in self.variables if each.name not in self.fixed)
