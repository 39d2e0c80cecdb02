"""The error tree: one line for people, a class for every status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire import errors
from kled_wire.errors import KledError, from_status


def test_the_line_is_the_message_and_the_hint_in_brackets() -> None:
    error = errors.NotFoundError("workspace_not_found", "there is no dev", hint="kled list")
    assert error.line() == "there is no dev (kled list)"
    assert str(error) == "there is no dev"


def test_the_line_without_a_hint_is_the_message() -> None:
    assert KledError("odd", "it broke").line() == "it broke"


@pytest.mark.parametrize("kind", sorted(set(errors.BY_STATUS.values()), key=lambda k: k.__name__))
def test_an_error_comes_back_from_its_status_as_the_same_class(kind: type[KledError]) -> None:
    error = from_status(kind.status, "a_code", "a message", "a hint")
    assert type(error) is kind
    assert (error.code, error.message, error.hint) == ("a_code", "a message", "a hint")


def test_no_two_classes_share_a_status() -> None:
    kinds = [KledError, *_below(KledError)]
    named = [k for k in kinds if k.__module__ == errors.__name__ and k is not errors.ConfigError]
    assert sorted(k.status for k in named) == sorted(errors.BY_STATUS)


@given(st.integers())
def test_any_status_gives_a_kled_error(status: int) -> None:
    assert isinstance(from_status(status, "c", "m"), KledError)


def _below(kind: type[KledError]) -> list[type[KledError]]:
    return [k for sub in kind.__subclasses__() for k in (sub, *_below(sub))]
