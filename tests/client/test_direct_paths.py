"""Whether a client wants direct paths."""

from __future__ import annotations

import pytest

from kled_client.direct_paths import make_paths, wants_direct
from kled_wire.errors import ConfigError


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("auto", True), ("off", False)])
def test_the_variable_says(value: str, *, wanted: bool) -> None:
    assert wants_direct({"KLED_DIRECT": value}) is wanted


def test_without_it_a_client_goes_directly_where_it_can() -> None:
    paths = make_paths({})
    paths.offered(b"at - 10.0.0.5:40022", 1.0)
    assert paths.try_at == 1.0


def test_with_it_off_that_is_the_reason() -> None:
    assert make_paths({"KLED_DIRECT": "off"}).report().reason == "KLED_DIRECT is off"


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="KLED_DIRECT"):
        wants_direct({"KLED_DIRECT": "yes"})
