"""Variables in a template's texts become the values that a session would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kled_agent.machine.expanding import expand_path, expand_variables
from kled_agent.machine.users import load_user

HAS = {"HOME": "/home/me", "PATH": "/bin", "A_1": "one"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$HOME/bin:$PATH", "/home/me/bin:/bin"),
        ("${A_1}x$A_1-", "onexone-"),
        ("-Xmx1g $GONE", "-Xmx1g "),
        ("5$ $1 $$ ${} ${A-b} $(date)", "5$ $1 $$ ${} ${A-b} $(date)"),
        ("~/x", "~/x"),
    ],
)
def test_what_is_named_is_filled_in(text: str, value: str) -> None:
    assert expand_variables(text, HAS) == value


def test_in_a_path_a_tilde_is_the_home() -> None:
    assert [expand_path(path, HAS) for path in ("~", "~/a", "~you", "$HOME/a", "a/~")] == [
        "/home/me", "/home/me/a", "~you", "/home/me/a", "a/~",
    ]  # fmt: skip


def test_a_variable_names_what_there_is_without_the_template(tmp_path: Path) -> None:
    plain = replace(load_user(None), home=str(tmp_path))
    path = plain.environment()["PATH"]
    said = {"PATH": "/opt/bin:$PATH", "OTHER": "$SAID $USER", "SAID": "x"}
    found = replace(plain, variables=said).environment()
    assert found["PATH"] == f"/opt/bin:{path}"
    assert found["OTHER"] == f" {plain.name}"


@pytest.mark.parametrize("start_in", ["src", "~/src", "$HOME/src", "${HOME}/src"])
def test_sessions_begin_below_the_home_however_that_is_said(tmp_path: Path, start_in: str) -> None:
    (tmp_path / "src").mkdir()
    user = replace(load_user(None), home=str(tmp_path), start_in=start_in)
    assert user.directory() == str(tmp_path / "src")
