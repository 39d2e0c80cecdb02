"""What a push warns of in parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kled_coord.builds.runner import TemplateForm
from kled_coord.builds.running.advice import advise
from kled_coord.store.template_records import TemplatePreset
from tests.coord.templates.asked import parameter

FINE = parameter("size", default="20", value="20")
WRONG = replace(FINE, error="20 is more than 10.")
SECRET = "hunter2-secret"
PRESET = TemplatePreset(
    name="big", description="", icon="", default=False, parameters={"size": SECRET}
)


def warnings(
    form: TemplateForm, *, given: tuple[str, ...] = (), left: tuple[str, ...] = ()
) -> list[str]:
    return list(advise(form, given=given, secrets=[SECRET, "20"], left=left))


def test_a_default_that_does_not_fit_is_named_unless_another_value_was_given() -> None:
    (found,) = warnings(TemplateForm(parameters=(WRONG,), presets=()))
    assert found.startswith("parameter 'size': its default does not fit")
    assert found.endswith("20 is more than 10.")
    assert warnings(TemplateForm(parameters=(WRONG,), presets=()), given=("size",)) == []
    needed = replace(WRONG, default=None)
    assert warnings(TemplateForm(parameters=(needed, FINE), presets=())) == []


def test_what_shows_a_secret_is_named_without_it() -> None:
    shown = replace(FINE, default=SECRET), replace(FINE, description=f"as {SECRET}")
    found = warnings(TemplateForm(parameters=shown, presets=(PRESET,)))
    assert [text.partition(" has ")[0] for text in found] == [
        "parameter 'size'", "parameter 'size'", "preset 'big'",
    ]  # fmt: skip
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(
    ("address", "is_named"),
    [
        ("data.coder_parameter.a", True),
        ('module.m["data.x"].data.kled_preset.a[0]', True),
        ("data.coder_workspace.me", False),
        ("data.http.coder_parameter", False),
    ],
)
def test_what_nobody_is_asked_for_is_named(address: str, *, is_named: bool) -> None:
    found = warnings(TemplateForm(parameters=(), presets=()), left=(address,))
    assert [text.startswith(address) for text in found] == [True] * is_named
