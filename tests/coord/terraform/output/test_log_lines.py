"""What the log of a build says, from what the real Terraform once printed, and of its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_coord.terraform.output.events import (
    OutputsFound,
    StillWorking,
    TemplateOutput,
    parse_line,
)
from kled_coord.terraform.output.log_lines import (
    OUTPUT_BYTES_MAX,
    OUTPUTS_MAX,
    event_lines,
    shown_outputs,
)
from tests.kit.examples import examples

RECORDED = Path(__file__).parents[1] / "recorded"


def told(name: str, stage: str) -> list[str]:
    lines = []
    for line in (RECORDED / f"{name}.jsonl").read_bytes().splitlines():
        event = parse_line(line)
        lines += [text for _, text in event_lines(event, stage)] if event else []
    return lines


def test_a_plan_tells_what_it_will_change() -> None:
    lines = told("replace", "plan")
    assert "terraform_data.rep: will be replaced" in lines
    assert any(line.startswith("plan: ") and "to destroy" in line for line in lines)
    assert not any(line.startswith("output") for line in lines)


def test_an_apply_tells_each_resource_and_the_failed_one() -> None:
    lines = told("apply_failed", "apply")
    assert not any("will be" in line for line in lines)
    assert "terraform_data.one: creating" in lines
    assert "terraform_data.one: created after 0 s" in lines
    assert "terraform_data.bad: creating failed after 0 s" in lines


def test_a_destroy_tells_what_it_destroys() -> None:
    lines = told("destroy", "destroy")
    assert "terraform_data.one: will be destroyed" in lines
    assert "terraform_data.one: destroyed after 0 s" in lines
    assert any(line.startswith("destroy: 0 added, 0 changed, ") for line in lines)


def test_outputs_are_told_at_the_end_and_sensitive_ones_are_not() -> None:
    outputs = {
        "url": TemplateOutput(value="http://x", sensitive=False),
        "ports": TemplateOutput(value=[80, 443], sensitive=False),
        "password": TemplateOutput(value="hunter2", sensitive=True),
        "long": TemplateOutput(value="x" * OUTPUT_BYTES_MAX, sensitive=False),
        "large": TemplateOutput(value=float("inf"), sensitive=False),
    }
    found = OutputsFound(outputs)
    assert event_lines(found, "plan") == []
    lines = [text for _, text in event_lines(found, "apply")]
    assert lines == [
        "output large = (too long to show)",
        "output long = (too long to show)",
        "output password = (sensitive)",
        "output ports = [80, 443]",
        'output url = "http://x"',
    ]
    assert "hunter2" not in json.dumps(shown_outputs(outputs))


@settings(max_examples=examples(25))  # each is up to OUTPUTS_MAX trees
@given(
    st.dictionaries(
        st.text(),
        st.tuples(st.recursive(st.none() | st.text() | st.floats(), st.lists), st.booleans()),
        max_size=OUTPUTS_MAX + 5,
    )
)
def test_what_is_kept_of_outputs_is_bounded_and_json(
    given_out: dict[str, tuple[object, bool]],
) -> None:
    shown = shown_outputs(
        {n: TemplateOutput(value=v, sensitive=s) for n, (v, s) in given_out.items()}
    )
    assert len(shown) <= OUTPUTS_MAX
    for name, output in shown.items():
        assert len(json.dumps(output["value"], allow_nan=False)) <= OUTPUT_BYTES_MAX
        assert output["value"] is None or not given_out[name][1]


@pytest.mark.parametrize("stage", ["init", "plan", "apply"])
def test_that_work_goes_on_is_told(stage: str) -> None:
    assert event_lines(StillWorking("a: Still creating..."), stage)[0][1] == "a: Still creating..."
