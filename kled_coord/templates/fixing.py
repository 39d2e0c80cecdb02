"""Variables that a template's author fixes for a version (`--var`, `--var-file`). Pure.

Values are stored as source text of a `.tfvars`, so that each means the same from either option.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kled_coord.store.template_records import Variable
from kled_coord.terraform.process.varfile import source_of
from kled_coord.terraform.source.blocks import read_values
from kled_coord.workspaces.parameters import check_numbers, check_values, is_text
from kled_wire.errors import InputError

_VALUE_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuesFile:
    """A `.tfvars` or `.tfvars.json`."""

    name: str
    content: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedVariables:
    """Source text by name; `secret` are values of variables that are sensitive."""

    plain: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> dict[str, str | None]:
        """All names; None stands for a sensitive value."""
        return {**self.plain, **dict.fromkeys(self.secret)}


NONE: Final = FixedVariables(plain={}, secret={})


def fix_variables(
    variables: Sequence[Variable], files: Sequence[ValuesFile], given: Mapping[str, str]
) -> FixedVariables:
    """The values of files, a later one over those before, and of `given` over all of them.

    Raises InputError: no such variable, a value too long, or a file that holds none.
    """
    known = {variable.name: variable for variable in variables}
    values: dict[str, str] = {}
    for file in files:
        found = dict(read_values(file.name, file.content.encode()))
        if not found and file.content.strip():
            raise InputError(
                "variables_malformed",
                f"{file.name[:80]!r} holds no values",
                hint="a line is NAME = VALUE; a file in JSON is called .tfvars.json",
            )
        values |= found
    for name in (*values, *given):
        if name not in known:
            raise _unknown(name, list(known))
    _check_texts({**values, **given})
    check_numbers(variables, values)
    check_values(variables, given)
    values |= {name: source_of(known[name].type, text) for name, text in given.items()}
    return FixedVariables(
        plain={name: text for name, text in values.items() if not known[name].secret},
        secret={name: text for name, text in values.items() if known[name].secret},
    )


def _check_texts(values: Mapping[str, str]) -> None:
    for name, text in values.items():
        if len(text) > _VALUE_MAX or not is_text(text):
            raise InputError(
                "variables_malformed",
                f"the value of {name} is over {_VALUE_MAX // 1024} KiB, or no text",
            )


def _unknown(name: str, names: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name[:80], names, n=1)
    message = f"the template declares no variable {name[:40]!a}"
    hint = f"it declares {', '.join(names[:10])}" if names else "it declares none"
    return InputError(
        "variable_unknown", f"{message}; did you mean {near[0]}?" if near else message, hint=hint
    )
