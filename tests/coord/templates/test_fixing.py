"""Values that a template's author fixes."""

from __future__ import annotations

import pytest

from kled_coord.store.template_records import Variable
from kled_coord.templates.fixing import FixedVariables, ValuesFile, fix_variables
from kled_wire.errors import InputError


def variable(name: str, kind: str = "string", *, sensitive: bool = False) -> Variable:
    return Variable(
        name=name,
        type=kind,
        default=None,
        description="",
        sensitive=sensitive,
        required=True,
        ephemeral=False,
    )


KNOWN = (
    variable("a"),
    variable("b", "list(string)"),
    variable("k", "number"),
    variable("n", "list(number)"),
    variable("s", sensitive=True),
)


def fix(*files: tuple[str, str], **given: str) -> FixedVariables:
    return fix_variables(KNOWN, [ValuesFile(name=n, content=c) for n, c in files], given)


def test_a_value_is_source_text_however_it_came() -> None:
    assert fix(a="1e99999", n="[1e9999]").plain == {"a": '"1e99999"', "n": "[1e9999]"}
    assert fix(a="${x}\n", b='["1"]').plain == {"a": '"$${x}\\n"', "b": '["1"]'}
    assert fix(("x.tfvars", 'a = "1"\n# a = 2\nb = [\n  "x",\n]\n')).plain == {
        "a": '"1"',
        "b": '[\n  "x",\n]',
    }
    assert fix(("x.tfvars.json", '{"a": "1", "b": ["x"]}')).plain == {"a": '"1"', "b": '["x"]'}


def test_the_later_one_counts_and_the_sensitive_one_is_apart() -> None:
    found = fix(("x.tfvars", 'a = "1"'), ("y.tfvars", 'a = "2"\ns = "1"'), s="hush")
    assert found == FixedVariables(plain={"a": '"2"'}, secret={"s": '"hush"'})
    assert found.shown == {"a": '"2"', "s": None}
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("files", "given", "code", "word"),
    [
        ((), {"aa": "1"}, "variable_unknown", "did you mean a?"),
        ((("x.tfvars", "zz = 1"),), {}, "variable_unknown", "zz"),
        ((("x.tfvars", "no values at all"),), {}, "variables_malformed", "x.tfvars"),
        ((("x.tfvars.json", "[1]"),), {}, "variables_malformed", "x.tfvars.json"),
        ((), {"a": "x" * 70_000}, "variables_malformed", "64 KiB"),
        ((), {"b": "[\0]"}, "variables_malformed", "no text"),
        ((), {"a": "\ud800"}, "variables_malformed", "no text"),
        ((), {"n": "[1, 1e+099999]"}, "parameter_invalid", "'n': the number is out of range"),
        ((), {"k": "many"}, "parameter_invalid", "'k': 'many' is not a number"),
        ((("x.tfvars", "n = [1.5E-99999]"),), {}, "parameter_invalid", "out of range"),
    ],
)
def test_what_cannot_be_a_value_is_refused(files, given, code, word) -> None:
    with pytest.raises(InputError) as caught:
        fix(*files, **given)
    assert caught.value.code == code
    assert word in caught.value.message
