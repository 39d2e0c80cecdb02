"""Parameters as Terraform would have told them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kled_coord.store.template_records import TemplateParameter

_PLAIN = TemplateParameter(
    name="",
    display_name="",
    description="",
    type="string",
    form_type="input",
    default=None,
    mutable=False,
    ephemeral=False,
    icon="",
    options=(),
    validation=None,
    value="",
    error=None,
)


def parameter(name: str, **fields: Any) -> TemplateParameter:
    return replace(_PLAIN, name=name, display_name=name, **fields)
