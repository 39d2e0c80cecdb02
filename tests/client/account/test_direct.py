"""Whether a client wants direct paths."""

from __future__ import annotations

import pytest

from kled_client.account.direct import make_paths, why_disabled
from kled_client.account.profile import Profile
from kled_wire.errors import ConfigError

HOME = Profile(name="home", url="https://kled.example.com")
BY_ENVIRONMENT, BY_PROFILE = "KLED_DIRECT is off", "`direct` of profile home is off"


@pytest.mark.parametrize(
    ("variable", "setting", "why"),
    [
        ("", "", ""),
        ("auto", "", ""),
        ("off", "", BY_ENVIRONMENT),
        ("", "auto", ""),
        ("", "off", BY_PROFILE),
        ("auto", "off", ""),
        ("off", "auto", BY_ENVIRONMENT),
    ],
)
def test_the_variable_says_and_else_the_profile(variable: str, setting: str, why: str) -> None:
    assert why_disabled({"KLED_DIRECT": variable}, HOME._replace(direct=setting)) == why


def test_without_it_a_client_goes_directly_where_it_can() -> None:
    paths = make_paths({}, HOME)
    paths.offered(b"at - 10.0.0.5:40022", 1.0)
    assert paths.try_at == 1.0


def test_with_it_off_that_is_the_reason() -> None:
    assert make_paths({"KLED_DIRECT": "off"}, HOME).report().reason == BY_ENVIRONMENT
    assert make_paths({}, HOME._replace(direct="off")).report().reason == BY_PROFILE


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="KLED_DIRECT is 'yes'"):
        why_disabled({"KLED_DIRECT": "yes"}, HOME)
    with pytest.raises(ConfigError, match="profile home is 'never'"):
        why_disabled({}, HOME._replace(direct="never"))
