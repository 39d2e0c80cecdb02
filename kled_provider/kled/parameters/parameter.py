"""Data source `kled_parameter`: a value that the owner of a workspace chooses.

Terraform evaluates: a parameter under `count = 0` is not read and does not exist. The host is told
each one as it is read, and says whether a wrong value fails the run (a build) or is only told (the
questions before one).
"""

from __future__ import annotations

from kled_provider.kled.parameters.regex_process import is_match
from kled_provider.kled.parameters.rules import (
    FORM_TYPES,
    TYPES,
    declaration_problems,
    plain_declaration,
    regex_of,
    usable_value,
    value_problem,
)
from kled_provider.plugin.checks import at_most, one_line, one_of
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.planning import with_defaults
from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Block,
    Schema,
    computed,
    defaulted,
    flag,
    optional,
    required,
)
from kled_provider.plugin.values import Values

_OPTION = Block(
    name="option",
    description="One of the values to choose from; without options every value of the type is "
    "allowed.",
    attributes=(
        required("name", "Name to display."),
        required("value", "The value, as text; unique among the options."),
        optional("description", "Short description."),
        optional("icon", "Path or URL of an icon."),
    ),
)
_VALIDATION = Block(
    name="validation",
    description="Conditions that a value must meet.",
    max_items=1,
    attributes=(
        optional("min", "Lowest number.", NUMBER),
        optional("max", "Highest number.", NUMBER),
        optional(
            "monotonic",
            "`increasing` or `decreasing`: the direction in which a number may change "
            "from build to build.",
        ),
        optional(
            "regex",
            "Regular expression that must match somewhere in the string.",
            check=at_most(1000),
        ),
        optional(
            "error",
            "Message for a value that is refused; `{min}`, `{max}` and `{value}` are "
            "filled in. A `regex` needs one.",
        ),
        computed("min_disabled", "Whether there is no min.", BOOL),
        computed("max_disabled", "Whether there is no max.", BOOL),
    ),
)
SCHEMA = Schema(
    description="A value that the owner of a workspace chooses.",
    attributes=(
        required("name", "Name of the parameter, as in `-p NAME=VALUE`.", check=one_line),
        defaulted(
            "type", "string", "`string`, `number`, `bool` or `list(string)`.", check=one_of(*TYPES)
        ),
        optional(
            "default",
            "Value if the owner chooses none, as text; a list as JSON. Without a "
            "default the owner must choose.",
        ),
        optional("display_name", "Name to display; by default `name`."),
        optional("description", "Description, in Markdown."),
        optional("icon", "Path or URL of an icon."),
        flag(
            "mutable",
            "Whether the owner may choose another value later. Where not, that is possible only "
            "once another version of the template refuses the value.",
        ),
        flag(
            "ephemeral",
            "Whether the value applies to one build only; needs `mutable` and a default.",
        ),
        optional(
            "form_type",
            "How it is asked for: `input`, `textarea`, `slider`, `checkbox`, `switch`, "
            "`radio`, `dropdown`, `multi-select`, `tag-select` or `error`; by default as the type "
            "and the options need.",
            check=one_of(*FORM_TYPES),
        ),
        defaulted(
            "order",
            0,
            "Position among the others; the lowest is first, and equal ones by name.",
            of=NUMBER,
        ),
        optional("styling", "JSON with hints for a form."),
        computed("id", "The name."),
        computed("optional", "Whether there is a default.", BOOL),
        computed(
            "value", "The chosen value, always as text: use `tonumber(...)` or `jsondecode(...)`."
        ),
    ),
    blocks=(_OPTION, _VALIDATION),
)


class ParameterData(DataSource):
    """A question to the owner, and the answer."""

    def __init__(self, type_name: str = "kled_parameter", schema: Schema = SCHEMA) -> None:
        self.type_name = type_name
        self.schema = schema

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check the declaration."""
        return [*super().validate(config), *declaration_problems(config)]

    async def read(self, context: Context, config: Values) -> Values:
        """Take the owner's value, or the default, and tell the host of it."""
        declared = with_defaults(self.schema, config)
        workspace = await context.host.workspace()
        name, default = declared["name"], declared["default"]
        previous = workspace["previous_parameters"].get(name)
        value = workspace["parameters"].get(name, default)
        if declared["ephemeral"] and value == previous:
            value = default  # kept from a version in which it was for good
        if previous not in (None, value) and await _problem(declared, previous, None):
            previous = None  # the template has changed: it must be possible to choose another one
        problem = await _problem(declared, value, previous)
        shown = usable_value(declared, None) if value is None else value
        told = {**plain_declaration(declared), "value": shown, "error": problem}
        goes_on = await context.host.tell_parameter(told)
        if problem is not None and not goes_on:
            raise DiagnosticError.of(f"Parameter {name}: {problem}", path=("name",))
        if problem is not None:
            value = usable_value(declared, value)
        for rule in declared["validation"]:
            rule["min_disabled"] = rule["min"] is None
            rule["max_disabled"] = rule["max"] is None
        return {**declared, "id": name, "optional": default is not None, "value": value}


async def _problem(declared: Values, value: str | None, previous: str | None) -> str | None:
    """As `value_problem`."""
    pattern = regex_of(declared)
    matches = pattern is None or value is None or await is_match(pattern, value)
    return value_problem(declared, value, previous, matches=matches)
