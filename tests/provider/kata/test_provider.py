"""The provider as the coordinator finds it."""

from __future__ import annotations

from kled_provider.kata.machine import KataMachine
from kled_provider.kata.provider import kata_provider
from kled_provider.serve import KATA


def test_it_is_served_under_its_address_in_every_registry() -> None:
    assert KATA.addresses == ("registry.terraform.io/kled/kata", "registry.opentofu.org/kled/kata")
    assert kata_provider(KataMachine()).name == "kata"
