"""Checks a parameter's declaration and its value: values in, error sentences out.

A value is always text: a number as Terraform writes it, "true" or "false", or a list of strings as
JSON. Values of a declaration may be unknown, and are then looked at when they are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from kled_provider.kled.parameters.go_regex import python_pattern
from kled_provider.plugin.diagnostics import Diagnostic, Path
from kled_provider.plugin.values import Values, is_known

TYPES: Final = ("string", "number", "bool", "list(string)")
OPTIONS_MAX: Final = 64
MONOTONIC: Final = ("increasing", "decreasing")

# By type: the forms without options, and those with options; the first is the default.
FORMS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "string": (("input", "textarea"), ("radio", "dropdown")),
    "number": (("input", "slider"), ("radio", "dropdown")),
    "bool": (("checkbox", "switch"), ("radio", "dropdown")),
    "list(string)": (("tag-select",), ("radio", "multi-select")),
}
FORM_TYPES: Final = (
    *dict.fromkeys(form for both in FORMS.values() for forms in both for form in forms),
    "error",
)
_ERROR_FORM: Final = "error"
# A number in Terraform's notation and range: Decimal would also take "1_000", " 1" and more.
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")

_TRUE_OR_FALSE: Final = ("true", "false")


def form_of(declared: Values) -> str:
    """How the parameter is asked for where the template does not say."""
    without, with_options = FORMS[declared["type"]]
    return declared["form_type"] or (with_options if declared["option"] else without)[0]


def declaration_problems(config: Values) -> list[Diagnostic]:
    """Say what is wrong with a parameter as declared; its type may not be one of TYPES."""
    kind = config["type"] or "string"
    if kind not in FORMS:  # unknown, or the schema's check has refused it
        return []
    found = [*_validation_problems(config, kind), *_ephemeral_problems(config)]
    if is_known(config["option"]):
        found += [*_option_problems(config, kind), *_form_problems(config, kind)]
        default = config["default"]
        if isinstance(default, str):
            problem = _form_problem(default, kind) or _option_problem(default, config)
            if problem:
                found.append(_at("Invalid default", problem, "default"))
    return found


def value_problem(
    declared: Values, value: str | None, previous: str | None, *, matches: bool
) -> str | None:
    """Say why a value cannot be; `previous` is that of the last build, None: none that binds.

    None as the value: nothing was chosen, and there is no default. `matches` says whether it fits
    the declaration's regular expression (regex_process.py).
    """
    if value is None:
        return "A value is needed: there is no default."
    if previous is not None and value != previous and not declared["mutable"]:
        return (
            f"It cannot be changed: it is {previous!r} since the workspace was made. Make another "
            "workspace for another value."
        )
    return (
        _form_problem(value, declared["type"])
        or _option_problem(value, declared)
        or _rule_problem(declared, value, previous, matches=matches)
    )


def regex_of(declared: Values) -> str | None:
    """The regular expression that values have to match, if any."""
    rule: Values = next(iter(declared["validation"]), {})
    found = rule.get("regex")
    return found if isinstance(found, str) else None


def _rule_problem(
    declared: Values, value: str, previous: str | None, *, matches: bool
) -> str | None:
    """Ask the `validation` block; its own words come first."""
    rule = next(iter(declared["validation"]), None)
    if rule is None:
        return None
    problem = _number_problem(rule, value, previous) if declared["type"] == "number" else None
    if not matches:
        problem = f"{value!r} does not match {rule['regex']!r}."
    if problem and rule["error"]:
        said = {"{min}": rule["min"], "{max}": rule["max"], "{value}": value}
        return re.sub(r"\{(?:min|max|value)\}", lambda m: str(said[m[0]]), rule["error"])
    return problem


def _number_problem(rule: Values, value: str, previous: str | None) -> str | None:
    number = Decimal(value)
    if rule["min"] is not None and number < rule["min"]:
        return f"{value} is less than {rule['min']}."
    if rule["max"] is not None and number > rule["max"]:
        return f"{value} is more than {rule['max']}."
    if previous is None or rule["monotonic"] is None or _form_problem(previous, "number"):
        return None
    before = Decimal(previous)
    if rule["monotonic"] == "increasing" and number < before:
        return f"It may only grow: it was {previous}, and {value} is less."
    if rule["monotonic"] == "decreasing" and number > before:
        return f"It may only shrink: it was {previous}, and {value} is more."
    return None


def _form_problem(value: str, kind: str) -> str | None:
    """Whether a text is a value of the type."""
    if kind == "number" and not _NUMBER.fullmatch(value):
        return f"{value!r} is not a number."
    if kind == "bool" and value not in _TRUE_OR_FALSE:
        return f"{value!r} is neither true nor false."
    if kind == "list(string)" and elements_of(value) is None:
        return f"{value!r} is not a JSON list of strings."
    return None


def elements_of(value: str) -> list[str] | None:
    """The strings of a list that is written as JSON; None: it is not one."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(found, list) and all(isinstance(item, str) for item in found)
    return found if is_list else None


