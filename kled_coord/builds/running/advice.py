"""What a push warns of in a template's parameters, which Terraform takes as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from typing import Final

from kled_coord.builds.runner import TemplateForm
from kled_coord.masking import Mask
from kled_coord.terraform.source.targets import ASKING

# What is shorter is in too many texts to be taken for the secret.
_SHORTEST: Final = 6
_ASKING: Final = re.compile(rf"(?:^|\.)data\.(?:{'|'.join(sorted(ASKING))})\.")


def advise(
    form: TemplateForm,
    *,
    given: Collection[str],
    secrets: Iterable[str],
    left: Iterable[str],
) -> Iterator[str]:
    """All warnings.

    `given` are the parameters that have a value for this push alone, `secrets` the values of
    sensitive variables, `left` the addresses of data sources that the plan has left for an apply.
    """
    yield from _on_defaults(form, given)
    yield from _on_secrets(form, secrets)
    yield from _on_reads(left)


def _on_defaults(form: TemplateForm, given: Collection[str]) -> Iterator[str]:
    """Name the defaults that do not fit."""
    for each in form.parameters:
        if each.default is not None and each.error is not None and each.name not in given:
            yield (
                f"parameter {each.name!r}: its default does not fit, so everybody has to choose "
                f"another value: {each.error}"
            )


def _on_secrets(form: TemplateForm, secrets: Iterable[str]) -> Iterator[str]:
    """Name the parameters and presets that show a value of a sensitive variable."""
    mask = Mask(secret for secret in secrets if len(secret) >= _SHORTEST)
    for what, shown in (("parameter", form.parameters), ("preset", form.presets)):
        for texts in map(asdict, shown):
            if mask.hide_within(texts) != texts:
                yield (
                    f"{what} {texts['name']!r} has the value of a sensitive variable: everybody "
                    "who sees the template or a workspace of it sees that"
                )


def _on_reads(addresses: Iterable[str]) -> Iterator[str]:
    """Name the parameters and presets that nobody is asked for."""
    for address in addresses:
        if _ASKING.search(address):
            yield (
                f"{address}: nobody is asked for it, because it depends on a resource that is not "
                "there before a workspace is made"
            )
