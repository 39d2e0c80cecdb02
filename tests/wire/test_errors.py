"""The error tree: one line for people, a class for every status."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_wire import errors
from kled_wire.errors import KledError, from_status


def test_the_line_is_the_message_and_the_hint_in_brackets() -> None:
    error = errors.NotFoundError("workspace_not_found", "there is no dev", hint="kled list")
    assert error.line() == "there is no dev (kled list)"
    assert str(error) == "there is no dev"


def test_the_line_without_a_hint_is_the_message() -> None:
    assert KledError("odd", "it broke").line() == "it broke"


@pytest.mark.parametrize("kind", errors.BY_STATUS.values())
def test_an_error_comes_back_from_its_status_as_the_same_class(kind: type[KledError]) -> None:
    error = from_status(kind.status, "a_code", "a message", "a hint")
    assert type(error) is kind
    assert (error.code, error.message, error.hint) == ("a_code", "a message", "a hint")


def test_no_two_classes_share_a_status() -> None:
    kinds: list[type[KledError]] = [KledError, *_below(KledError)]
    named: list[type[KledError]] = [
        k for k in kinds if k.__module__ == errors.__name__ and k is not errors.ConfigError
    ]
    assert sorted(k.status for k in named) == sorted(errors.BY_STATUS)


@given(st.integers())
def test_any_status_gives_a_kled_error(status: int) -> None:
    assert isinstance(from_status(status, "c", "m"), KledError)


def _below(kind: type[KledError]) -> list[type[KledError]]:
    return [k for sub in kind.__subclasses__() for k in (sub, *_below(sub))]


@given(
    st.sampled_from(sorted(errors.BY_STATUS)),
    st.text(max_size=20),
    st.text(max_size=40),
    st.none() | st.text(max_size=20),
)
def test_an_error_survives_its_json(status: int, code: str, message: str, hint: str | None) -> None:
    error = from_status(status, code, message, hint)
    decoded = errors.decode_error(status, errors.encode_error_body(error))
    assert type(decoded) is type(error)
    assert (decoded.code, decoded.message, decoded.hint) == (code, message, hint)


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b"[]")
@example(b'{"error": [1]}')
@example(b'{"error": ["code", "message"]}')
@example(b'{"error": "code message"}')
@example(b'{"error": {"code": 1}}')
@example(b"1" * 5000)
@example(b"\xff\xfe")
def test_a_body_that_is_not_ours_is_no_error_of_ours(body: bytes) -> None:
    assert errors.decode_error(502, body) is None


def test_a_hint_that_is_no_text_is_left_out() -> None:
    body = json.dumps({"error": {"code": "c", "message": "m", "hint": {"a": 1}}})
    error = errors.decode_error(404, body)
    assert isinstance(error, errors.NotFoundError)
    assert error.hint is None