def _option_problem(value: str, declared: Values) -> str | None:
    options = [option["value"] for option in declared["option"]]
    if not options or not is_known(options):
        return None
    several = declared["type"] == "list(string)" and declared["form_type"] == "multi-select"
    wanted = (elements_of(value) or []) if several else [value]
    odd = [item for item in wanted if item not in options]
    if not odd:
        return None
    return f"{odd[0]!r} is not one of the options: {', '.join(map(str, options))}."


def _option_problems(config: Values, kind: str) -> Iterator[Diagnostic]:
    options = config["option"]
    if len(options) > OPTIONS_MAX:
        said = f"There are {len(options)}; at most {OPTIONS_MAX} are taken."
        yield _at("Too many options", said, "option", OPTIONS_MAX)
    several = kind == "list(string)" and config["form_type"] == "multi-select"
    for name in ("name", "value"):
        seen: set[str] = set()
        for index, option in enumerate(options):
            if option[name] in seen:
                said = f"Another option has the {name} {option[name]!r} too."
                yield _at(f"Two options of one {name}", said, "option", index, name)
            seen.add(option[name])
    for index, option in enumerate(options):
        value = option["value"]
        problem = None if several else isinstance(value, str) and _form_problem(value, kind)
        if problem:
            yield _at("Invalid value of an option", problem, "option", index, "value")


def _form_problems(config: Values, kind: str) -> Iterator[Diagnostic]:
    form = config["form_type"]
    allowed = FORMS[kind][1 if config["option"] else 0]
    if not isinstance(form, str) or form in (*allowed, _ERROR_FORM) or form not in FORM_TYPES:
        return
    with_options = "with options" if config["option"] else "without options"
    said = f"A {kind} {with_options} is asked for by {' or '.join(allowed)}; got {form!r}."
    yield _at("Invalid form_type", said, "form_type")


def _ephemeral_problems(config: Values) -> Iterator[Diagnostic]:
    if config["ephemeral"] is not True:
        return
    if config["mutable"] in (None, False):
        said = "What is asked at every build is chosen anew each time: set mutable = true too."
        yield _at("An ephemeral parameter has to be mutable", said, "ephemeral")
    if config["default"] is None:
        said = "Set the value of the builds for which nobody chooses one."
        yield _at("An ephemeral parameter needs a default", said, "ephemeral")


def _validation_problems(config: Values, kind: str) -> Iterator[Diagnostic]:
    if not isinstance(config["validation"], list):
        return
    for index, rule in enumerate(config["validation"]):
        yield from (
            _at(f"Invalid {name}", said, "validation", index, name)
            for name, problem in _RULES.items()
            if rule[name] is not None and is_known(rule[name])
            for said in [problem(rule, kind)]
            if said
        )


def _only_number(rule: Values, kind: str) -> str | None:
    del rule
    return None if kind == "number" else f"It is for parameters of type number; this is a {kind}."


def _max_problem(rule: Values, kind: str) -> str | None:
    limits = rule["min"], rule["max"]
    if all(limit is not None and is_known(limit) for limit in limits) and limits[0] > limits[1]:
        return f"It is less than min, which is {limits[0]}."
    return _only_number(rule, kind)


def _monotonic_problem(rule: Values, kind: str) -> str | None:
    if rule["monotonic"] not in MONOTONIC:
        return f"Use {' or '.join(MONOTONIC)}; got {rule['monotonic']!r}."
    return _only_number(rule, kind)


def _regex_problem(rule: Values, kind: str) -> str | None:
    if kind != "string":
        return f"It is for parameters of type string; this is a {kind}."
    try:
        re.compile(python_pattern(rule["regex"]))
    except (re.error, OverflowError, RecursionError) as error:
        return f"It is not a regular expression: {error}."
    if rule["error"] is None:
        return "Say with `error` what to write: nobody can read a regular expression in a form."
    return None


_RULES: Final[Mapping[str, Callable[[Values, str], str | None]]] = {
    "min": _only_number,
    "max": _max_problem,
    "monotonic": _monotonic_problem,
    "regex": _regex_problem,
}


def _at(summary: str, detail: str, *path: str | int) -> Diagnostic:
    found: Path = path
    return Diagnostic(summary=summary, detail=detail, path=found)


def usable_value(declared: Values, value: str | None) -> str:
    """What stands for a value that cannot be: itself, if it is of the type and one of the options.

    Else what depends on it would fail in words of its own, before anybody is told what is wrong
    with the value.
    """
    candidates = (value, declared["default"], *(each["value"] for each in declared["option"]))
    kind = declared["type"]
    for each in candidates:
        if each is not None and not (_form_problem(each, kind) or _option_problem(each, declared)):
            return str(each)
    return {"number": "0", "bool": "false", "list(string)": "[]"}.get(kind, "")


def plain_declaration(declared: Values) -> dict[str, Any]:
    """What the host is told of a declaration (`Host.tell_parameter`)."""
    found = {name: _plain(value) for name, value in declared.items()}
    return {
        **found,
        "form_type": form_of(declared),
        "validation": next(iter(found["validation"]), None),
    }


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value
