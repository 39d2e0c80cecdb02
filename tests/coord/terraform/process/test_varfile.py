"""Values as Terraform reads them back; with Terraform itself in test_run.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.process.varfile import Value, name_at, render_values
from kled_coord.terraform.source.hcl import literal, read_attributes

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.sampled_from('${}%"\\n\n\r\t#/*<E'), max_size=20),
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), TEXTS, max_size=4))
def test_any_text_comes_back_as_it_is(texts: dict[str, str]) -> None:
    written = render_values({name: Value(text=text) for name, text in texts.items()})
    read = {name: literal(text) for name, text in read_attributes(written).items()}
    assert read == texts


def test_an_expression_is_left_alone_and_cannot_hide_its_end() -> None:
    values = {
        "a": Value(text="[1, # two\n 2] # three", is_expression=True),
        "b": Value(text="plain"),
    }
    assert render_values(values) == 'a = (\n[1, # two\n 2] # three\n)\nb = "plain"\n'
    assert list(read_attributes(render_values(values))) == ["a", "b"]


def test_a_line_of_the_file_is_that_of_a_variable() -> None:
    values = {"b": Value(text="[1,\n2]", is_expression=True), "a": Value(text="x\ny")}
    assert [name_at(values, line) for line in range(1, 7)] == ["a", "b", "b", "b", "b", ""]


def test_a_value_is_not_in_its_own_repr() -> None:
    assert "hunter2" not in repr(Value(text="hunter2"))
